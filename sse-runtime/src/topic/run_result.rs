//! [`RunResult`]: a trait for the types that a run can return.

use std::convert::Infallible;

use super::{HubError, PublishError};
use crate::{event::payload::ErrorPayload, generator::run_failure::Failure};
use sealed::Sealed;

/// A type that a run can return, such as `()` or `Result<(), E>`.
///
/// An error that implements [`Serialize`](serde::Serialize) is sent to the readers as an `error`
/// event, like a stream's error. A `std::io::Error`, a `Box<dyn Error + Send + Sync>`, a
/// [`PublishError`] or a [`HubError`] is only logged, and the readers receive an RFC 9457 problem
/// without details. `Kind` distinguishes these cases and is inferred.
#[diagnostic::on_unimplemented(
    message = "a run of `Hub::spawn` cannot return `{Self}`",
    label = "a run must return `()`, or a `Result<(), E>` whose error `E` is `Serialize` and `Send`",
    note = "derive `serde::Serialize` for an error that readers may see, and convert any other error into `Box<dyn std::error::Error + Send + Sync>`, which is only logged"
)]
pub trait RunResult<Kind>: Sealed {
    #[doc(hidden)]
    fn outcome(self) -> Result<(), RunError>;
}

/// A run's failure and the message to log for that failure.
#[derive(Debug)]
pub struct RunError {
    pub(crate) failure: Failure,
    pub(crate) log: String,
}

impl RunError {
    pub(crate) fn abandoned() -> Self {
        Self {
            failure: Failure::hidden(),
            log:
                "the run was abandoned because it had no reader for the hub's `abandon_after` time"
                    .to_owned(),
        }
    }
}

/// The `Kind` of a [`RunResult`] without an error.
#[derive(Debug)]
pub enum Nothing {}

/// The `Kind` of a [`RunResult`] whose error is sent to the readers.
#[derive(Debug)]
pub struct Shown<Kind>(Kind);

/// The `Kind` of a [`RunResult`] whose error is only logged.
#[derive(Debug)]
pub enum Logged {}

mod sealed {
    pub trait Sealed {}
}

impl Sealed for () {}
impl Sealed for Infallible {}
impl Sealed for Never {}
impl<E> Sealed for Result<(), E> {}

impl RunResult<Nothing> for () {
    fn outcome(self) -> Result<(), RunError> {
        Ok(())
    }
}

impl RunResult<Nothing> for Infallible {
    fn outcome(self) -> Result<(), RunError> {
        match self {}
    }
}

/// The result of a run that never ends. An `async` block that ends in a `loop` without a `break`
/// has the output type `!`.
impl RunResult<Nothing> for Never {
    fn outcome(self) -> Result<(), RunError> {
        self
    }
}

/// The type `!`. Stable Rust allows `!` only as a return type, so [`Returns`] extracts `!` from the
/// type of a function pointer.
type Never = <fn() -> ! as Returns>::Output;

/// Exposes a function's return type as an associated type.
#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

#[diagnostic::do_not_recommend]
impl<E, Kind> RunResult<Shown<Kind>> for Result<(), E>
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
        impl RunResult<Logged> for Result<(), $error> {
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
