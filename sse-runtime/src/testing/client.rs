//! [`Client`], which sends requests to a router, and [`Response`], the router's response.

use std::{
    future::{Future, IntoFuture, poll_fn},
    panic::Location,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
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
    headers: HeaderMap,
}

impl Client {
    /// Creates a client for `app`.
    pub fn new(app: Router) -> Self {
        Self {
            app,
            headers: HeaderMap::new(),
        }
    }

    /// Adds a header to every request that does not set this header itself.
    ///
    /// ```
    /// # fn client(app: axum::Router) -> sse_runtime::testing::Client {
    /// sse_runtime::testing::Client::new(app).default_header("authorization", "Bearer secret")
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the header name or value is invalid.
    #[track_caller]
    pub fn default_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: std::fmt::Debug>,
        V: TryInto<HeaderValue, Error: std::fmt::Debug>,
    {
        let (name, value) = header(name, value);
        self.headers.append(name, value);
        self
    }

    /// Creates a `GET` request, which is sent when awaited.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    #[track_caller]
    pub fn get(&self, uri: &str) -> Request {
        self.request(Method::GET, uri)
    }

    /// Creates a `POST` request, which is sent when awaited.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    #[track_caller]
    pub fn post(&self, uri: &str) -> Request {
        self.request(Method::POST, uri)
    }

    /// Creates a request with the given method, which is sent when awaited.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    #[track_caller]
    pub fn request(&self, method: Method, uri: &str) -> Request {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = match uri.parse() {
            Ok(uri) => uri,
            Err(error) => panic!("{uri:?} is not a valid URI: {error}"),
        };
        Request {
            app: self.app.clone(),
            default_headers: self.headers.clone(),
            request,
            json: None,
        }
    }
}

#[track_caller]
fn header<N, V>(name: N, value: V) -> (HeaderName, HeaderValue)
where
    N: TryInto<HeaderName, Error: std::fmt::Debug>,
    V: TryInto<HeaderValue, Error: std::fmt::Debug>,
{
    match (name.try_into(), value.try_into()) {
        (Ok(name), Ok(value)) => (name, value),
        (Err(error), _) => panic!("the header name is invalid: {error:?}"),
        (_, Err(error)) => panic!("the header value is invalid: {error:?}"),
    }
}

/// A request that is sent when awaited.
#[derive(Debug)]
#[must_use = "a request is only sent when it is awaited"]
pub struct Request {
    app: Router,
    default_headers: HeaderMap,
    request: http::Request<Body>,
    /// The JSON body, which is quoted in panic messages.
    json: Option<String>,
}

impl Request {
    /// Adds a header.
    ///
    /// # Panics
    ///
    /// Panics if the header name or value is invalid.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: std::fmt::Debug>,
        V: TryInto<HeaderValue, Error: std::fmt::Debug>,
    {
        let (name, value) = header(name, value);
        self.request.headers_mut().append(name, value);
        self
    }

    /// Adds the `Last-Event-ID` header, as a browser does when it reconnects.
    ///
    /// # Panics
    ///
    /// Panics if the id is not a valid header value.
    #[track_caller]
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
    #[track_caller]
    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(json) => {
                let mut this = self
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(json.clone());
                this.json = Some(json);
                this
            }
            Err(error) => panic!("failed to serialize the body: {error}"),
        }
    }

    async fn send(mut self, at: &'static Location<'static>) -> Response {
        let (alive, dropped) = mpsc::channel(1);
        self.request.extensions_mut().insert(Alive(alive));
        for name in self.default_headers.keys() {
            if !self.request.headers().contains_key(name) {
                for value in self.default_headers.get_all(name) {
                    self.request.headers_mut().append(name, value.clone());
                }
            }
        }
        let mut origin = format!("{} {}", self.request.method(), self.request.uri());
        if let Some(json) = &self.json {
            origin = format!("{origin} with the body {}", shortened(json));
        }
        let ready =
            poll_fn(|cx| Service::<http::Request<Body>>::poll_ready(&mut self.app, cx)).await;
        let Ok(()) = ready;
        let answering = self.app.call(self.request);
        let what = format!("the response to {origin}");
        let Ok(response) = or_give_up(&what, at, answering).await;
        Response {
            response,
            origin,
            dropped,
        }
    }
}

/// Returns the start of a text, for a panic message.
fn shortened(text: &str) -> String {
    const CHARS: usize = 200;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send(Location::caller()))
    }
}

/// The app's response, which may be a stream of events.
#[derive(Debug)]
pub struct Response {
    response: axum::response::Response,
    /// The request's method, URI and JSON body.
    origin: String,
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
    /// Panics if the response isn't a stream. The message contains the response's status, its
    /// headers and the start of its body.
    #[track_caller]
    pub fn events(mut self) -> Events {
        if !self.is_stream() {
            let body = ready_text(self.response.body_mut());
            panic!(
                "expected a stream from {}, found {} with {:?} and the body {body:?}",
                self.origin,
                self.status(),
                self.headers(),
            );
        }
        Events::new(self.response.into_body(), self.origin, self.dropped)
    }

    /// Reads the whole body as text.
    ///
    /// # Panics
    ///
    /// Panics if the body is cut off, if it is not UTF-8, or if it does not end within 30 seconds
    /// (or within a week if tokio's clock is paused).
    #[track_caller]
    pub fn text(self) -> impl Future<Output = String> + Send {
        self.text_at(Location::caller())
    }

    async fn text_at(self, at: &'static Location<'static>) -> String {
        let Self {
            response, origin, ..
        } = self;
        let whole = axum::body::to_bytes(response.into_body(), usize::MAX);
        let what = format!("the end of the response to {origin}");
        let body = match or_give_up(&what, at, whole).await {
            Ok(body) => body,
            Err(error) => panic!("the body from {origin} was cut off: {error} (at {at})"),
        };
        match String::from_utf8(body.to_vec()) {
            Ok(text) => text,
            Err(error) => panic!("the body from {origin} is not UTF-8: {error} (at {at})"),
        }
    }

    /// Reads the whole body as JSON.
    ///
    /// # Panics
    ///
    /// Panics if the body cannot be parsed as `T`, or under the same conditions as
    /// [`text`](Self::text).
    #[track_caller]
    pub fn json<T: DeserializeOwned>(self) -> impl Future<Output = T> + Send {
        let at = Location::caller();
        async move {
            let origin = self.origin.clone();
            let text = self.text_at(at).await;
            match serde_json::from_str(&text) {
                Ok(value) => value,
                Err(error) => {
                    panic!("failed to parse the body from {origin}: {error} in {text:?} (at {at})")
                }
            }
        }
    }
}

/// Returns the part of a body that is available without waiting, for a panic message.
fn ready_text(body: &mut Body) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    let mut text = String::new();
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(&mut cx) {
        let data = frame.data_ref().map_or(&[][..], |data| data);
        text.push_str(&String::from_utf8_lossy(data));
        if text.len() > 1024 {
            break;
        }
    }
    shortened(&text)
}
