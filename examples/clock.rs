//! Streams the time once a second.
//!
//! ```sh
//! cargo run --example clock          # a page at http://127.0.0.1:3000
//! curl -N http://127.0.0.1:3000/clock
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::time::{Duration, SystemTime};

use axum::{Router, response::Html, routing::get};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Time {
    time: String,
}

/// Streams the time once a second.
#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = Time> {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    // The loop needs no exit. When the client disconnects, the generator is dropped at its current
    // `.await`.
    loop {
        interval.tick().await;
        yield_!(Time {
            time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
        });
    }
}

fn app() -> Router {
    Router::new()
        .route("/", get(Html(include_str!("clock.html"))))
        .sse(clock)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    sse_runtime::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use sse_runtime::testing::Client;
    use tokio::time::Instant;

    use super::*;

    // With tokio's clock paused, a second elapses as soon as every task is waiting.
    #[tokio::test(start_paused = true)]
    async fn clock_sends_the_time_immediately_and_every_second() {
        let started = Instant::now();
        let mut events = Client::new(app()).get("/clock").await.events();
        for second in 0..5 {
            let event = events.expect_event().await;
            assert_eq!(started.elapsed(), Duration::from_secs(second));
            assert_eq!(event.event, "message");

            let data: serde_json::Value = event.json();
            let time = humantime::parse_rfc3339(data["time"].as_str().unwrap()).unwrap();
            assert!(time <= SystemTime::now());
            assert!(time.elapsed().unwrap() < Duration::from_secs(60));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clock_stops_when_the_client_disconnects() {
        let mut events = Client::new(app()).get("/clock").await.events();
        events.expect_event().await;
        // Waits until the generator has been dropped.
        events.disconnect().await;
    }

    #[tokio::test]
    async fn page_reads_the_endpoint() {
        let response = Client::new(app()).get("/").await;
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let subscribes = format!(r#"new EventSource("{}")"#, clock().path());
        assert!(response.text().await.contains(&subscribes));
    }
}
