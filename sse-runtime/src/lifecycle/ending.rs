//! The frames that end a stream, by the reason for its end and by its endpoint.
//!
//! This is the table on the page "How a stream ends" of the docs; the test `ends` compares the two
//! cell by cell.
//!
//! The behaviour of the endpoint depends on its method, unless a key overrides it: a `GET` is read
//! by an `EventSource`, which reconnects after a clean end and resumes; for any other client a
//! clean end means that the answer is complete.

use std::time::Duration;

use crate::{
    config::{End, Endpoint},
    lifecycle::{close_reason::CloseReason, shutdown},
};

/// The end of a response, after everything that the generator has written.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) last_frame: Option<LastFrame>,
    /// Whether the response is cut off: without the last chunk on HTTP/1.1, by `RST_STREAM` on
    /// HTTP/2, by a reset on HTTP/1.0.
    pub(crate) breaks_off: bool,
}

/// A frame at the end of a stream that was not written by the generator.
#[derive(Debug)]
pub(crate) enum LastFrame {
    /// The event `done`, with an id that stops a client that reconnects.
    Done,
    /// The reconnection time.
    Retry(Duration),
    /// The event `close`, with the reason.
    Close,
    /// The event `close`, with the reason and an id that stops a client that reconnects.
    CloseForGood,
}

impl StreamEnd {
    /// Returns the end of a stream. `is_over` tells whether a topic that it read is finished, so
    /// that there is nothing to reconnect for.
    pub(crate) fn of(reason: CloseReason, endpoint: &Endpoint, is_over: bool) -> Self {
        let cut = endpoint.aborts_when_cut();
        let (last_frame, breaks_off) = match reason {
            CloseReason::Finished if is_over || endpoint.end == End::Stop => {
                (Some(LastFrame::Done), false)
            }
            // After a failure, the last frame is the error that the generator failed with.
            CloseReason::Finished | CloseReason::Failed | CloseReason::Rejected => (None, false),
            CloseReason::Panicked => (None, true),
            CloseReason::Shutdown if !cut => (
                Some(LastFrame::Retry(shutdown::retry(endpoint.retry))),
                false,
            ),
            CloseReason::MaxDuration if !cut => (None, false),
            // A script cannot see the response that rejects the client when it reconnects.
            CloseReason::Shutdown
            | CloseReason::MaxDuration
            | CloseReason::Expired
            | CloseReason::Revoked
            | CloseReason::Lagged => (Some(LastFrame::Close), cut),
            CloseReason::Superseded => (Some(LastFrame::CloseForGood), cut),
            CloseReason::ClientGone | CloseReason::Stalled => (None, true),
        };
        // A reconnection time is a field and not an event. An `EventSource` needs it, regardless of
        // which events the endpoint sends.
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
