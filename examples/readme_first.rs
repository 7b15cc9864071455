//! A first endpoint, which streams the time once a second.

use std::time::{Duration, SystemTime};

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Time {
    time: String,
}

#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = Time> {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        let time = humantime::format_rfc3339(SystemTime::now()).to_string();
        // `yield` is a reserved keyword in Rust, so the macro is called `yield_!`. The attribute
        // brings it into scope.
        yield_!(Time { time });
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    sse_runtime::serve("127.0.0.1:3000", Router::new().sse(clock)).await
}
