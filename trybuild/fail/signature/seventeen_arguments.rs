use axum::http::Method as M;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(
    _: M, _: M, _: M, _: M, _: M, _: M, _: M, _: M, _: M,
    _: M, _: M, _: M, _: M, _: M, _: M, _: M, _: M,
) -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
