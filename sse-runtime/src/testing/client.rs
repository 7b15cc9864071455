//! [`Client`], which sends requests to a router, and [`Response`], the router's response.

use std::{
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
};

use axum::{
    Router,
    body::Body,
    http::{self, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tower_service::Service;

use super::{Events, patience::or_give_up};
use crate::lifecycle::connection::Alive;

/// A client that calls a [`Router`] directly, without a socket.
///
/// A client panics on mistakes that should fail a test, such as an invalid header or invalid JSON.
/// Without a socket, requests have no peer address. If a handler extracts `ConnectInfo`, add axum's
/// `MockConnectInfo` layer.
#[derive(Clone, Debug)]
pub struct Client {
    app: Router,
}

impl Client {
    /// Creates a client for `app`.
    pub fn new(app: Router) -> Self {
        Self { app }
    }

    /// Creates a `GET` request, which is sent when awaited.
    pub fn get(&self, uri: &str) -> Request {
        self.request(Method::GET, uri)
    }

    /// Creates a `POST` request, which is sent when awaited.
    pub fn post(&self, uri: &str) -> Request {
        self.request(Method::POST, uri)
    }

    /// Creates a request with the given method, which is sent when awaited.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    pub fn request(&self, method: Method, uri: &str) -> Request {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = match uri.parse() {
            Ok(uri) => uri,
            Err(error) => panic!("{uri:?} is not a valid URI: {error}"),
        };
        Request {
            app: self.app.clone(),
            request,
        }
    }
}

/// A request that is sent when awaited.
#[derive(Debug)]
#[must_use = "a request is only sent when it is awaited"]
pub struct Request {
    app: Router,
    request: http::Request<Body>,
}

impl Request {
    /// Adds a header.
    ///
    /// # Panics
    ///
    /// Panics if the header name or value is invalid.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: std::fmt::Debug>,
        V: TryInto<HeaderValue, Error: std::fmt::Debug>,
    {
        let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
            panic!("the header name or value is invalid");
        };
        self.request.headers_mut().append(name, value);
        self
    }

    /// Adds the `Last-Event-ID` header, as a browser does when it reconnects.
    ///
    /// # Panics
    ///
    /// Panics if the id is not a valid header value.
    pub fn last_event_id(self, id: impl std::fmt::Display) -> Self {
        self.header("last-event-id", id.to_string().into_bytes())
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// Serializes `value` as the JSON body and sets the `content-type` header.
    ///
    /// # Panics
    ///
    /// Panics if the value cannot be serialized.
    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self
                .header(header::CONTENT_TYPE, "application/json")
                .body(json),
            Err(error) => panic!("failed to serialize the body: {error}"),
        }
    }

    async fn send(mut self) -> Response {
        let (alive, dropped) = mpsc::channel(1);
        self.request.extensions_mut().insert(Alive(alive));
        let request_line = format!("{} {}", self.request.method(), self.request.uri());
        let ready =
            poll_fn(|cx| Service::<http::Request<Body>>::poll_ready(&mut self.app, cx)).await;
        let Ok(()) = ready;
        let answering = self.app.call(self.request);
        let Ok(response) = or_give_up(format!("the response to {request_line}"), answering).await;
        Response {
            response,
            request_line,
            dropped,
        }
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The app's response, which may be a stream of events.
#[derive(Debug)]
pub struct Response {
    response: axum::response::Response,
    /// The request's method and URI.
    request_line: String,
    dropped: mpsc::Receiver<()>,
}

impl Response {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns the value of a header, or `None` if the header is missing or its value is not
    /// visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Returns whether a browser would accept the response as a stream, which requires the status
    /// `200` and the content type `text/event-stream`.
    pub fn is_stream(&self) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        self.status() == StatusCode::OK
            && content_type.split(';').next().map(str::trim) == Some("text/event-stream")
    }

    /// Returns the events of the stream.
    ///
    /// # Panics
    ///
    /// Panics if the response isn't a stream.
    pub fn events(self) -> Events {
        assert!(
            self.is_stream(),
            "expected a stream from {}, found {} with {:?}",
            self.request_line,
            self.status(),
            self.headers()
        );
        Events::new(self.response.into_body(), self.request_line, self.dropped)
    }

    /// Reads the whole body as text.
    ///
    /// # Panics
    ///
    /// Panics if the body is cut off, if it is not UTF-8, or if it does not end within 30 seconds
    /// (or within a week if tokio's clock is paused).
    pub async fn text(self) -> String {
        let whole = axum::body::to_bytes(self.response.into_body(), usize::MAX);
        let what = format!("the end of the response to {}", self.request_line);
        let body = match or_give_up(what, whole).await {
            Ok(body) => body,
            Err(error) => panic!("the body from {} was cut off: {error}", self.request_line),
        };
        match String::from_utf8(body.to_vec()) {
            Ok(text) => text,
            Err(error) => panic!("the body is not UTF-8: {error}"),
        }
    }

    /// Reads the whole body as JSON.
    ///
    /// # Panics
    ///
    /// Panics if the body cannot be parsed as `T`, or under the same conditions as
    /// [`text`](Self::text).
    pub async fn json<T: DeserializeOwned>(self) -> T {
        let text = self.text().await;
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("failed to parse {text:?}: {error}"),
        }
    }
}
