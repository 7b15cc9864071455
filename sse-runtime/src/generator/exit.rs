//! [`Exit`]: how a generator exits through `return` or `?`, either before the response begins or in
//! the stream.

use std::fmt;

/// The value that a fallible generator returns when it finishes. User code cannot construct it, so
/// `return Ok(…)` does not compile.
#[derive(Clone, Copy, Debug)]
pub struct End(());

impl End {
    /// The only instance of this type.
    pub const END: Self = Self(());
}

/// The error of a generator that can fail both before the response begins and in the stream. The
/// variant depends on where the `?` is.
#[derive(Debug)]
pub enum Exit<R, E> {
    /// An error that occurs before the response begins.
    Response(R),
    /// An error that occurs in the stream.
    Stream(E),
}

// Needed for `#[tracing::instrument(err)]`, which logs the error that a function returns.
impl<R: fmt::Display, E: fmt::Display> fmt::Display for Exit<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

/// Errors that `?` can convert into `R`.
#[diagnostic::on_unimplemented(
    message = "`?` couldn't convert the error to `{R}`",
    label = "the trait `From<{Self}>` is not implemented for `{R}`",
    note = "`?` converts the error with the `From` trait; implement `From<{Self}>` for `{R}`, or call `.map_err(…)` first"
)]
pub trait Becomes<R> {
    #[doc(hidden)]
    fn into_target(self) -> R;
}

#[diagnostic::do_not_recommend]
impl<X, R: From<X>> Becomes<R> for X {
    fn into_target(self) -> R {
        self.into()
    }
}

/// Types that `?` accepts in an endpoint that can fail both before the response begins and in the
/// stream.
#[diagnostic::on_unimplemented(
    message = "`?` can only be applied to a `Result` here, not to `{Self}`",
    label = "this is not a `Result`",
    note = "convert an `Option` into a `Result` with `.ok_or(…)`"
)]
pub trait Tried {
    /// The success type.
    type Ok;
    /// The error type.
    type Error;
    #[doc(hidden)]
    fn result(self) -> Result<Self::Ok, Self::Error>;
}

impl<T, E> Tried for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn result(self) -> Self {
        self
    }
}

/// Implements a `?` evaluated before the response begins, in an endpoint that can also fail in the
/// stream.
pub fn before_response<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<R>>,
{
    tried.result().map_err(error_before_response)
}

/// Implements a `?` evaluated in the stream, in an endpoint that can also fail before the response
/// begins.
pub fn in_stream<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<E>>,
{
    tried.result().map_err(error_in_stream)
}

/// Converts an error propagated by a `?` before the response begins.
pub fn error_before_response<X: Becomes<R>, R, E>(error: X) -> Exit<R, E> {
    Exit::Response(error.into_target())
}

/// Converts an error propagated by a `?` in the stream.
pub fn error_in_stream<X: Becomes<E>, R, E>(error: X) -> Exit<R, E> {
    Exit::Stream(error.into_target())
}

/// Implements a `return result` executed before the response begins, in an endpoint that can also
/// fail in the stream.
pub fn return_before_response<R, E>(result: Result<End, R>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Response)
}

/// Implements a `return result` executed in the stream, in an endpoint that can also fail before
/// the response begins.
pub fn return_in_stream<R, E>(result: Result<End, E>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Stream)
}
