//! [`Payload`]: what the data of an event can be.

use std::convert::Infallible;

use axum::response::Html;
use serde::Serialize;

use crate::event::{
    data,
    frame::{EncodeError, Frame, Head},
};

/// What a stream can carry: every [`serde::Serialize`] as one line of JSON, [`Text`] and axum's [`Html`] as they are.
///
/// It is implemented for all that can be sent, and not meant to be implemented by hand: derive [`serde::Serialize`].
/// The parameter tells the kinds apart, and is inferred. JSON is JSON always, a `String` too, so that
/// `JSON.parse(e.data)` never fails in the browser. A float that is not a number, or infinite, is `null`, as
/// `serde_json` has it.
#[diagnostic::on_unimplemented(
    message = "`{Self}`, or a type inside it, cannot be sent as an event",
    label = "this cannot be serialised",
    note = "derive `serde::Serialize` or `sse_runtime::SseEvent` for it, or send text with `sse_runtime::Text`; the item is the value itself, without an `Event` or a `Json` around it"
)]
pub trait Payload<Kind = AsJson> {
    #[doc(hidden)]
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError>;
}

/// What the error of a stream can be: a [`Payload`]. It exists for what the compiler says of the rest.
#[diagnostic::on_unimplemented(
    message = "`{Self}` would be shown to the client, and it, or a type inside it, cannot be sent as an event",
    label = "this cannot be serialised",
    note = "derive `sse_runtime::SseError` or `serde::Serialize` for an error that is meant for clients, and let `?` convert what is not into it"
)]
pub trait ErrorPayload<Kind>: Payload<Kind> {}

#[diagnostic::do_not_recommend]
impl<E: Payload<Kind>, Kind> ErrorPayload<Kind> for E {}

/// The [`Payload`] kind of what is [`serde::Serialize`].
#[derive(Debug)]
pub enum AsJson {}

/// The [`Payload`] kind of [`Text`].
#[derive(Debug)]
pub enum AsText {}

/// The [`Payload`] kind of [`Infallible`], which nobody ever sends: the error of a stream that cannot fail.
#[derive(Debug)]
pub enum AsNever {}

#[diagnostic::do_not_recommend]
impl Payload<AsNever> for Infallible {
    fn encode(&self, _: &mut Frame<'_>) -> Result<(), EncodeError> {
        match *self {}
    }
}

/// The [`Payload`] kind of axum's [`Html`].
#[derive(Debug)]
pub enum AsHtml {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Payload<AsJson> for T {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        Ok(data::write(frame, self)?)
    }
}

/// Text that is sent as it is, not as JSON: one `data` line for each of its lines.
///
/// LF, CR and CRLF are one line break each, and arrive as LF, since the format has no other.
///
/// Unicode's other line breaks, such as U+2028, are sent as they are. Clients that split at them against the standard, such as
/// those that use Python's `splitlines`, read what follows as a field of its own. Send text from untrusted sources as JSON, in
/// which they are escaped.
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

#[diagnostic::do_not_recommend]
impl<T: AsRef<str>> Payload<AsText> for Text<T> {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        frame.text(Head::default(), self.0.as_ref());
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str>> Payload<AsHtml> for Html<T> {
    fn encode(&self, frame: &mut Frame<'_>) -> Result<(), EncodeError> {
        frame.text(Head::default(), self.0.as_ref());
        Ok(())
    }
}
