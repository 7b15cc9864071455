//! How a generator leaves: what `return` and `?` mean on either side of the response.

use std::fmt;

/// The end of a generator that can fail: what `return` means in it. Nobody else can make one, so `return Ok(…)` does
/// not compile.
#[derive(Clone, Copy, Debug)]
pub struct End(());

impl End {
    /// The one value.
    pub const END: Self = Self(());
}

/// The error of a generator that can fail before the response and in the stream; `?` says where it stands.
#[derive(Debug)]
pub enum Exit<R, E> {
    /// Before the response.
    Response(R),
    /// In the stream.
    Stream(E),
}

// For `#[tracing::instrument(err)]`, which shows the error that a function returns.
impl<R: fmt::Display, E: fmt::Display> fmt::Display for Exit<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

/// What `?` can turn into `R`.
#[diagnostic::on_unimplemented(
    message = "`?` couldn't convert the error to `{R}`",
    label = "`{R}` is not `From<{Self}>`",
    note = "`?` converts the error with the `From` trait: implement `From<{Self}>` for `{R}`, or use `.map_err(…)` before it"
)]
pub trait Becomes<R> {
    #[doc(hidden)]
    fn become_it(self) -> R;
}

#[diagnostic::do_not_recommend]
impl<X, R: From<X>> Becomes<R> for X {
    fn become_it(self) -> R {
        self.into()
    }
}

/// What `?` can stand behind, in an endpoint that can fail on both sides of the response.
#[diagnostic::on_unimplemented(
    message = "`?` takes a `Result` here, not `{Self}`",
    label = "this is not a `Result`",
    note = "make one of an `Option` with `.ok_or(…)`"
)]
pub trait Tried {
    /// What it holds when all is well.
    type Ok;
    /// What it holds otherwise.
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

/// What `?` makes of a `Result` before the response, in an endpoint that can fail on both sides of it.
pub fn before_response<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<R>>,
{
    tried.result().map_err(error_before_response)
}

/// What `?` makes of a `Result` in the stream of an endpoint that can fail on both sides of the response.
pub fn in_stream<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<E>>,
{
    tried.result().map_err(error_in_stream)
}

/// What `?` makes of an error before the response.
pub fn error_before_response<X: Becomes<R>, R, E>(error: X) -> Exit<R, E> {
    Exit::Response(error.become_it())
}

/// What `?` makes of an error in the stream.
pub fn error_in_stream<X: Becomes<E>, R, E>(error: X) -> Exit<R, E> {
    Exit::Stream(error.become_it())
}

/// `return result` before the response, in an endpoint that can fail on both sides of it.
pub fn return_before_response<R, E>(result: Result<End, R>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Response)
}

/// `return result` in the stream of an endpoint that can fail on both sides of the response.
pub fn return_in_stream<R, E>(result: Result<End, E>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Stream)
}
