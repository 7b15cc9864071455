//! [`Streams`]: runs each stream of an HTTP/2 connection in its own task, which resets the stream
//! if the client stops reading.

mod bounded_body;
mod stall_timeout;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{http::Request, response::Response};
use hyper::body::Incoming;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::{
    lifecycle::flow_control::{FlowControl, OfConnection},
    server::service::{ResponseFuture, Service},
};
use bounded_body::BoundedBody;
use stall_timeout::{StallTimeout, attach_flow};

/// The HTTP/2 preface, which every HTTP/2 client sends first and no HTTP/1 client ever sends.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Maximum number of open streams on one HTTP/2 connection.
///
/// A browser shares one connection among all its tabs, so the limit has to allow for many tabs. A
/// proxy that needs more streams opens another connection.
pub(crate) const STREAMS: u32 = 250;

/// Maximum size, in bytes, of a request head. HTTP/1 has the same limit.
pub(crate) const HEAD: u32 = 64 * 1024;

/// Maximum size, in bytes, of a stream's send buffer, which fills up if the client stops reading.
pub(crate) const STREAM_BUFFER: usize = 64 * 1024;

/// Spawns one task per stream of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    send_timeout: Duration,
    /// Tracks the streams' tasks. Dropping a stream takes time, so its task may outlive the
    /// connection's task. The server waits for these tasks and therefore also for the streams'
    /// close hooks.
    closing: TaskTracker,
    counts: Arc<StreamCounts>,
}

/// Counts the streams on one connection.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    /// The number of open streams.
    open: AtomicUsize,
    /// The number of streams opened so far.
    opened: AtomicUsize,
}

impl StreamCounts {
    fn enter(self: &Arc<Self>) -> OpenStream {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    /// Checks the counters once per `limit`. Returns once no stream is open and none has been
    /// opened since the previous check.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let before = self.opened.load(Ordering::Relaxed);
            sleep(limit).await;
            if self.open.load(Ordering::Relaxed) == 0
                && self.opened.load(Ordering::Relaxed) == before
            {
                return;
            }
        }
    }
}

/// Counts a stream as open until dropped.
struct OpenStream(Arc<StreamCounts>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(send_timeout: Duration, closing: TaskTracker) -> Self {
        Self {
            send_timeout,
            closing,
            counts: Arc::default(),
        }
    }

    pub(crate) fn counts(&self) -> &Arc<StreamCounts> {
        &self.counts
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let driven = StallTimeout::new(stream, self.send_timeout);
        let open = self.counts.enter();
        self.closing.spawn(async move {
            let _open = open;
            driven.await;
        });
    }
}

/// Passes the requests of an HTTP/2 connection to the app.
#[derive(Debug)]
pub(crate) struct Http2Service {
    service: Service,
    connection: Arc<OfConnection>,
}

impl Http2Service {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            connection: Arc::default(),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Http2Service {
    type Response = Response<BoundedBody>;
    type Error = Infallible;
    type Future = Http2ResponseFuture;

    fn call(&self, mut request: Request<Incoming>) -> Http2ResponseFuture {
        let flow = FlowControl::new(&self.connection);
        request.extensions_mut().insert(flow.clone());
        let response = self.service.call(request);
        Http2ResponseFuture { response, flow }
    }
}

/// The response future for an HTTP/2 request.
pub(crate) struct Http2ResponseFuture {
    response: ResponseFuture,
    flow: FlowControl,
}

impl Future for Http2ResponseFuture {
    type Output = Result<Response<BoundedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(response) = ready!(Pin::new(&mut this.response).poll(cx));
        // hyper always polls this future in the stream's task, even if a layer handles the request
        // in a different one.
        attach_flow(&this.flow);
        let flow = this.flow.clone();
        Poll::Ready(Ok(response.map(|body| BoundedBody::new(body, flow))))
    }
}
