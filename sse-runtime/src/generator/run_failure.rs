//! [`Failure`]: how a run ended that did not finish, for all of its readers.

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

/// Why a run, or a task of a stream, did not finish. Each reader's stream ends with it as the event
/// that errors of its endpoint have.
pub(crate) struct Failure {
    pub(crate) reason: CloseReason,
    /// The run was stopped on request: streams end cleanly, or break off if half an answer must not look complete.
    pub(crate) is_stop: bool,
    /// Writes the error. `None` if there is nothing that a client may see.
    error: Option<Mutex<Write>>,
}

type Write = Box<dyn Fn(&mut Frame<'_>) -> Result<(), EncodeError> + Send>;

/// A problem of RFC 9457 without details: what went wrong is for the log.
#[derive(Serialize)]
struct WithoutDetails {
    title: &'static str,
    status: u16,
}

impl Failure {
    pub(crate) fn panicked() -> Self {
        Self {
            reason: CloseReason::Panicked,
            is_stop: false,
            error: None,
        }
    }

    /// The run was stopped before its end.
    pub(crate) fn stopped() -> Self {
        Self {
            is_stop: true,
            ..Self::hidden()
        }
    }

    /// The error is not for clients.
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

    /// Writes the last event of a stream, with an id that stops a client that reconnects. Returns
    /// whether there is one.
    ///
    /// The error of a run is its producer's own, so it is also sent if the endpoint sends no events of
    /// the framework. That id and the problem without details are the framework's, and are not sent
    /// then.
    pub(crate) fn write_to(&self, outgoing: &mut Outgoing, endpoint: &Endpoint) -> bool {
        let error_event = endpoint.error_event;
        let sends_framework_events = endpoint.sends_framework_events();
        let id = sends_framework_events.then(|| EventId::done(outgoing.ids.last.as_ref()));
        let fields = Fields {
            id: id.clone(),
            ..Fields::default()
        };
        let shown = self.error.as_ref().is_some_and(|write| {
            // A user's `Serialize` may panic in here. It has changed nothing.
            let write = write.lock().unwrap_or_else(PoisonError::into_inner);
            let mut frame = Frame::new(&mut outgoing.frames.buffer, &fields).or_event(error_event);
            match write(&mut frame) {
                Ok(()) => {
                    frame.finish();
                    true
                }
                Err(error) => {
                    tracing::error!(%error, "the error of a run cannot be serialised, so its readers get no details");
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
                status: 500,
            };
            let mut frame = Frame::new(&mut outgoing.frames.buffer, &fields).or_event(error_event);
            match Payload::<AsJson>::encode(&problem, &mut frame) {
                Ok(()) => drop(frame.finish()),
                Err(error) => tracing::error!(%error, "a problem cannot be serialised"),
            }
        }
        outgoing.wrote(id);
        true
    }

    /// The error as its readers get it, for the log.
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
