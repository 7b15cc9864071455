//! [`Service`]: hands the requests of one connection to the app.

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
    lifecycle::{extension_layer::Tell as _, shutdown::Shutdown, wire::Wire},
    server::{
        body_timeout::{Course, RequestBody},
        connection_task::ConnectionContext,
        takeover::candidate::{Candidate, Slot},
    },
};

/// Hands the requests of one connection to the app, and tells it what they came in on.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    context: Arc<ConnectionContext>,
    wire: Wire,
    peer: Option<SocketAddr>,
    /// For event streams that are taken over.
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

    /// Lets event streams be taken over, through this slot.
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
        let asked = slot.and_then(|slot| Candidate::new(&request, slot));
        let mut course = None;
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let course = course.get_or_insert_with(Course::default).clone();
            Body::new(RequestBody::new(
                body,
                self.context.timeouts.body_read,
                course,
            ))
        });
        let extensions = request.extensions_mut();
        if let Some(peer) = self.peer {
            extensions.insert(ConnectInfo(peer));
        }
        extensions.insert(self.wire.clone());
        self.context.shutdown.tell(extensions);
        if let Some(limit) = &self.context.max_streams {
            limit.tell(extensions);
        }
        let line = RequestLine {
            method: request.method().clone(),
            uri: request.uri().clone(),
        };
        let mut app = self.context.app.clone();
        ResponseFuture {
            answer: line.log_panic(|| app.call(request)),
            line,
            course,
            taking: asked.map(|asked| (asked, self.context.shutdown.clone())),
            was_taken: false,
        }
    }
}

/// What a request asks for.
struct RequestLine {
    method: Method,
    uri: Uri,
}

impl RequestLine {
    /// Logs a panic of the app's before it breaks off the connection. The query may hold secrets, and so may the panic's message.
    fn log_panic<T>(&self, run: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            tracing::error!(
                method = %self.method,
                path = self.uri.path(),
                "a handler, an extractor or a layer panicked before the response, which breaks off"
            );
            resume_unwind(panic)
        })
    }
}

/// The app's answer to a request.
pub(crate) struct ResponseFuture {
    answer: RouteFuture<Infallible>,
    line: RequestLine,
    /// Of a request that has a body.
    course: Option<Course>,
    /// Where it is taken over if it is an event stream.
    taking: Option<(Candidate, Shutdown)>,
    was_taken: bool,
}

impl Future for ResponseFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.was_taken {
            return Poll::Pending;
        }
        let answer = ready!(this.line.log_panic(|| Pin::new(&mut this.answer).poll(cx)));
        let has_arrived = this.course.as_ref().is_none_or(|course| {
            course.set_answered();
            course.has_arrived()
        });
        if let Some((asked, shutdown)) = this.taking.take()
            && has_arrived
        {
            let Ok(response) = answer;
            return match asked.take(response, &shutdown) {
                Some(response) => Poll::Ready(Ok(response)),
                // hyper is taken apart at the end of its turn, in which it may ask once more.
                None => {
                    this.was_taken = true;
                    Poll::Pending
                }
            };
        }
        Poll::Ready(answer)
    }
}
