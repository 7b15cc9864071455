//! [`SseRoute`]: what an endpoint's function returns, and how it gets onto a router.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use axum::{
    Router,
    extract::{FromRequest, FromRequestParts, Request},
    handler::Handler,
    http::Method,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, Route, on},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    config::Endpoint,
    endpoint::route_conflict::RouteConflict,
    generator::generator::Generator,
    lifecycle::close_reason::CloseReason,
    stream::{
        drain::BodyDrain, mounted::MountedEndpoint, request_context::RequestContext,
        respond::respond,
    },
};

/// The route of an endpoint: what the function that [`sse_endpoint`](crate::sse_endpoint) leaves behind returns.
///
/// `H` is the function inside, from its extractors to its generator. Put it on a router with [`RouterExt::sse`], which
/// takes the function itself too.
#[derive(Clone, Debug)]
#[must_use = "a route does nothing until it is on a router"]
pub struct SseRoute<H> {
    handler: H,
    endpoint: Endpoint,
}

impl<H> SseRoute<H> {
    pub(crate) fn new(handler: H, endpoint: Endpoint) -> Self {
        Self { handler, endpoint }
    }

    /// The path, as the attribute has it.
    pub fn path(&self) -> &'static str {
        self.endpoint.path
    }

    /// The method, `GET` unless the attribute says otherwise.
    pub fn method(&self) -> &Method {
        &self.endpoint.method
    }

    /// The name of the function.
    pub fn name(&self) -> &'static str {
        self.endpoint.name
    }

    /// The doc comment of the function, its lines joined by LF; empty where there is none.
    pub fn docs(&self) -> &'static str {
        self.endpoint.docs
    }

    /// The name of the type that the stream carries, as [`std::any::type_name`] has it.
    pub fn item_type(&self) -> &'static str {
        (self.endpoint.item)()
    }

    /// Wraps this endpoint alone into a layer, as [`Handler::layer`] does: the path's 405, and other endpoints on the
    /// same path, do not go through it.
    ///
    /// ```
    /// # use axum::Router;
    /// # use sse_runtime::{RouterExt, Stream, sse_endpoint};
    /// # #[sse_endpoint("/clock")]
    /// # async fn clock() -> impl Stream<Item = u8> { yield_!(1) }
    /// use axum::middleware::{Next, from_fn};
    ///
    /// let auth = from_fn(|request: axum::extract::Request, next: Next| next.run(request));
    /// let app: Router = Router::new().sse(clock().layer(auth));
    /// ```
    pub fn layer<L>(self, layer: L) -> SseRoute<Layered<H, L>> {
        SseRoute {
            handler: Layered {
                handler: self.handler,
                layer,
            },
            endpoint: self.endpoint,
        }
    }

    /// The endpoint as a [`MethodRouter`], to be put on another path than its own.
    ///
    /// ```
    /// # use axum::Router;
    /// # use sse_runtime::{Stream, sse_endpoint};
    /// # #[sse_endpoint("/clock")]
    /// # async fn clock() -> impl Stream<Item = u8> { yield_!(1) }
    /// let app: Router = Router::new().route("/v2/clock", clock().into_method_router());
    /// ```
    pub fn into_method_router<S, M>(self) -> MethodRouter<S>
    where
        Self: Mount<S, M>,
    {
        self.mount()
    }
}

/// An endpoint's function inside of a layer, see [`SseRoute::layer`].
#[derive(Clone, Debug)]
pub struct Layered<H, L> {
    handler: H,
    layer: L,
}

/// What [`RouterExt::sse`] takes: the function of an endpoint, or the [`SseRoute`] that it returns.
///
/// `K` tells the two apart, and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event endpoint",
    label = "not an event endpoint",
    note = "`.sse(…)` takes an `async fn` under `#[sse_endpoint(\"/path\")]`, by its name; a plain handler goes to `.route(…)`"
)]
pub trait IntoSseRoute<H, K> {
    /// The route.
    fn into_sse_route(self) -> SseRoute<H>;
}

/// The kind of [`IntoSseRoute`] that an endpoint's function is.
#[derive(Debug)]
pub enum ByName {}

/// The kind of [`IntoSseRoute`] that a route is.
#[derive(Debug)]
pub enum Itself {}

#[diagnostic::do_not_recommend]
impl<F, H> IntoSseRoute<H, ByName> for F
where
    F: FnOnce() -> SseRoute<H>,
{
    fn into_sse_route(self) -> SseRoute<H> {
        self()
    }
}

#[diagnostic::do_not_recommend]
impl<H> IntoSseRoute<H, Itself> for SseRoute<H> {
    fn into_sse_route(self) -> Self {
        self
    }
}

/// An [`SseRoute`] that a router with the state `S` can take: its arguments are extractors.
///
/// `M` tells the arguments apart, and is inferred. What is wrong with an argument is for axum to say, so the
/// implementations are not hidden from messages.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be put on a router",
    label = "not every argument of this endpoint is an extractor",
    note = "each argument is an axum extractor, and only the last may read the body"
)]
pub trait Mount<S, M> {
    /// What answers at its path.
    #[doc(hidden)]
    fn mount(self) -> MethodRouter<S>;
}

/// The kind of [`Mount`] that an endpoint in a layer is.
#[derive(Debug)]
pub struct InLayer<M>(M);

impl<H, L, S, M> Mount<S, InLayer<M>> for SseRoute<Layered<H, L>>
where
    SseRoute<H>: Mount<S, M>,
    S: Clone + Send + Sync + 'static,
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn mount(self) -> MethodRouter<S> {
        let Layered { handler, layer } = self.handler;
        let routes = SseRoute::new(handler, self.endpoint).mount();
        // Not `layer`, which would stand before the 405 of the path and of what else is mounted there.
        routes.route_layer(layer)
    }
}

/// Puts event endpoints on a [`Router`].
pub trait RouterExt<S> {
    /// Adds an endpoint at the path and the method of its attribute.
    ///
    /// It takes the function by its name, `router.sse(clock)`, or the route that it returns,
    /// `router.sse(clock().layer(auth))`.
    ///
    /// # Panics
    ///
    /// Where the router already answers this method on this path, as [`Router::route`] does. The message names both
    /// endpoints, if what is there is one; axum's own message is printed before it.
    #[track_caller]
    fn sse<R, H, K, M>(self, endpoint: R) -> Self
    where
        R: IntoSseRoute<H, K>,
        SseRoute<H>: Mount<S, M>;
}

impl<S> RouterExt<S> for Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    fn sse<R, H, K, M>(self, endpoint: R) -> Self
    where
        R: IntoSseRoute<H, K>,
        SseRoute<H>: Mount<S, M>,
    {
        let route = endpoint.into_sse_route();
        let conflict = RouteConflict::new(&route.endpoint);
        conflict.mount(self, route.mount())
    }
}

/// An endpoint's function as a handler.
#[derive(Clone, Debug)]
struct Mounted<H> {
    handler: H,
    mounted: Arc<MountedEndpoint>,
}

impl<H> SseRoute<H> {
    fn into_routes<S, T>(self) -> MethodRouter<S>
    where
        Mounted<H>: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = method_filter(&self.endpoint.method);
        let mounted = Arc::new(MountedEndpoint::new(self.endpoint));
        let handler = self.handler;
        on(filter, Mounted { handler, mounted })
    }
}

/// The attribute lets only methods through that axum has a filter for.
fn method_filter(method: &Method) -> MethodFilter {
    match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// Stands for the absent marker of a function without arguments.
#[derive(Debug)]
pub struct NoArguments;

// The arguments are extracted as axum's own handlers have it, by the extractors and with the rejections that they have
// there; around that stands what a stream needs of the request.
macro_rules! impl_arity {
    ([$($ty:ident),*] $(, $last:ident : $m:ident)?) => {
        #[allow(non_snake_case, unused_mut, unused_variables)]
        #[diagnostic::do_not_recommend]
        impl<S, $($ty,)* $($last, $m,)?> Handler<($($m,)? $($ty,)* $($last,)? NoArguments,), S>
            for Mounted<fn($($ty,)* $($last,)?) -> Generator>
        where
            S: Send + Sync + 'static,
            $($ty: FromRequestParts<S> + Send + 'static,)*
            $($last: FromRequest<S, $m> + Send + 'static,)?
        {
            type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

            fn call(self, request: Request, state: S) -> Self::Future {
                let (mut parts, body) = request.into_parts();
                let mut context = match RequestContext::new(&parts, &self.mounted) {
                    Ok(context) => context,
                    Err(answer) => return Box::pin(std::future::ready(*answer)),
                };
                parts.extensions.insert(context.guard.connection().clone());
                if let Some(done) = &context.done {
                    parts.extensions.insert(done.clone());
                }
                let (body, drain) = BodyDrain::watch(body);
                Box::pin(async move {
                    $(
                        let $ty = match $ty::from_request_parts(&mut parts, &state).await {
                            Ok(argument) => argument,
                            Err(rejection) => {
                                context.guard.end(CloseReason::Rejected);
                                return rejection.into_response();
                            }
                        };
                    )*
                    let request = Request::from_parts(parts, body);
                    $(
                        let $last = match $last::from_request(request, &state).await {
                            Ok(argument) => argument,
                            Err(rejection) => {
                                context.guard.end(CloseReason::Rejected);
                                return rejection.into_response();
                            }
                        };
                    )?
                    let generator = (self.handler)($($ty,)* $($last,)?);
                    respond(generator, context, drain, &self.mounted).await
                })
            }
        }

        #[allow(non_snake_case)]
        impl<S, $($ty,)* $($last, $m,)?> Mount<S, ($($m,)? $($ty,)* $($last,)? NoArguments,)>
            for SseRoute<fn($($ty,)* $($last,)?) -> Generator>
        where
            S: Clone + Send + Sync + 'static,
            $($ty: FromRequestParts<S> + Send + 'static,)*
            $($last: FromRequest<S, $m> + Send + 'static, $m: 'static,)?
        {
            fn mount(self) -> MethodRouter<S> {
                self.into_routes()
            }
        }
    };
}

impl_arity!([]);
impl_arity!([], L: M);
impl_arity!([A1], L: M);
impl_arity!([A1, A2], L: M);
impl_arity!([A1, A2, A3], L: M);
impl_arity!([A1, A2, A3, A4], L: M);
impl_arity!([A1, A2, A3, A4, A5], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14], L: M);
impl_arity!([A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15], L: M);
