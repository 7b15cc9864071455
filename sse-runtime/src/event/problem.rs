//! [`SseError`]: one error type for failures before and after the first event.
//!
//! Source: [RFC 9457, "Problem Details for HTTP APIs"](https://www.rfc-editor.org/rfc/rfc9457).

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::Value;

use crate::event::{describe::Describe, frame::Head};

/// An error that becomes an HTTP response if it occurs before the stream begins, and an event if it
/// occurs later.
///
/// Derive this trait with [the macro of the same name](derive@crate::SseError).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `SseError`",
    note = "derive `sse_runtime::SseError` for this type"
)]
pub trait SseError: Serialize + IntoResponse {
    #[doc(hidden)]
    fn problem(&self) -> Problem;

    /// Returns the inner error of a transparent variant.
    #[doc(hidden)]
    fn inside(&self) -> Option<&dyn Inside> {
        None
    }

    #[cfg(feature = "openapi")]
    #[doc(hidden)]
    fn problems() -> Vec<crate::event::contract::ProblemShape>
    where
        Self: Sized;

    /// Returns the response status (400 to 599) to use if the error occurs before the stream
    /// begins.
    fn status(&self) -> StatusCode {
        self.problem().status()
    }

    /// Returns how long the client should wait before retrying, if the error specifies a delay.
    fn retry_after(&self) -> Option<Duration>;
}

/// A type-erased [`SseError`].
pub trait Inside {
    /// See [`SseError`].
    fn problem(&self) -> Problem;
    /// See [`SseError`].
    fn retry_after(&self) -> Option<Duration>;
    /// Serializes the error.
    fn value(&self) -> Result<Value, serde_json::Error>;
}

impl<E: SseError> Inside for E {
    fn problem(&self) -> Problem {
        SseError::problem(self)
    }

    fn retry_after(&self) -> Option<Duration> {
        SseError::retry_after(self)
    }

    fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

/// Returns the inner error of a transparent variant.
pub fn inside<E: SseError>(error: &E) -> Option<&dyn Inside> {
    Some(error)
}

/// Serializes a transparent variant as its inner error.
pub fn serialize_inside<S: Serializer>(
    error: &dyn Inside,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let value = error.value().map_err(S::Error::custom)?;
    value.serialize(serializer)
}

/// The members of an RFC 9457 problem, as set by a variant's attributes.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    /// The HTTP status. A compile-time check ensures that the status is in the range 400 to 599.
    pub status: u16,
    /// A URI that identifies the kind of problem.
    pub kind: Option<&'static str>,
    /// A one-line summary for people. Defaults to the status's reason phrase, as the RFC recommends
    /// for a problem without a `type`.
    pub title: Option<&'static str>,
    /// A longer explanation for people.
    pub detail: Option<&'static str>,
    /// A name that programs use to distinguish errors.
    pub code: &'static str,
    /// Whether a client must not reconnect after this error.
    pub stop: bool,
}

impl Problem {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Writes the members that every problem has, except those replaced by the variant's fields.
    pub fn write<M: SerializeMap>(
        &self,
        taken: &[(&str, bool)],
        members: &mut M,
    ) -> Result<(), M::Error> {
        let status = self.status();
        let title = self.title.or(status.canonical_reason());
        for (name, value) in [
            ("type", self.kind),
            ("title", title),
            ("detail", self.detail),
            ("code", Some(self.code)),
        ] {
            if let Some(value) = value
                && !taken.contains(&(name, true))
            {
                members.serialize_entry(name, value)?;
            }
        }
        members.serialize_entry("status", &status.as_u16())
    }
}

/// A problem without its variant's fields.
struct Bare(Problem);

impl Serialize for Bare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.0.write(&[], &mut members)?;
        members.end()
    }
}

/// The extension of the response to an error after which a client must not reconnect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permanent;

/// Converts an error into a response. The error's description is logged but not sent to the client.
pub fn respond<E: SseError>(error: &E, describe: Describe<E>) -> Response {
    let status = error.status();
    let description = describe(error);
    let description = description.as_deref();
    if status.is_server_error() {
        tracing::error!(
            status = status.as_u16(),
            error = description,
            "responded with an error"
        );
    } else {
        tracing::debug!(
            status = status.as_u16(),
            error = description,
            "responded with an error"
        );
    }
    let body = serde_json::to_vec(error).or_else(|problem| {
        tracing::error!(error = %problem, "failed to serialize an error's fields; responding without them");
        serde_json::to_vec(&Bare(error.problem()))
    });
    let body = body.unwrap_or_default();
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if error.problem().stop {
        response.extensions_mut().insert(Permanent);
    }
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    response
}

/// Rounds up to whole seconds, the unit of `Retry-After`, so that clients do not retry too early.
fn seconds(after: Duration) -> u64 {
    after
        .as_secs()
        .saturating_add(u64::from(after.subsec_nanos() > 0))
}

/// Types allowed for a field with `#[sse(retry_after)]`: `Duration`, unsigned integers (in seconds)
/// and `Option`s of these types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as a retry delay",
    label = "this is not a delay",
    note = "`#[sse(retry_after)]` requires a `Duration`, an unsigned integer (in seconds), or an `Option` of one of them"
)]
pub trait RetryAfter {
    /// Whether every value of this type contains a delay.
    #[doc(hidden)]
    const IS_ALWAYS_SET: bool = true;

    #[doc(hidden)]
    fn retry_after(&self) -> Option<Duration>;
}

impl RetryAfter for Duration {
    fn retry_after(&self) -> Option<Duration> {
        Some(*self)
    }
}

impl<T: RetryAfter> RetryAfter for Option<T> {
    const IS_ALWAYS_SET: bool = false;

    fn retry_after(&self) -> Option<Duration> {
        self.as_ref().and_then(T::retry_after)
    }
}

macro_rules! seconds {
    ($($number:ty),*) => {$(
        impl RetryAfter for $number {
            fn retry_after(&self) -> Option<Duration> {
                Some(Duration::from_secs(u64::from(*self)))
            }
        }
    )*};
}

seconds!(u8, u16, u32, u64);

/// Returns the duration stored in a field.
pub fn retry_after<T: RetryAfter>(field: &T) -> Option<Duration> {
    field.retry_after()
}

/// Writes the duration in whole seconds, as in the `Retry-After` header.
pub fn retry_after_member<M: SerializeMap>(
    after: Option<Duration>,
    name: &'static str,
    members: &mut M,
) -> Result<(), M::Error> {
    match after {
        Some(after) => members.serialize_entry(name, &seconds(after)),
        None => Ok(()),
    }
}

impl Head {
    /// Sets the `retry` field if `after` is not `None`.
    pub fn retry(mut self, after: Option<Duration>) -> Self {
        self.retry = after;
        self
    }

    /// Sets whether a client must not reconnect after this event.
    pub fn stop(mut self, stops: bool) -> Self {
        self.stops = stops;
        self
    }
}

/// A field of an error. The field is part of the response if its type implements `Serialize`.
///
/// [`ShowMember`] and [`HideMember`] define methods with the same names. The methods of
/// [`ShowMember`] take a `Member` by value and require `Serialize`. The methods of [`HideMember`]
/// take a `Member` by reference and do not require `Serialize`. If both traits apply, the compiler
/// prefers the method that takes its receiver by value.
#[derive(Clone, Copy)]
pub struct Member<'a, T: ?Sized>(pub &'a T);

impl<T: ?Sized> fmt::Debug for Member<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").finish_non_exhaustive()
    }
}

/// See [`Member`].
pub trait ShowMember {
    /// Returns `true`, because the field is part of the response.
    fn shows(self) -> bool
    where
        Self: Sized,
    {
        true
    }

    /// Writes the field.
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error>;
}

impl<T: Serialize + ?Sized> ShowMember for Member<'_, T> {
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry(name, self.0)
    }
}

/// See [`Member`].
pub trait HideMember {
    /// Returns `false`, because the field is not part of the response.
    fn shows(self) -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Omits the field.
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error>;
}

impl<T: ?Sized> HideMember for &Member<'_, T> {
    fn member<M: SerializeMap>(self, _: &'static str, _: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}
