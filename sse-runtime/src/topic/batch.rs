//! [`Batch`]: events that are read together, and by many readers the same.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::backend::Delivery;
use crate::generator::frame_buffer::SHARED;

/// How many events a reader takes at once: one that is slow has them, however old they become.
const EVENTS: usize = 256;

/// How many bytes, unless one event has more: they are one write to a client.
pub(crate) const BYTES: usize = 32 * 1024;

/// Events that follow each other, at least one. Readers who are equally far behind have the same batch, and send the same bytes.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    deliveries: Vec<Delivery<T>>,
    /// All their frames, in one piece: made for the first who sends them so.
    frames: OnceLock<Bytes>,
}

impl<T> Batch<T> {
    /// As many of these, which begin with one at least, as go together.
    pub(crate) fn of(from: impl IntoIterator<Item = Delivery<T>>) -> Arc<Self> {
        let from = from.into_iter().take(EVENTS);
        let mut deliveries = Vec::with_capacity(from.size_hint().0);
        let mut bytes = 0;
        for delivery in from {
            let len = delivery.len();
            // A large one goes alone: all share its bytes, however far behind they are, and those of a batch would have a copy.
            if len >= SHARED {
                if deliveries.is_empty() {
                    deliveries.push(delivery);
                }
                break;
            }
            // Never of the first, which is smaller than a large one.
            bytes += len;
            if bytes > BYTES {
                break;
            }
            deliveries.push(delivery);
        }
        Arc::new(Self {
            deliveries,
            frames: OnceLock::new(),
        })
    }

    pub(crate) fn deliveries(&self) -> &[Delivery<T>] {
        &self.deliveries
    }

    pub(crate) fn frames(&self) -> &Bytes {
        self.frames.get_or_init(|| {
            let len = self.deliveries.iter().map(Delivery::len).sum();
            let mut frames = BytesMut::with_capacity(len);
            for delivery in &self.deliveries {
                delivery.copy_into(&mut frames);
            }
            frames.freeze()
        })
    }
}
