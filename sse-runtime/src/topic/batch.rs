//! [`Batch`]: events that are read together, and by many readers the same.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::backend::{Delivery, Entry};

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
    pub(crate) fn new(deliveries: Vec<Delivery<T>>) -> Arc<Self> {
        Arc::new(Self {
            deliveries,
            frames: OnceLock::new(),
        })
    }

    /// As many as go together.
    pub(crate) fn of<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry<T>>>) -> Arc<Self>
    where
        T: 'a,
    {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry<T>>| {
            let is_first = bytes == 0;
            bytes += entry.frame.len();
            is_first || bytes <= BYTES
        };
        let entries = entries.into_iter().take(EVENTS).take_while(fits);
        Self::new(entries.map(Delivery::of).collect())
    }

    pub(crate) fn deliveries(&self) -> &[Delivery<T>] {
        &self.deliveries
    }

    pub(crate) fn frames(&self) -> &Bytes {
        self.frames.get_or_init(|| {
            let len = self
                .deliveries
                .iter()
                .map(|delivery| delivery.entry.frame.len());
            let mut frames = BytesMut::with_capacity(len.sum());
            for delivery in &self.deliveries {
                delivery.copy_into(&mut frames);
            }
            frames.freeze()
        })
    }
}
