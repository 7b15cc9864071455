//! The properties of an endpoint, and the ways to add it to a router.
#![deny(warnings)]

use axum::{
    Router,
    extract::Request,
    http::Method,
    middleware::{Next, from_fn},
    response::Response,
};
use sse_runtime::{SseRouterExt, SseRoute, Stream, sse_endpoint};

/// Ticks.
#[sse_endpoint("/ticks", method = POST)]
async fn ticks() -> impl Stream<Item = u32> + Send {
    yield_!(1);
}

async fn pass(request: Request, next: Next) -> Response {
    next.run(request).await
}

fn handler<H>(route: SseRoute<H>) -> SseRoute<H> {
    route
}

fn main() {
    // The endpoint is a function, so a local variable can shadow its name.
    let ticks_route = ticks();
    assert_eq!(ticks_route.path(), "/ticks");
    assert_eq!(ticks_route.method(), Method::POST);
    assert_eq!(ticks_route.name(), "ticks");
    assert_eq!(ticks_route.docs(), "Ticks.");
    assert_eq!(ticks_route.item_type(), "u32");
    let _: Router = Router::new().sse(ticks);
    let _: Router = Router::new().sse(ticks());
    let _: Router = Router::new().sse(ticks().layer(from_fn(pass)));
    let _: Router = Router::new().sse(ticks().layer(from_fn(pass)).layer(from_fn(pass)));
    let _: Router = Router::new().route("/v2", ticks().into_method_router());
    let _: Router = Router::new().nest("/api", Router::new().sse(handler(ticks_route)));
    let ticks = 1;
    assert_eq!(ticks, 1);
}
