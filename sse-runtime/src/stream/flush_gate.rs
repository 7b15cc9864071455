//! [`FlushGate`]: when a frame has been handed to the kernel, and the generator may go on.
//!
//! hyper pulls a body faster than the socket takes it, and "return `Pending` once and wake yourself" is no flush: when
//! the socket's write is pending, the generator would be polled first. Under [`serve`](crate::serve()) the socket counts
//! its finished flushes, and the body waits for the count to move. Elsewhere, on HTTP/2, where many streams share a
//! socket, and where a layer polls the body in another task than the connection's, the body stands aside once for
//! hyper to write, which is best effort.

use std::task::{Context, Poll};

use tokio::task::coop;

use crate::lifecycle::wire::InFlight;

/// Closed behind each frame, open again when it has been flushed.
#[derive(Debug)]
pub(crate) struct FlushGate {
    /// Says that there is a stream on the wire, as long as there is one.
    wire: Option<InFlight>,
    state: GateState,
}

#[derive(Debug)]
enum GateState {
    Open,
    /// Until hyper had a turn in which it could write the head.
    Head,
    /// Until a flush finishes after this one.
    Flush(u64),
    /// Until hyper had its turn.
    Turn,
}

impl FlushGate {
    /// A gate that is open; without a wire that counts its flushes it is best effort.
    pub(crate) fn new(wire: Option<InFlight>) -> Self {
        Self {
            wire,
            state: GateState::Open,
        }
    }

    /// Whether it is known when what was written is with the kernel.
    pub(crate) fn counts_flushes(&self) -> bool {
        self.wire.is_some()
    }

    /// Closes it for the head of the response.
    pub(crate) fn close_for_head(&mut self) {
        self.close();
        if self.wire.is_none() {
            self.state = GateState::Head;
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = match &self.wire {
            // hyper encodes a frame into its buffer before it polls or flushes again, and a flush finishes only when
            // that buffer is empty: the next one to finish has taken the frame along.
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
                // The generator was polled in this turn. If it has used up the turn's budget, the socket takes nothing, and a
                // generator that uses up the next one as well would hold back the head for ever.
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
