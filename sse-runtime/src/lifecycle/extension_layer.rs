//! [`Told`]: the service of the layers that tell streams something, by their requests.

use std::task::{Context, Poll};

use axum::http::{Extensions, Request};
use tower_service::Service;

/// What a layer tells the streams of the requests that go through it.
pub trait Tell {
    #[doc(hidden)]
    fn tell(&self, extensions: &mut Extensions);
}

/// The service of the layers [`Shutdown`](crate::Shutdown) and [`StreamLimit`](crate::StreamLimit).
#[derive(Clone, Debug)]
pub struct Told<S, T> {
    inner: S,
    what: T,
}

impl<S, T> Told<S, T> {
    pub(crate) fn new(inner: S, what: T) -> Self {
        Self { inner, what }
    }
}

impl<S, T, B> Service<Request<B>> for Told<S, T>
where
    S: Service<Request<B>>,
    T: Tell,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.what.tell(request.extensions_mut());
        self.inner.call(request)
    }
}
