//! Every key of the attribute.
#![deny(warnings)]

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint(
    "/all",
    method = PATCH,
    keep_alive = "1m 30s",
    keep_alive_event = "ping",
    retry = "0s",
    flush = "each",
    max_duration = "1h",
    end = "reconnect",
    error_event = "oops",
    events = "all",
    allow(unread_capture, few_captures),
    crate = ::sse_runtime,
)]
async fn all() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/v{version}/{{literal}}/{*rest}", method = DELETE, keep_alive = "off")]
async fn captures(path: axum::extract::Path<(u8, String)>) -> impl Stream<Item = u32> {
    yield_!(u32::from(path.0.0));
}

fn main() {
    let _: Router = Router::new().sse(all);
    let _ = captures;
}
