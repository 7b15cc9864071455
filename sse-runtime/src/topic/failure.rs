//! [`Failure`]: how a run ended that did not finish, for all of its readers.

use std::{
    convert::Infallible,
    fmt,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use super::PublishError;
use crate::{
    CloseReason, EventId, HubError, Payload,
    channel::Outgoing,
    encode::{EncodeError, Fields, Frame},
    payload::{AsJson, ErrorPayload},
    yielder::Item,
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
    fn hidden() -> Self {
        Self {
            reason: CloseReason::Failed,
            is_stop: false,
            error: None,
        }
    }

    fn shown<E, Kind>(error: E) -> Self
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

    /// Writes the last event of a stream. Its id stops a client that returns.
    pub(crate) fn write_to(&self, outgoing: &mut Outgoing, error_event: &'static str) {
        let id = EventId::done(outgoing.last_id.as_ref());
        let fields = Fields {
            id: Some(id.clone()),
            ..Fields::default()
        };
        let shown = self.error.as_ref().is_some_and(|write| {
            // A user's `Serialize` may panic in here. It has changed nothing.
            let write = write.lock().unwrap_or_else(PoisonError::into_inner);
            let mut frame = Frame::new(&mut outgoing.buffer, &fields).or_event(error_event);
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
            let problem = WithoutDetails {
                title: "Internal Server Error",
                status: 500,
            };
            let mut frame = Frame::new(&mut outgoing.buffer, &fields).or_event(error_event);
            match Payload::<AsJson>::encode(&problem, &mut frame) {
                Ok(()) => drop(frame.finish()),
                Err(error) => tracing::error!(%error, "a problem cannot be serialised"),
            }
        }
        outgoing.wrote(Some(id));
    }

    /// The error as its readers get it, for the log.
    fn describe(&self) -> String {
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

/// What a run may end with: nothing, or a `Result` whose error its readers get.
///
/// An error that is [`Serialize`] is sent to readers as the event `error`, like the error of a stream. An
/// `std::io::Error`, a `Box<dyn Error + Send + Sync>`, a [`PublishError`] or a [`HubError`] is logged, and
/// readers get a problem without details. The parameter tells them apart and is inferred.
#[diagnostic::on_unimplemented(
    message = "a run of `Hub::produce` ends with nothing, or with a `Result<(), E>`, not with `{Self}`",
    label = "this is neither, or its error cannot be serialised",
    note = "derive `serde::Serialize` for an error that readers may see, and convert any other into `Box<dyn std::error::Error + Send + Sync>`, which is only logged"
)]
pub trait Outcome<Kind> {
    #[doc(hidden)]
    fn outcome(self) -> Result<(), RunError>;
}

/// How a run failed, and what the log says about it.
#[derive(Debug)]
pub struct RunError {
    pub(crate) failure: Failure,
    pub(crate) log: String,
}

impl RunError {
    pub(crate) fn abandoned() -> Self {
        Self {
            failure: Failure::hidden(),
            log: "it was abandoned: it had no reader for as long as the hub's `abandon_after`"
                .to_owned(),
        }
    }
}

/// The kinds of [`Outcome`].
#[derive(Debug)]
pub enum Nothing {}

/// See [`Outcome`].
#[derive(Debug)]
pub struct Shown<Kind>(Kind);

/// See [`Outcome`].
#[derive(Debug)]
pub enum Logged {}

impl Outcome<Nothing> for () {
    fn outcome(self) -> Result<(), RunError> {
        Ok(())
    }
}

impl Outcome<Nothing> for Infallible {
    fn outcome(self) -> Result<(), RunError> {
        match self {}
    }
}

/// A run that never ends: an `async` block whose last expression is a `loop` that nothing leaves has the type `!`.
impl Outcome<Nothing> for Never {
    fn outcome(self) -> Result<(), RunError> {
        self
    }
}

/// The type `!`, which only a signature can name on stable.
type Never = <fn() -> ! as Returns>::Output;

/// Names the return type of a function.
#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

#[diagnostic::do_not_recommend]
impl<E, Kind> Outcome<Shown<Kind>> for Result<(), E>
where
    E: ErrorPayload<Kind> + Send + 'static,
{
    fn outcome(self) -> Result<(), RunError> {
        self.map_err(|error| {
            let failure = Failure::shown(error);
            let log = failure.describe();
            RunError { failure, log }
        })
    }
}

macro_rules! logged {
    ($($error:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl Outcome<Logged> for Result<(), $error> {
            fn outcome(self) -> Result<(), RunError> {
                self.map_err(|error| RunError {
                    failure: Failure::hidden(),
                    log: error.to_string(),
                })
            }
        }
    )*};
}

logged!(
    std::io::Error,
    Box<dyn std::error::Error + Send + Sync>,
    PublishError,
    HubError
);
