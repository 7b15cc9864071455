//! [`ResponseHeaders`]: an extractor that lets a function set headers of its response.

use std::mem;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};

use super::{Connection, MissingConnection};

/// Sets headers of the response, such as a session id or a rate limit. This extractor works only in
/// event endpoints.
///
/// ```
/// use sse_runtime::{ResponseHeaders, Stream, sse_endpoint};
///
/// #[sse_endpoint("/api/chat", method = POST)]
/// async fn chat(headers: ResponseHeaders) -> impl Stream<Item = &'static str> {
///     headers.insert("x-vercel-ai-ui-message-stream", "v1").expect("the head has not been sent");
///     yield_!("Hello");
/// }
/// ```
///
/// The head is sent at the first `yield_!`, or earlier if the function awaits something that is not
/// ready. If the function returns a `Result`, the head is not sent before the first statement that
/// yields, so the function can wait for other futures before it sets a header, unless the
/// `head_after` key limits this time.
///
/// The headers are added to the response that the function determines, whether it is a stream, a
/// `204` or an error. Headers that the error's own response contains take precedence. If one of the
/// function's extractors rejects the request, no headers are added. A `HEAD` request runs only the
/// statements before the response, so only the headers set by these statements are sent.
///
/// A value that is the same in every response can also be set by a layer, such as tower-http's
/// `SetResponseHeaderLayer`.
#[derive(Clone, Debug)]
pub struct ResponseHeaders(Connection);

/// The error returned if a response header cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseHeaderError {
    /// The head has already been sent, or the stream has ended.
    #[error(
        "the response header `{name}` was set too late, after the head had been sent or the stream had ended; set it before the first `yield_!`, \
         and before the first `.await` unless the function returns a `Result`"
    )]
    #[non_exhaustive]
    TooLate {
        /// The header's name.
        name: HeaderName,
    },
    /// The header describes the stream's encoding or its connection, so only the framework sets it.
    #[error("the response header `{name}` is set by the framework and cannot be changed")]
    #[non_exhaustive]
    Reserved {
        /// The header's name.
        name: HeaderName,
    },
    /// The header's name is invalid.
    #[error("a response header has an invalid name; it must be a token, such as `x-session`")]
    InvalidName,
    /// The header's value is invalid.
    #[error(
        "the value of the response header `{name}` is invalid; it must not contain control characters"
    )]
    #[non_exhaustive]
    InvalidValue {
        /// The header's name.
        name: HeaderName,
    },
}

/// The headers that a function cannot set. Without its content type, the response would not be an
/// event stream. The others describe the message or the connection (RFC 9110, section 7.6.1).
const RESERVED: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl ResponseHeaders {
    /// Sets a header. Replaces the header's earlier values, including a value that the framework
    /// sets, such as `cache-control`.
    ///
    /// # Errors
    ///
    /// Returns an error if the head has already been sent or the stream has ended, if the name or the
    /// value is invalid, or if only the framework can set the header (`content-type`, `content-length`,
    /// `content-encoding` and the headers of the connection).
    pub fn insert<N, V>(&self, name: N, value: V) -> Result<(), ResponseHeaderError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.set(name, value, |headers, name, value| {
            headers.insert(name, value);
        })
    }

    /// Adds a header and keeps the earlier values that the function has set. Use this method for
    /// headers that may occur several times, such as `set-cookie`.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`insert`](Self::insert).
    pub fn append<N, V>(&self, name: N, value: V) -> Result<(), ResponseHeaderError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.set(name, value, |headers, name, value| {
            headers.append(name, value);
        })
    }

    fn set<N, V>(
        &self,
        name: N,
        value: V,
        set: fn(&mut HeaderMap, HeaderName, HeaderValue),
    ) -> Result<(), ResponseHeaderError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let Ok(name) = name.try_into() else {
            return Err(ResponseHeaderError::InvalidName);
        };
        if RESERVED.contains(&name) {
            return Err(ResponseHeaderError::Reserved { name });
        }
        let Ok(value) = value.try_into() else {
            return Err(ResponseHeaderError::InvalidValue { name });
        };
        let mut state = self.0.state();
        // A stream that has ended before its head was sent has no headers either.
        if state.has_head || state.ended.is_some() {
            return Err(ResponseHeaderError::TooLate { name });
        }
        let headers = &mut state.attached.get_or_insert_default().response_headers;
        set(headers, name, value);
        Ok(())
    }
}

impl Connection {
    /// Takes the headers that the function has set. From now on, it is too late to set headers.
    pub(crate) fn take_response_headers(&self) -> HeaderMap {
        let mut state = self.state();
        state.has_head = true;
        match &mut state.attached {
            Some(attached) => mem::take(&mut attached.response_headers),
            None => HeaderMap::new(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for ResponseHeaders {
    type Rejection = MissingConnection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, MissingConnection> {
        let connection = Connection::from_request_parts(parts, state).await?;
        Ok(Self(connection))
    }
}
