//! [`Payload`]: the types that can be sent as an event's data.

use std::convert::Infallible;

use axum::response::Html;
use serde::Serialize;

use crate::event::{
    data,
    frame::{EncodeError, Frame, Head},
};
use sealed::Sealed;

/// Types whose values a stream can send. The value of any [`serde::Serialize`] type is sent as
/// single-line JSON. [`Text`] and axum's [`Html`] are sent as text, without being encoded as JSON.
///
/// Do not implement this trait by hand. Derive [`serde::Serialize`] instead. `Kind` distinguishes
/// the kinds of payload and is inferred. A `Serialize` value, even a `String`, is always sent as
/// JSON, so `JSON.parse(e.data)` never fails in the browser. NaN and infinite floats become `null`,
/// as in `serde_json`.
#[diagnostic::on_unimplemented(
    message = "`{Self}`, or a type inside it, cannot be sent as an event",
    label = "this cannot be serialized",
    note = "derive `serde::Serialize` or `sse_runtime::SseEvent` for this type, or send text with `sse_runtime::Text`; the item must be the value itself, not wrapped in `Event` or `Json`"
)]
pub trait Payload<Kind = AsJson>: Sealed<Kind> {
    #[doc(hidden)]
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError>;
}

/// Types that a stream can use as its error type. Implemented for every [`Payload`]. This trait
/// exists only to improve the compiler's error message for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` would be sent to the client, but this type, or a type inside it, cannot be serialized",
    label = "this cannot be serialized",
    note = "derive `sse_runtime::SseError` or `serde::Serialize` for an error that clients may see, and convert other errors into it with `?`"
)]
pub trait ErrorPayload<Kind>: Payload<Kind> {}

#[diagnostic::do_not_recommend]
impl<E: Payload<Kind>, Kind> ErrorPayload<Kind> for E {}

mod sealed {
    pub trait Sealed<Kind> {}
}

/// The [`Payload`] kind for [`serde::Serialize`] types.
#[derive(Debug)]
pub enum AsJson {}

/// The [`Payload`] kind for [`Text`].
#[derive(Debug)]
pub enum AsText {}

/// The [`Payload`] kind for [`Infallible`], the error type of a stream that cannot fail. An
/// `Infallible` value cannot exist, so it is never sent.
#[derive(Debug)]
pub enum AsNever {}

impl Sealed<AsNever> for Infallible {}

#[diagnostic::do_not_recommend]
impl Payload<AsNever> for Infallible {
    fn encode(&self, _: &mut Frame<'_>) -> Result<(), EncodeError> {
        match *self {}
    }
}

/// The [`Payload`] kind for axum's [`Html`].
#[derive(Debug)]
pub enum AsHtml {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Sealed<AsJson> for T {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Payload<AsJson> for T {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        data::write(frame, self).map_err(EncodeError)
    }
}

/// Text that is sent without being encoded as JSON, with one `data` line per line of text.
///
/// LF, CR and CRLF each count as one line break. All three arrive as LF, because the event stream
/// format does not distinguish between them.
///
/// Other Unicode line breaks, such as U+2028, are sent unchanged. Contrary to the standard, some
/// clients (such as those using Python's `splitlines`) treat these characters as line breaks and
/// parse the text after them as a separate field. Send untrusted text as JSON, which escapes these
/// characters.
///
/// ```
/// use sse_runtime::{Stream, Text, sse_endpoint};
///
/// #[sse_endpoint("/log")]
/// async fn log() -> impl Stream<Item = Text<String>> {
///     yield_!(Text("two\nlines".to_owned()));
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text<T>(pub T);

impl<T: AsRef<str>> Sealed<AsText> for Text<T> {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str>> Payload<AsText> for Text<T> {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        frame.text(Head::default(), self.0.as_ref());
        Ok(())
    }
}

impl<T: AsRef<str>> Sealed<AsHtml> for Html<T> {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str>> Payload<AsHtml> for Html<T> {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        frame.text(Head::default(), self.0.as_ref());
        Ok(())
    }
}
