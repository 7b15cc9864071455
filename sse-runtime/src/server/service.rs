//! [`Service`]: passes the requests of one connection to the app.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody as _},
    extract::ConnectInfo,
    http::{Method, Request, Uri},
    response::Response,
    routing::future::RouteFuture,
};
use hyper::body::Incoming;
use tower_service::Service as _;

use crate::{
    lifecycle::{shutdown::Shutdown, wire::Wire},
    server::{
        body_timeout::{RequestBody, RequestProgress},
        connection_task::ConnectionContext,
        takeover::candidate::{Candidate, Slot},
    },
};

/// Passes the requests of one connection to the app, with extensions that describe the connection.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    context: Arc<ConnectionContext>,
    wire: Wire,
    peer: Option<SocketAddr>,
    /// Receives the event stream to take over. `None` if takeovers are not allowed.
    slot: Option<Slot>,
}

impl Service {
    pub(crate) fn new(
        context: Arc<ConnectionContext>,
        wire: Wire,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            context,
            wire,
            peer,
            slot: None,
        }
    }

    /// Allows event streams to be taken over from hyper through `slot`.
    pub(crate) fn set_slot(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        let slot = self.slot.as_ref();
        let candidate = slot.and_then(|slot| Candidate::new(&request, slot));
        let mut progress = None;
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let progress = progress
                .get_or_insert_with(RequestProgress::default)
                .clone();
            Body::new(RequestBody::new(
                body,
                self.context.timeouts.body_read,
                progress,
            ))
        });
        let extensions = request.extensions_mut();
        if let Some(peer) = self.peer {
            extensions.insert(ConnectInfo(peer));
        }
        extensions.insert(self.wire.clone());
        self.context.shutdown.add_to(extensions);
        if let Some(limit) = &self.context.max_streams {
            limit.add_to(extensions);
        }
        let line = RequestLine {
            method: request.method().clone(),
            uri: request.uri().clone(),
        };
        let mut app = self.context.app.clone();
        ResponseFuture {
            answer: line.log_panic(|| app.call(request)),
            line,
            progress,
            takeover: candidate.map(|candidate| (candidate, self.context.shutdown.clone())),
            is_taken: false,
        }
    }
}

/// A request's method and URI.
struct RequestLine {
    method: Method,
    uri: Uri,
}

impl RequestLine {
    /// Logs a panic in the app before unwinding closes the connection. The log line omits the query
    /// and the panic message, because they may contain secrets.
    fn log_panic<T>(&self, run: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            tracing::error!(
                method = %self.method,
                path = self.uri.path(),
                "a handler, extractor or layer panicked before the response began"
            );
            resume_unwind(panic)
        })
    }
}

/// The response future for a request.
pub(crate) struct ResponseFuture {
    answer: RouteFuture<Infallible>,
    line: RequestLine,
    /// The request's progress, or `None` if the request has no body.
    progress: Option<RequestProgress>,
    /// Used to take over the response if it is an event stream. `None` if hyper must send the
    /// response.
    takeover: Option<(Candidate, Shutdown)>,
    is_taken: bool,
}

impl Future for ResponseFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.is_taken {
            return Poll::Pending;
        }
        let answer = ready!(this.line.log_panic(|| Pin::new(&mut this.answer).poll(cx)));
        let has_arrived = this.progress.as_ref().is_none_or(|progress| {
            progress.set_answered();
            progress.has_arrived()
        });
        if let Some((candidate, shutdown)) = this.takeover.take()
            && has_arrived
        {
            let Ok(response) = answer;
            return match candidate.take(response, &shutdown) {
                Some(response) => Poll::Ready(Ok(response)),
                // hyper's connection is taken apart once the current poll returns. Until then,
                // hyper may poll this future again.
                None => {
                    this.is_taken = true;
                    Poll::Pending
                }
            };
        }
        Poll::Ready(answer)
    }
}
