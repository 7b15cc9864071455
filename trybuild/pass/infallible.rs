//! A stream that cannot fail, with the error type `Infallible`, which is often used with axum's `Sse`.
#![deny(warnings)]

use std::convert::Infallible;

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, Infallible>> {
    yield_!(1);
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
