//! A first endpoint: the time, once a second.

use std::time::{Duration, SystemTime};

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Time {
    time: String,
}

/// The time, once a second.
#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = Time> {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        yield_!(Time {
            time: humantime::format_rfc3339(SystemTime::now()).to_string()
        });
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().sse(clock);
    sse_runtime::serve("127.0.0.1:3000", app).await
}
