//! The time, once a second: `cargo run --example clock`.

use std::time::{Duration, SystemTime};

use axum::{Router, response::Html, routing::get};
use sse_runtime::{RouterExt, Stream, sse_endpoint};

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
            time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
        });
    }
}

fn app() -> Router {
    Router::new()
        .route("/", get(Html("<h1>clock</h1>")))
        .sse(clock)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    sse_runtime::serve("127.0.0.1:3000", app()).await
}
