//! A generator does not outlive its client. When the client disconnects, the generator is dropped
//! at its current `.await`, along with everything that the generator holds.

mod generator;
mod request;

use std::future::{pending, ready};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
};
use sse_runtime::{Stream, sse_endpoint};

use support::{Generators, SseRouterExt as _};

#[sse_endpoint("/get")]
async fn get_and_wait(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[sse_endpoint("/bytes", method = POST)]
async fn post_bytes(
    State(generators): State<Generators>,
    body: Bytes,
) -> impl Stream<Item = usize> {
    let _running = generators.enter();
    yield_!(body.len());
    pending::<()>().await;
}

#[sse_endpoint("/json", method = POST)]
async fn post_json(
    State(generators): State<Generators>,
    Json(body): Json<Vec<u32>>,
) -> impl Stream<Item = Vec<u32>> {
    let _running = generators.enter();
    yield_!(body);
    pending::<()>().await;
}

/// Does not read the request body.
#[sse_endpoint("/unread", method = POST)]
async fn post_unread(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Drops the unread body and then waits before starting the response.
#[sse_endpoint("/body-dropped", method = POST)]
async fn post_body_dropped(
    State(generators): State<Generators>,
    body: Body,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    tokio::task::yield_now().await;
    drop(body);
    pending::<()>().await;
    yield_!(1);
}

const BURST: usize = 300;

/// Finishes without reading the request body.
#[sse_endpoint("/burst", method = POST)]
async fn post_burst() -> impl Stream<Item = String> {
    for _ in 0..BURST {
        yield_!("x".repeat(1000));
    }
}

/// Waits before the response starts.
#[sse_endpoint("/before", method = POST)]
async fn post_before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

#[sse_endpoint("/get-before")]
async fn get_before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// Never waits and yields nothing.
#[sse_endpoint("/hot")]
async fn hot(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        ready(()).await;
        if generators.count().alive == 0 {
            yield_!(1);
        }
    }
}

/// Returns a router with these endpoints, along with a counter of their generators.
fn app() -> (Router, Generators) {
    let generators = Generators::new();
    let app = Router::new()
        .sse(get_and_wait)
        .sse(post_bytes)
        .sse(post_json)
        .sse(post_unread)
        .sse(post_body_dropped)
        .sse(post_burst)
        .sse(post_before)
        .sse(get_before)
        .sse(hot)
        .with_state(generators.clone());
    (app, generators)
}
