//! [`Batch`]: a group of events returned by a single read. Readers at the same position share a
//! batch.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::backend::Delivery;
use crate::generator::frame_buffer::SHARED;

/// The maximum number of events in a batch. This limits the memory held by a slow reader, which
/// keeps its batch even after the topic has evicted the events.
const EVENTS: usize = 256;

/// The maximum total size of a batch's frames in bytes. Only a batch with a single event may exceed
/// it. All frames of a batch are sent to the client in a single write.
pub(crate) const BYTES: usize = 32 * 1024;

/// One or more consecutive events. Readers at the same position share a batch and send the same
/// bytes.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    deliveries: Vec<Delivery<T>>,
    /// A single buffer containing the frames of all events, created when a reader first sends the
    /// whole batch.
    frames: OnceLock<Bytes>,
}

impl<T> Batch<T> {
    /// Creates a batch from the first delivery and as many of the following ones as fit. `from`
    /// must yield at least one delivery.
    pub(crate) fn of(from: impl IntoIterator<Item = Delivery<T>>) -> Arc<Self> {
        let from = from.into_iter().take(EVENTS);
        let mut deliveries = Vec::with_capacity(from.size_hint().0);
        let mut bytes = 0;
        for delivery in from {
            let len = delivery.len();
            // Put a large event into a batch of its own so that all readers share its frame. In a
            // batch with other events, the frame would be copied into the batch's buffer.
            if len >= SHARED {
                if deliveries.is_empty() {
                    deliveries.push(delivery);
                }
                break;
            }
            // The first event always fits, because it is smaller than `SHARED`, which is less than
            // `BYTES`.
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
