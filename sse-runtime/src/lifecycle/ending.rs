//! The frames that end a stream, depending on the close reason and the endpoint.
//!
//! The table on the docs page "How a stream ends" describes the same behaviour. The `ends` test
//! compares every cell of the table with this module's behaviour.
//!
//! By default, the behaviour depends on the endpoint's method. A key in the endpoint's attribute
//! can override this default. A `GET` response is read by an `EventSource`, which reconnects and
//! resumes if the response ends cleanly. Clients that use other methods assume that a response is
//! complete if it ends cleanly.

use std::time::Duration;

use crate::{
    config::{End, Endpoint},
    lifecycle::{close_reason::CloseReason, shutdown},
};

/// How a response ends once all data from the generator has been written.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    pub(crate) last_frame: Option<LastFrame>,
    /// Whether the response is aborted. Over HTTP/1.1, the last chunk is omitted. Over HTTP/2,
    /// `RST_STREAM` is sent. Over HTTP/1.0, the connection is reset.
    pub(crate) is_aborted: bool,
}

/// A frame that ends a stream, written by the framework rather than by the generator.
#[derive(Debug)]
pub(crate) enum LastFrame {
    /// The `done` event. A client that reconnects with this event's id gets a `204`, so it stops
    /// reconnecting.
    Done,
    /// The reconnection time.
    Retry(Duration),
    /// The `close` event, with the reason.
    Close,
    /// The `close` event, with the reason. A client that reconnects with this event's id gets a
    /// `204`, so it stops reconnecting.
    CloseForGood,
}

impl StreamEnd {
    /// Returns how a stream ends. `is_over` is `true` if the stream has read a finished topic to
    /// its end. In that case, the client does not need to reconnect.
    pub(crate) fn of(reason: CloseReason, endpoint: &Endpoint, is_over: bool) -> Self {
        let cut = endpoint.aborts_when_cut();
        let (last_frame, is_aborted) = match reason {
            CloseReason::Finished if is_over || endpoint.end == End::Stop => {
                (Some(LastFrame::Done), false)
            }
            // If the generator has failed, the last frame already contains its error.
            CloseReason::Finished | CloseReason::Failed | CloseReason::Rejected => (None, false),
            CloseReason::Panicked => (None, true),
            CloseReason::Shutdown if !cut => (
                Some(LastFrame::Retry(shutdown::retry(endpoint.retry))),
                false,
            ),
            CloseReason::MaxDuration if !cut => (None, false),
            // If the client's next request is rejected, a script cannot see the response, so the
            // `close` event contains the reason.
            CloseReason::Shutdown
            | CloseReason::MaxDuration
            | CloseReason::Expired
            | CloseReason::Revoked
            | CloseReason::Lagged => (Some(LastFrame::Close), cut),
            CloseReason::Superseded | CloseReason::ProducerLost => {
                (Some(LastFrame::CloseForGood), cut)
            }
            CloseReason::ClientGone | CloseReason::Stalled => (None, true),
        };
        // The reconnection time is a field rather than an event, so it is sent to an `EventSource`
        // even if the endpoint sends only its own events.
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
