//! [`SseError`]: one error type for both sides of the first event.
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

/// An error that is an HTTP response before the stream begins, and an event in it.
///
/// It is implemented by its derive, see [the macro of the same name](derive@crate::SseError).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `SseError`",
    note = "derive `sse_runtime::SseError` for it"
)]
pub trait SseError: Serialize + IntoResponse {
    #[doc(hidden)]
    fn problem(&self) -> Problem;

    /// The error in a variant that is transparent.
    #[doc(hidden)]
    fn inside(&self) -> Option<&dyn Inside> {
        None
    }

    /// The status that it answers with before the response begins, 400 to 599.
    fn status(&self) -> StatusCode {
        self.problem().status()
    }

    /// How long the client is asked to wait, where the error says so.
    fn retry_after(&self) -> Option<Duration>;
}

/// An error whose type is forgotten.
pub trait Inside {
    /// See [`SseError`].
    fn problem(&self) -> Problem;
    /// See [`SseError`].
    fn retry_after(&self) -> Option<Duration>;
    /// What is shown of it.
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

/// The error in a variant that is transparent.
pub fn inside<E: SseError>(error: &E) -> Option<&dyn Inside> {
    Some(error)
}

/// Serialises an error as the one inside.
pub fn serialize_inside<S: Serializer>(
    error: &dyn Inside,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let value = error.value().map_err(S::Error::custom)?;
    value.serialize(serializer)
}

/// What is said of a variant where it is written.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    /// 400 to 599, checked when it was compiled.
    pub status: u16,
    /// A URI that identifies the kind of problem.
    pub kind: Option<&'static str>,
    /// One line for people; the status' own by default, as the RFC has it for a problem without a `type`.
    pub title: Option<&'static str>,
    /// More of it.
    pub detail: Option<&'static str>,
    /// The name by which scripts tell errors apart.
    pub code: &'static str,
}

impl Problem {
    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Writes the members that every problem has, but for those that a field of the variant takes the place of.
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

/// A problem without the fields of its variant.
struct Bare(Problem);

impl Serialize for Bare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.0.write(&[], &mut members)?;
        members.end()
    }
}

/// Answers with an error, and logs what is not for the client.
pub fn respond<E: SseError>(error: &E, describe: Describe<E>) -> Response {
    let status = error.status();
    let description = describe(error);
    let description = description.as_deref();
    if status.is_server_error() {
        tracing::error!(
            status = status.as_u16(),
            error = description,
            "answered with an error"
        );
    } else {
        tracing::debug!(
            status = status.as_u16(),
            error = description,
            "answered with an error"
        );
    }
    let body = serde_json::to_vec(error).or_else(|problem| {
        tracing::error!(error = %problem, "a field of an error cannot be serialised, so its response has none");
        serde_json::to_vec(&Bare(error.problem()))
    });
    let body = body.unwrap_or_default();
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(after) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    response
}

/// Whole seconds, which is all that `Retry-After` takes; rounded up, so that nobody comes back too early.
fn seconds(after: Duration) -> u64 {
    after
        .as_secs()
        .saturating_add(u64::from(after.subsec_nanos() > 0))
}

/// What can stand in a field with `#[sse(retry_after)]`: a `Duration`, whole seconds, or an `Option` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how long to wait",
    label = "this is no time to wait",
    note = "`#[sse(retry_after)]` goes on a `Duration`, on a whole number of seconds, or on an `Option` of one"
)]
pub trait RetryAfter {
    #[doc(hidden)]
    fn retry_after(&self) -> Option<Duration>;
}

impl RetryAfter for Duration {
    fn retry_after(&self) -> Option<Duration> {
        Some(*self)
    }
}

impl<T: RetryAfter> RetryAfter for Option<T> {
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

/// The time in a field.
pub fn retry_after<T: RetryAfter>(field: &T) -> Option<Duration> {
    field.retry_after()
}

/// Writes the time in a field as whole seconds, as the header has it.
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
    /// Sets the `retry` field, where there is one.
    pub fn retry(mut self, after: Option<Duration>) -> Self {
        self.retry = after;
        self
    }
}

/// A field of an error on its way into the response: it is shown if it is `Serialize`.
///
/// The compiler chooses between two methods of one name: that of [`ShowMember`] takes this by value and wants
/// `Serialize`, that of [`HideMember`] takes it by reference and wants nothing, and by value comes first.
#[derive(Clone, Copy)]
pub struct Member<'a, T: ?Sized>(pub &'a T);

impl<T: ?Sized> fmt::Debug for Member<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").finish_non_exhaustive()
    }
}

/// See [`Member`].
pub trait ShowMember {
    /// It is.
    fn shows(self) -> bool
    where
        Self: Sized,
    {
        true
    }

    /// Writes it.
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error>;
}

impl<T: Serialize + ?Sized> ShowMember for Member<'_, T> {
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry(name, self.0)
    }
}

/// See [`Member`].
pub trait HideMember {
    /// It is not.
    fn shows(self) -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Leaves it out.
    fn member<M: SerializeMap>(self, name: &'static str, members: &mut M) -> Result<(), M::Error>;
}

impl<T: ?Sized> HideMember for &Member<'_, T> {
    fn member<M: SerializeMap>(self, _: &'static str, _: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}
