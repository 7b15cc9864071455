//! How a stream ends: what its client receives, by why it ends and by what its endpoint says.
//!
//! This is the table of the page "How a stream ends" of the docs; the test `ends` holds the two equal, cell by cell.
//!
//! What the endpoint says is decided by its method, unless a key says otherwise: a `GET` is read by an `EventSource`, which
//! reconnects after a clean end and resumes; for any other client a clean end says that the answer is complete.

use std::time::Duration;

use crate::{
    config::{End, Endpoint},
    lifecycle::{close_reason::CloseReason, shutdown},
};

/// What follows what the generator has written.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) last_frame: Option<LastFrame>,
    /// The response breaks off: no last chunk, `RST_STREAM` on HTTP/2, a reset over HTTP/1.0.
    pub(crate) breaks_off: bool,
}

/// What is sent at the end of a stream that the generator did not write.
#[derive(Debug)]
pub(crate) enum LastFrame {
    /// The event `done`, whose id stops a client that reconnects.
    Done,
    /// The reconnection time.
    Retry(Duration),
    /// The event `close`, with the reason.
    Close,
    /// The same, with an id that stops a client that reconnects.
    CloseForGood,
}

impl StreamEnd {
    /// The end of a stream, by why it ends. `is_over` says that a topic it read is finished, so that there is nothing to
    /// reconnect for.
    pub(crate) fn of(reason: CloseReason, endpoint: &Endpoint, is_over: bool) -> Self {
        let cut = endpoint.aborts_when_cut();
        let (last_frame, breaks_off) = match reason {
            CloseReason::Finished if is_over || endpoint.end == End::Stop => {
                (Some(LastFrame::Done), false)
            }
            // What the generator failed with is its last frame.
            CloseReason::Finished | CloseReason::Failed | CloseReason::Rejected => (None, false),
            CloseReason::Panicked => (None, true),
            CloseReason::Shutdown if !cut => (
                Some(LastFrame::Retry(shutdown::retry(endpoint.retry))),
                false,
            ),
            CloseReason::MaxDuration if !cut => (None, false),
            // The refusal that a client gets when it reconnects is invisible to a script.
            CloseReason::Shutdown
            | CloseReason::MaxDuration
            | CloseReason::Expired
            | CloseReason::Revoked
            | CloseReason::Lagged => (Some(LastFrame::Close), cut),
            CloseReason::Superseded => (Some(LastFrame::CloseForGood), cut),
            CloseReason::ClientGone | CloseReason::Stalled => (None, true),
        };
        // A reconnection time is a field and not an event. An `EventSource` needs it whatever events are sent.
        let is_sent = |frame: &LastFrame| {
            let is_retry = matches!(frame, LastFrame::Retry(_));
            endpoint.sends_framework_events() || is_retry && endpoint.is_get()
        };
        Self {
            last_frame: last_frame.filter(is_sent),
            breaks_off,
        }
    }
}
