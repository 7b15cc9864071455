#![deny(deprecated)]
use axum::Extension;
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::broadcast::Sender;

#[sse_endpoint("/news")]
async fn news(Extension(news): Extension<Sender<u32>>) -> impl Stream<Item = u32> {
    while let Ok(new) = news.subscribe().blocking_recv() {
        yield_!(new);
    }
}

fn main() {}
