//! The frames that end a stream, depending on the close reason and the endpoint.
//!
//! The table on the docs page "How a stream ends" describes the same behaviour. The `ends` test
//! compares every cell of the table with the behaviour of this module.
//!
//! The endpoint's behaviour depends on its method, unless a key overrides it. A `GET` response is
//! read by an `EventSource`, which reconnects after a clean end and resumes. For any other client,
//! a clean end means that the response is complete.

use std::time::Duration;

use crate::{
    config::{End, Endpoint},
    lifecycle::{close_reason::CloseReason, shutdown},
};

/// The end of a response, which follows all data that the generator has written.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) last_frame: Option<LastFrame>,
    /// Whether the response is aborted. Over HTTP/1.1, the last chunk is omitted. Over HTTP/2,
    /// `RST_STREAM` is sent. Over HTTP/1.0, the connection is reset.
    pub(crate) is_aborted: bool,
}

/// A frame that is written at the end of a stream by the framework rather than by the generator.
#[derive(Debug)]
pub(crate) enum LastFrame {
    /// The `done` event, with an id that stops a client that reconnects.
    Done,
    /// The reconnection time.
    Retry(Duration),
    /// The `close` event, with the reason.
    Close,
    /// The `close` event, with the reason and an id that stops a client that reconnects.
    CloseForGood,
}

impl StreamEnd {
    /// Returns how a stream ends. `is_over` is `true` if a topic that the stream read is finished,
    /// in which case the client does not need to reconnect.
    pub(crate) fn of(reason: CloseReason, endpoint: &Endpoint, is_over: bool) -> Self {
        let cut = endpoint.aborts_when_cut();
        let (last_frame, is_aborted) = match reason {
            CloseReason::Finished if is_over || endpoint.end == End::Stop => {
                (Some(LastFrame::Done), false)
            }
            // After a failure, the generator's error is the last frame.
            CloseReason::Finished | CloseReason::Failed | CloseReason::Rejected => (None, false),
            CloseReason::Panicked => (None, true),
            CloseReason::Shutdown if !cut => (
                Some(LastFrame::Retry(shutdown::retry(endpoint.retry))),
                false,
            ),
            CloseReason::MaxDuration if !cut => (None, false),
            // A script cannot see the response to a reconnect that is rejected.
            CloseReason::Shutdown
            | CloseReason::MaxDuration
            | CloseReason::Expired
            | CloseReason::Revoked
            | CloseReason::Lagged => (Some(LastFrame::Close), cut),
            CloseReason::Superseded => (Some(LastFrame::CloseForGood), cut),
            CloseReason::ClientGone | CloseReason::Stalled => (None, true),
        };
        // A reconnection time is a field and not an event. An `EventSource` needs it, regardless of
        // the events that the endpoint sends.
        let is_sent = |frame: &LastFrame| {
            let is_retry = matches!(frame, LastFrame::Retry(_));
            endpoint.sends_framework_events() || is_retry && endpoint.is_get()
        };
        Self {
            last_frame: last_frame.filter(is_sent),
            is_aborted,
        }
    }
}
