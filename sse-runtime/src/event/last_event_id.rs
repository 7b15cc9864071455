//! [`LastEventId`]: the extractor for the id of the last event that a client received.

use std::{
    any::TypeId,
    convert::Infallible,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderName, HeaderValue, request::Parts},
};

use crate::event::id::{self, EventId};

const HEADER: HeaderName = HeaderName::from_static("last-event-id");

/// Extracts the last event ID: the id of the last event the client received, if any.
///
/// A browser sends this id in the `Last-Event-ID` header when it reconnects. If there are several
/// such headers, the first non-empty one is used. If there is no such header, the id is read from
/// the `lastEventId` or `last_event_id` query parameter. A script that creates a new `EventSource`
/// can set a query parameter but not a header. An empty id is treated as absent.
///
/// This extractor never rejects a request, because a `400` would stop a browser from ever
/// reconnecting. If the id is not UTF-8 or does not parse as `T` (for example, because an older
/// deployment issued it), the handler receives an error. Destructure the extractor with
/// `LastEventId(last)` to distinguish an error from a missing id, or call [`ok`](Self::ok) if the
/// stream starts from the beginning in either case. An `Option<LastEventId>` is `None` if the client
/// has not sent an id.
///
/// The id of [`Event::done()`](crate::Event::done) ends with `~done`. If a client sends this id
/// back in the header and the function does not extract a `LastEventId<EventId>`, the response is
/// `204` and the function body does not run. Otherwise, the function receives
/// [`LastEventIdError::Done`], which can be passed to a [`Topic`](crate::Topic). Subscribe to the
/// topic before the stream yields or awaits anything else. A stream that yields or awaits something
/// else first is assumed not to resume a topic, so the client receives a `204`. In a function that
/// returns a `Result`, the stream begins at the first statement that yields, so the function can
/// await other futures before that statement.
///
/// Source: [WHATWG HTML, the `Last-Event-ID` header](https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header).
///
/// ```
/// use sse_runtime::{Event, LastEventId, Stream, sse_endpoint};
///
/// #[sse_endpoint("/numbers")]
/// async fn numbers(last: LastEventId<u64>) -> impl Stream<Item = u64> {
///     // Start over if there is no id, or if it is invalid.
///     let seen = last.ok().unwrap_or(0);
///     for number in seen + 1..=10 {
///         yield_!(Event::json(number).id(number));
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEventId<T = EventId>(pub Result<Option<T>, LastEventIdError>);

impl<T> LastEventId<T> {
    /// Returns the id, or `None` if the client sent no id or sent one that could not be read.
    pub fn ok(self) -> Option<T> {
        self.0.ok().flatten()
    }
}

/// The error returned if a `Last-Event-ID` could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LastEventIdError {
    /// The id is not UTF-8. A stream never sends such an id.
    #[error(
        "the last event id is not UTF-8, so no event stream can have sent it; treat it as unknown"
    )]
    NotUtf8,
    /// The client reconnected even though it had already received the end of the stream. Either the
    /// id was in the query string, or it was in the header and the handler extracts a
    /// `LastEventId<EventId>`. The id may belong to another topic.
    #[error("the client has already received the end of the stream, after the id {last:?}")]
    #[non_exhaustive]
    Done {
        /// The id before the `~done` suffix.
        last: String,
    },
    /// The id could not be parsed as the `T` of the handler's `LastEventId<T>`.
    #[error(
        "the last event id {sent:?} does not belong to this stream ({reason}); treat it as unknown"
    )]
    #[non_exhaustive]
    NotParsed {
        /// The id that the client sent.
        sent: String,
        /// The parser's error message.
        reason: String,
    },
}

impl<S, T> FromRequestParts<S> for LastEventId<T>
where
    S: Sync,
    T: FromStr + 'static,
    T::Err: std::fmt::Display,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if TypeId::of::<T>() == TypeId::of::<EventId>()
            && let Some(done) = parts.extensions.get::<SentDone>()
        {
            done.0.store(true, Ordering::Relaxed);
        }
        let id = sent(parts).transpose().and_then(|sent: Option<String>| {
            let Some(sent) = sent else { return Ok(None) };
            if let Some(last) = sent.strip_suffix(id::DONE) {
                return Err(LastEventIdError::Done {
                    last: last.to_owned(),
                });
            }
            match sent.parse::<T>() {
                Ok(id) => Ok(Some(id)),
                Err(error) => Err(LastEventIdError::NotParsed {
                    reason: error.to_string(),
                    sent,
                }),
            }
        });
        Ok(Self(id))
    }
}

/// Extracts `None` if the client has not sent an id.
impl<S, T> OptionalFromRequestParts<S> for LastEventId<T>
where
    S: Sync,
    T: FromStr + 'static,
    T::Err: std::fmt::Display,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Infallible> {
        let last = <Self as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Some(last).filter(|last| !matches!(last.0, Ok(None))))
    }
}

/// Marks a request whose header contains the id of a finished stream. Also records whether the
/// endpoint has extracted the id as an [`EventId`], in which case the id may belong to a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentDone(Arc<AtomicBool>);

impl SentDone {
    /// Returns `None` unless the header contains the id of a finished stream.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let id = in_header(parts)?;
        id.as_bytes()
            .ends_with(id::DONE.as_bytes())
            .then(Self::default)
    }

    /// Returns whether the endpoint has extracted the id as an [`EventId`]. If so, the id may
    /// belong to a topic, and that topic decides whether the response is a `204`.
    pub(crate) fn is_extracted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the first non-empty `Last-Event-ID` header. A proxy may have added an empty header.
fn in_header(parts: &Parts) -> Option<&HeaderValue> {
    let mut sent = parts.headers.get_all(HEADER).into_iter();
    sent.find(|id| !id.is_empty())
}

/// Returns the id that the client sent, if any.
pub(crate) fn sent(parts: &Parts) -> Option<Result<String, LastEventIdError>> {
    if let Some(header) = in_header(parts) {
        let id = String::from_utf8(header.as_bytes().to_vec());
        return Some(id.map_err(|_| LastEventIdError::NotUtf8));
    }
    let query = parts.uri.query()?;
    let named = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, id)| key == name && !id.is_empty())
            .map(|(_, id)| Ok(id.into_owned()))
    };
    named("lastEventId").or_else(|| named("last_event_id"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn extract<T: FromStr + 'static>(
        uri: &str,
        header: Option<&[u8]>,
    ) -> Result<Option<T>, LastEventIdError>
    where
        T::Err: std::fmt::Display,
    {
        let mut request = Request::get(uri);
        if let Some(header) = header {
            request = request.header("last-event-id", header);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let extracted =
            <LastEventId<T> as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
        let Ok(LastEventId(id)) = extracted;
        id
    }

    #[tokio::test]
    async fn header_takes_precedence_over_query() {
        assert_eq!(extract::<u64>("/", None).await, Ok(None));
        assert_eq!(extract("/", Some(b"7")).await, Ok(Some(7_u64)));
        assert_eq!(extract("/?lastEventId=8", None).await, Ok(Some(8_u64)));
        assert_eq!(extract("/?last_event_id=9", None).await, Ok(Some(9_u64)));
        assert_eq!(
            extract("/?lastEventId=8", Some(b"7")).await,
            Ok(Some(7_u64))
        );
        assert_eq!(extract::<u64>("/?lastEventId=", None).await, Ok(None));
        // The empty `lastEventId` is treated as absent, so the id in `last_event_id` is used.
        let uri = "/?lastEventId=&last_event_id=9";
        assert_eq!(extract(uri, Some(b"")).await, Ok(Some(9_u64)));
    }

    #[tokio::test]
    async fn id_is_decoded_from_header_and_query() {
        for (uri, header) in [
            ("/", Some("☃ 1".as_bytes())),
            ("/?lastEventId=%E2%98%83+1", None),
        ] {
            assert_eq!(extract(uri, header).await, Ok(Some("☃ 1".to_owned())));
            // A client may send this text, but it is not a valid `EventId`.
            let error = extract::<EventId>(uri, header).await.unwrap_err();
            assert!(
                matches!(error, LastEventIdError::NotParsed { .. }),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn handler_receives_error_if_id_is_invalid() {
        assert_eq!(
            extract::<EventId>("/", Some(b"\xff")).await,
            Err(LastEventIdError::NotUtf8)
        );
        let error = extract::<u64>("/", Some(b"v1:9")).await.unwrap_err();
        assert!(
            matches!(&error, LastEventIdError::NotParsed { sent, .. } if sent == "v1:9"),
            "{error:?}"
        );
    }
}
