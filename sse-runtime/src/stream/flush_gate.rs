//! [`FlushGate`]: holds the generator back until the previous frame has been handed to the kernel.
//!
//! hyper polls a body faster than the socket accepts data. Waking the task and returning `Pending`
//! once isn't enough: if the socket's write is pending, the generator is polled before the write
//! finishes. Under [`serve`](crate::serve()), the socket counts its finished flushes, and the body
//! waits for the count to change. Without such a count, the body returns `Pending` once so that
//! hyper can write. This is best effort, and applies under other servers, over HTTP/2 (where
//! streams share a socket), and if a layer polls the body in a task other than the connection's.

use std::task::{Context, Poll};

use tokio::task::coop;

use crate::{config::Flush, generator::frame_buffer::DUE, lifecycle::wire::InFlight};

/// A gate that closes after each frame and opens when the frame has been flushed.
#[derive(Debug)]
pub(crate) struct FlushGate {
    /// The connection, if it counts its flushes. The stream stays registered on the connection for
    /// as long as this value exists.
    wire: Option<InFlight>,
    state: GateState,
}

#[derive(Debug)]
enum GateState {
    Open,
    /// Closed until hyper has had a turn and could write the head.
    Head,
    /// Closed until the number of finished flushes exceeds this number.
    Flush(u64),
    /// Closed until hyper has had a turn.
    Turn,
}

impl FlushGate {
    /// Creates an open gate. If there is no wire that counts flushes, the gate is best effort.
    pub(crate) fn new(wire: Option<InFlight>) -> Self {
        Self {
            wire,
            state: GateState::Open,
        }
    }

    /// Closes the gate for the response head.
    pub(crate) fn close_for_head(&mut self) {
        self.close();
        if self.wire.is_none() {
            self.state = GateState::Head;
        }
    }

    /// Closes the gate if the chunk has to reach the kernel before the generator is resumed.
    ///
    /// If flushes are counted, the gate closes after every chunk, because this has no cost. If it
    /// stayed open, hyper would take the next frame from the body while the client isn't reading,
    /// and would then not poll the body, or check its deadline, until the client reads again.
    ///
    /// If flushes are not counted, the gate closes after each event under [`Flush::Each`], and
    /// after large chunks. When a body returns `Pending`, its server writes anyway. If the
    /// generator waits after a chunk, the gate can therefore stay open, unless the chunk is large.
    pub(crate) fn close_after(&mut self, chunk: &[u8], waits: bool, flush: Flush) {
        let is_due = chunk.len() >= DUE || flush == Flush::Each && !waits;
        if self.wire.is_some() || is_due {
            self.close();
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = match &self.wire {
            // hyper encodes a frame into its buffer before it polls or flushes again, and a flush
            // finishes only when that buffer is empty. Therefore, the next flush that finishes
            // includes the frame.
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
                // The generator was polled in this turn. If it has used up the task's budget, the
                // socket does not accept data. A generator that uses up the budget in every turn
                // would hold back the head forever.
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
