//! [`FlushGate`]: holds the generator back until the previous frame has been handed to the kernel.
//!
//! hyper polls a body faster than the socket accepts data. Waking the task and returning `Pending`
//! once isn't enough: if the socket is not writable at that point, the generator is polled again
//! before the frame has been written. Under [`serve`](crate::serve()), the socket counts its
//! finished flushes, and the body waits for the count to change. Without such a count, the body
//! returns `Pending` once so that hyper can write. This best-effort fallback is used with other
//! servers, over HTTP/2 (where streams share a socket), and when a layer polls the body outside the
//! connection's task.

use std::task::{Context, Poll};

use tokio::task::coop;

use crate::{config::Flush, generator::frame_buffer::DUE, lifecycle::wire::InFlight};

/// A gate that closes after each frame and opens once the frame has been flushed.
#[derive(Debug)]
pub(crate) struct FlushGate {
    /// The connection, if it counts its flushes. The connection considers the stream active until
    /// this value is dropped.
    wire: Option<InFlight>,
    state: GateState,
}

#[derive(Debug)]
enum GateState {
    Open,
    /// Closed until the body has returned `Pending` once with budget left, so that hyper can write
    /// the head.
    Head,
    /// Closed until more than this many flushes have finished.
    Flush(u64),
    /// Closed until the body has returned `Pending` once, so that hyper can write the frame.
    Turn,
}

impl FlushGate {
    /// Creates an open gate. Without a `wire` that counts flushes, the gate is best effort.
    pub(crate) fn new(wire: Option<InFlight>) -> Self {
        Self {
            wire,
            state: GateState::Open,
        }
    }

    /// Closes the gate so that the response head is written first.
    pub(crate) fn close_for_head(&mut self) {
        self.close();
        if self.wire.is_none() {
            self.state = GateState::Head;
        }
    }

    /// Closes the gate if the chunk must reach the kernel before the generator is resumed.
    ///
    /// If flushes are counted, the gate closes after every chunk. This costs nothing, and the body
    /// is still polled while the client isn't reading. If the gate stayed open, hyper would take
    /// the next frame, find that it cannot write it, and stop polling the body until the client
    /// reads again. In the meantime, the body could not check its deadline.
    ///
    /// If flushes are not counted, the gate closes after each event under [`Flush::Each`] and after
    /// large chunks. If the generator waits after a small chunk, the gate can stay open: the body
    /// then returns `Pending` anyway, and the server writes the chunk.
    pub(crate) fn close_after(&mut self, chunk: &[u8], waits: bool, flush: Flush) {
        let is_due = chunk.len() >= DUE || flush == Flush::Each && !waits;
        if self.wire.is_some() || is_due {
            self.close();
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = match &self.wire {
            // hyper encodes a frame into its buffer before it polls or flushes again, and a flush
            // finishes only when that buffer is empty. Therefore, once the next flush finishes,
            // this frame has been written.
            Some(wire) => GateState::Flush(wire.flushes()),
            None => GateState::Turn,
        };
    }

    pub(crate) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<()> {
        let counted = match (&self.state, &self.wire) {
            (GateState::Open, _) => return Poll::Ready(()),
            (GateState::Flush(since), Some(wire)) => wire.poll_flushed_after(*since, cx),
            _ => None,
        };
        match counted {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) => {
                self.state = GateState::Open;
                Poll::Ready(())
            }
            None => {
                // If the task's budget is exhausted, the write to the socket returns `Pending`, so
                // hyper cannot write the head. Keep the gate closed and wake the task so that it is
                // polled again with a new budget. If the gate opened here, a generator that
                // exhausts the budget on every poll would keep the head from ever being sent.
                let may_write =
                    !matches!(self.state, GateState::Head) || coop::has_budget_remaining();
                if may_write {
                    self.state = GateState::Open;
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
