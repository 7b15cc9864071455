//! [`SseRoute`], the route returned by an endpoint's function, and [`SseRouterExt`], which adds it
//! to a router.

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
use sealed::Sealed;

/// An endpoint's route, returned by the function that [`sse_endpoint`](crate::sse_endpoint)
/// generates.
///
/// `H` is the inner function, which takes the extractors and returns the generator. Add the route
/// to a router with [`SseRouterExt::sse`], which also accepts the generated function itself.
#[derive(Clone, Debug)]
#[must_use = "a route does nothing unless it is added to a router"]
pub struct SseRoute<H> {
    handler: H,
    pub(crate) endpoint: Endpoint,
}

impl<H> SseRoute<H> {
    pub(crate) fn new(handler: H, endpoint: Endpoint) -> Self {
        Self { handler, endpoint }
    }

    /// Returns the path set by the attribute.
    pub fn path(&self) -> &'static str {
        self.endpoint.path
    }

    /// Returns the method, which is `GET` unless the attribute sets another one.
    pub fn method(&self) -> &Method {
        &self.endpoint.method
    }

    /// Returns the function's name.
    pub fn name(&self) -> &'static str {
        self.endpoint.name
    }

    /// Returns the function's doc comment with its lines joined by LF, or an empty string if the
    /// function has no doc comment.
    pub fn docs(&self) -> &'static str {
        self.endpoint.docs
    }

    /// Returns the name of the stream's item type, as given by [`std::any::type_name`].
    pub fn item_type(&self) -> &'static str {
        (self.endpoint.item)()
    }

    /// Applies a layer to this endpoint only, as [`Handler::layer`] does for a handler. The layer
    /// does not apply to the path's `405` response or to other endpoints on the same path.
    ///
    /// ```
    /// # use axum::Router;
    /// # use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
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

    /// Converts the endpoint into a [`MethodRouter`], which you can mount on a different path.
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

/// An endpoint's function wrapped in a layer. See [`SseRoute::layer`].
#[derive(Clone, Debug)]
pub struct Layered<H, L> {
    handler: H,
    layer: L,
}

/// Types accepted by [`SseRouterExt::sse`]: an endpoint's function and the [`SseRoute`] it returns.
///
/// `K` distinguishes these types and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event endpoint",
    label = "not an event endpoint",
    note = "`.sse(…)` takes the name of an `async fn` with `#[sse_endpoint(\"/path\")]`; use `.route(…)` for a plain handler"
)]
pub trait IntoSseRoute<H, K> {
    /// Converts `self` into the route.
    fn into_sse_route(self) -> SseRoute<H>;
}

/// The [`IntoSseRoute`] kind for an endpoint's function.
#[derive(Debug)]
pub enum ByName {}

/// The [`IntoSseRoute`] kind for an [`SseRoute`].
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

/// An [`SseRoute`] that can be mounted on a router with state `S`, because all of the endpoint's
/// arguments are extractors for `S`.
///
/// `M` is a marker type that keeps the implementations for different argument lists from
/// overlapping. It is inferred. The implementations of this trait are deliberately not marked
/// `do_not_recommend`, so that compiler errors also mention axum's traits and show why an argument
/// is not an extractor.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added to a router",
    label = "not every argument of this endpoint is an extractor",
    note = "each argument must be an axum extractor, and only the last one can read the body"
)]
pub trait Mount<S, M>: Sealed {
    /// Returns the method router for the endpoint's path.
    #[doc(hidden)]
    fn mount(self) -> MethodRouter<S>;
}

/// The [`Mount`] kind for an endpoint with a layer.
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
        // `MethodRouter::layer` would also apply to the path's `405` response, which is shared with
        // other endpoints on the path.
        routes.route_layer(layer)
    }
}

/// Adds event endpoints to a [`Router`].
pub trait SseRouterExt<S>: Sealed {
    /// Adds an endpoint to the router, using the path and method from its attribute.
    ///
    /// This method accepts either the function itself, as in `router.sse(clock)`, or the route it
    /// returns, as in `router.sse(clock().layer(auth))`.
    ///
    /// # Panics
    ///
    /// Panics, as [`Router::route`] does, if the router already has a handler for this method on
    /// this path. If that handler is an event endpoint, the panic message names both endpoints.
    /// axum's own panic message is printed first.
    #[track_caller]
    fn sse<R, H, K, M>(self, endpoint: R) -> Self
    where
        R: IntoSseRoute<H, K>,
        SseRoute<H>: Mount<S, M>;
}

mod sealed {
    pub trait Sealed {}
}

impl<S> Sealed for Router<S> {}

impl<H> Sealed for SseRoute<H> {}

impl<S> SseRouterExt<S> for Router<S>
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
struct EndpointHandler<H> {
    handler: H,
    mounted: Arc<MountedEndpoint>,
}

impl<H> SseRoute<H> {
    fn into_routes<S, T>(self) -> MethodRouter<S>
    where
        EndpointHandler<H>: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = method_filter(&self.endpoint.method);
        let mounted = Arc::new(MountedEndpoint::new(self.endpoint));
        let handler = self.handler;
        on(filter, EndpointHandler { handler, mounted })
    }
}

/// Returns axum's filter for a method. The attribute rejects every method not listed here.
fn method_filter(method: &Method) -> MethodFilter {
    match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// The last element of the tuple that distinguishes argument lists. If the function has no
/// arguments, it is the only element.
#[derive(Debug)]
pub struct NoArguments;

// First, take the data that the stream needs from the request. Then extract the arguments as axum's
// own handlers do, in the same order and with the same rejections.
macro_rules! impl_arity {
    ([$($ty:ident),*] $(, $last:ident : $m:ident)?) => {
        #[allow(non_snake_case, unused_mut, unused_variables)]
        #[diagnostic::do_not_recommend]
        impl<S, $($ty,)* $($last, $m,)?> Handler<($($m,)? $($ty,)* $($last,)? NoArguments,), S>
            for EndpointHandler<fn($($ty,)* $($last,)?) -> Generator>
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
                                return context.reject(rejection.into_response());
                            }
                        };
                    )*
                    let request = Request::from_parts(parts, body);
                    $(
                        let $last = match $last::from_request(request, &state).await {
                            Ok(argument) => argument,
                            Err(rejection) => {
                                context.guard.end(CloseReason::Rejected);
                                return context.reject(rejection.into_response());
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
