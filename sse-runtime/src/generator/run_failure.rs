//! [`Failure`]: the reason why a run did not finish, shared by all its readers.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    config::Endpoint,
    event::{
        frame::{EncodeError, Fields, Frame},
        id::EventId,
        payload::{AsJson, ErrorPayload, Payload},
    },
    generator::{outgoing::Outgoing, yielder::Item},
    lifecycle::close_reason::CloseReason,
};

/// The reason why a run or a stream's task did not finish. Each reader's stream ends with an event
/// that reports the failure and is named after the endpoint's `error_event`.
pub(crate) struct Failure {
    pub(crate) reason: CloseReason,
    /// Whether the run was stopped on request. If so, each reader's stream ends cleanly unless its
    /// endpoint aborts responses that end early.
    pub(crate) is_stop: bool,
    /// The function that writes the error, or `None` if clients must not see it.
    error: Option<Mutex<Write>>,
}

type Write = Box<dyn Fn(&mut Frame<'_>) -> Result<(), EncodeError> + Send>;

/// An RFC 9457 problem without details. The details are only logged.
#[derive(Serialize)]
struct WithoutDetails {
    title: &'static str,
    code: &'static str,
    status: u16,
}

/// The code of a problem without details.
pub(crate) const INTERNAL_ERROR: &str = "internal_error";

impl Failure {
    pub(crate) fn panicked() -> Self {
        Self {
            reason: CloseReason::Panicked,
            is_stop: false,
            error: None,
        }
    }

    /// Returns the failure of a run that was stopped before it finished.
    pub(crate) fn stopped() -> Self {
        Self {
            is_stop: true,
            ..Self::hidden()
        }
    }

    /// Returns the failure of a stored run whose process stopped before the run ended.
    pub(crate) fn lost() -> Self {
        Self {
            reason: CloseReason::ProducerLost,
            is_stop: false,
            error: None,
        }
    }

    /// Returns a failure whose error is hidden from clients.
    pub(crate) fn hidden() -> Self {
        Self {
            reason: CloseReason::Failed,
            is_stop: false,
            error: None,
        }
    }

    pub(crate) fn shown<E, Kind>(error: E) -> Self
    where
        E: ErrorPayload<Kind> + Send + 'static,
    {
        let item = Item::<E>::new::<Kind>();
        let write: Write = Box::new(move |frame| item.encode(&error, frame));
        Self {
            reason: CloseReason::Failed,
            is_stop: false,
            error: Some(Mutex::new(write)),
        }
    }

    /// Writes a stream's last event. A client that reconnects with the event's id gets a `204` and
    /// stops reconnecting. Returns whether an event was written.
    ///
    /// A run's error is the producer's own event, so it is sent even if the endpoint does not send
    /// framework events. In that case, the id and the problem without details are omitted, because
    /// they come from the framework.
    pub(crate) fn write_to(&self, outgoing: &mut Outgoing, endpoint: &Endpoint) -> bool {
        let error_event = endpoint.error_event;
        let sends_framework_events = endpoint.sends_framework_events();
        let id = sends_framework_events.then(|| EventId::done(outgoing.ids.last.as_ref()));
        let fields = Fields {
            id: id.clone(),
            ..Fields::default()
        };
        let shown = self.error.as_ref().is_some_and(|write| {
            // The lock is poisoned if a user's `Serialize` implementation panics while the lock is
            // held. The panic does not affect the closure.
            let write = write.lock().unwrap_or_else(PoisonError::into_inner);
            let mut frame = Frame::new(&mut outgoing.frames.buffer, &fields).or_event(error_event);
            match write(&mut frame) {
                Ok(()) => {
                    frame.finish();
                    true
                }
                Err(error) => {
                    tracing::error!(%error, "failed to serialize a run's error; not sending its details");
                    false
                }
            }
        });
        if !shown {
            if !sends_framework_events {
                return false;
            }
            let problem = WithoutDetails {
                title: "Internal Server Error",
                code: INTERNAL_ERROR,
                status: 500,
            };
            let mut frame = Frame::new(&mut outgoing.frames.buffer, &fields).or_event(error_event);
            match Payload::<AsJson>::encode(&problem, &mut frame) {
                Ok(()) => drop(frame.finish()),
                Err(error) => tracing::error!(%error, "failed to serialize a problem"),
            }
        }
        outgoing.wrote(id);
        true
    }

    /// Returns the error as readers receive it. Used in log messages.
    pub(crate) fn describe(&self) -> String {
        let mut outgoing = bytes::BytesMut::new();
        let mut frame = Frame::of_value(&mut outgoing);
        if let Some(write) = &self.error
            && write.lock().unwrap_or_else(PoisonError::into_inner)(&mut frame).is_ok()
        {
            frame.finish();
        } else {
            drop(frame);
        }
        String::from_utf8_lossy(&outgoing).trim_end().to_owned()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
