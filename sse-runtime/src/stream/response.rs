//! The response head.

use std::mem;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
    response::Response,
};

use crate::{
    event::media_type::{CACHE_CONTROL, CONTENT_TYPE},
    lifecycle::shutdown::Shutdown,
    stream::{body::SseBody, request_context::RequestContext},
};

/// Tells nginx and other proxies that honour this header not to buffer the response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Returns the response headers of the event stream.
///
/// `connection` is sent only over HTTP/1.1. HTTP/2 forbids the header (RFC 9113, section 8.2.2). An
/// HTTP/1.0 client that received `keep-alive` would expect a `content-length`, which a stream does
/// not have.
pub(crate) fn head(context: &RequestContext) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(CACHE_CONTROL),
    );
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    if context.version == Version::HTTP_11 {
        // Set the header here instead of leaving it to hyper, which might not notice the shutdown
        // until later or might add a second `connection` header.
        let shutdown = context.guard.connection().shutdown();
        if shutdown.is_some_and(Shutdown::has_begun) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if !context.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
    }
    headers
}

/// Returns the response. `own` are the headers that the function has set. They replace the
/// framework's headers.
pub(crate) fn stream(version: Version, head: HeaderMap, own: HeaderMap, body: SseBody) -> Response {
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = head;
    response.headers_mut().extend(own);
    if version == Version::HTTP_10 {
        // If the response kept the default version (HTTP/1.1), hyper would add a `keep-alive`
        // header for a client that requested it.
        *response.version_mut() = version;
    }
    response
}

/// Adds the headers that the function has set to a response that is not a stream. The response's own
/// headers take precedence.
pub(crate) fn add_headers(response: &mut Response, own: HeaderMap) {
    let mut headers = own;
    headers.extend(mem::take(response.headers_mut()));
    *response.headers_mut() = headers;
}
