//! A client that reads a topic and records what it receives.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use sse_runtime::{EventId, topic::Subscription};

use crate::checker::{Seen, without_count};

#[derive(Default)]
pub(super) struct Client {
    pub(super) history: Vec<Seen>,
    pub(super) last: Option<EventId>,
    /// The node and the subscription, while the client is connected.
    pub(super) reading: Option<(usize, Subscription<u64>)>,
}

impl Client {
    /// Reads up to `events` available events. Returns whether there may be more.
    pub(super) fn read(&mut self, events: usize) -> bool {
        let Some((_, updates)) = &mut self.reading else {
            return false;
        };
        for _ in 0..events {
            let seen = match poll_once(updates.recv()) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(update))) => {
                    self.last = Some(update.id().clone());
                    Seen::Event {
                        id: without_count(update.id()),
                        value: *update,
                    }
                }
                Poll::Ready(Some(Err(gap))) => {
                    self.last = Some(gap.position().clone());
                    Seen::Gap {
                        reason: gap.reason(),
                        missed: gap.missed(),
                        id: without_count(gap.position()),
                    }
                }
                Poll::Ready(None) => {
                    if !matches!(self.history.last(), Some(Seen::End)) {
                        self.history.push(Seen::End);
                    }
                    return false;
                }
            };
            // A real client that has received the end does not reconnect, unless the end was rolled
            // back. The test reconnects it anyway, so start a new history.
            if let Some(Seen::End) = self.history.last() {
                self.history.clear();
            }
            self.history.push(seen);
        }
        true
    }
}

pub(super) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
