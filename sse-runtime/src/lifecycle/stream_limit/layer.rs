//! [`StreamLimitService`]: the service that adds a limit to the requests passing through it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::StreamLimit;

/// The limits that a request has passed through, outermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits(pub(super) Vec<StreamLimit>);

/// Applies the limit to streams whose requests pass through this layer.
impl<S> Layer<S> for StreamLimit {
    type Service = StreamLimitService<S>;

    fn layer(&self, inner: S) -> StreamLimitService<S> {
        StreamLimitService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of the [`StreamLimit`] layer.
#[derive(Clone, Debug)]
pub struct StreamLimitService<S> {
    inner: S,
    layer: StreamLimit,
}

impl<S, B> Service<Request<B>> for StreamLimitService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.add_to(request.extensions_mut());
        self.inner.call(request)
    }
}

impl StreamLimit {
    /// Adds this limit to a request's extensions so that the request's stream can find it.
    pub(crate) fn add_to(&self, extensions: &mut Extensions) {
        let Limits(limits) = extensions.get_or_insert_default();
        // A request that passes through two layers with the same limit acquires only one permit.
        if !limits
            .iter()
            .any(|limit| Arc::ptr_eq(&limit.permits, &self.permits))
        {
            limits.push(self.clone());
        }
    }
}
