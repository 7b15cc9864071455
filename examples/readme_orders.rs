//! Streams the steps of an order with this framework.

use axum::{Router, extract::Path, http::StatusCode};
use sse_runtime::{Event, LastEventId, SseRouterExt, Stream, sse_endpoint};

mod orders;
use orders::{Broken, Step, find};

/// The steps of an order, starting after the last one that the client received.
#[sse_endpoint("/orders/{id}/steps", retry = "3s")]
async fn steps(
    Path(id): Path<u64>,
    last: LastEventId<u64>,
) -> Result<impl Stream<Item = Result<Step, Broken>>, StatusCode> {
    let order = find(id).await.ok_or(StatusCode::NOT_FOUND)?;
    let seen = last.ok().unwrap_or(0);
    for number in seen + 1..=order.steps {
        let step = order.step(number).await?;
        yield_!(Event::json(&step).id(number));
    }
    yield_!(Event::done());
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    sse_runtime::serve("127.0.0.1:3000", Router::new().sse(steps)).await
}
