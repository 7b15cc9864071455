//! A server in a separate process, for tests that send signals to it. Usage: `server DRAIN_DELAY_MS
//! DRAIN_MS`, `server plain DRAIN_MS` for `axum::serve` with the `Shutdown` layer and its signal,
//! or `server no-signals DRAIN_MS` for a server that does not handle signals.
#![allow(
    clippy::print_stdout,
    reason = "the test reads the address from stdout"
)]

use std::{env, future::pending, time::Duration};

use axum::{Router, extract::Path, routing::get};
use sse_runtime::{Connection, Shutdown, SseRouterExt as _, Stream, sse_endpoint};

use support::server_of;

/// Yields one event and then stays quiet, like most streams most of the time.
#[sse_endpoint("/quiet")]
async fn quiet() -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

/// Finishes after the given time.
#[sse_endpoint("/finite/{milliseconds}", on_shutdown = "finish")]
async fn finite(Path(milliseconds): Path<u64>) -> impl Stream<Item = &'static str> {
    yield_!("first");
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    yield_!("last");
}

/// Prints a line at the end of a slow close hook.
#[sse_endpoint("/hooked")]
async fn hooked(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(|reason| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("{reason}");
    });
    yield_!(1);
    pending::<()>().await;
}

/// Like `hooked`, but the stream is allowed to finish during a shutdown and never does.
#[sse_endpoint("/hooked-finite", on_shutdown = "finish", allow(finish_without_end))]
async fn hooked_finite(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(|reason| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("{reason}");
    });
    yield_!(1);
    pending::<()>().await;
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let is_plain = env::args().nth(1).as_deref() == Some("plain");
    let has_signals = env::args().nth(1).as_deref() != Some("no-signals");
    let mut millis = env::args()
        .skip(1)
        .map(|argument| argument.replace("plain", "0"))
        .map(|argument| argument.replace("no-signals", "0"))
        .map(|argument| argument.parse().map(Duration::from_millis));
    let (Some(Ok(delay)), Some(Ok(drain))) = (millis.next(), millis.next()) else {
        return Err(std::io::Error::other(
            "usage: server DRAIN_DELAY_MS|plain|no-signals DRAIN_MS",
        ));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // The ID of the process that responds, for tests that run two of these servers with a proxy.
    let id = get(async || format!("\n{}\n.", std::process::id()));
    let app = Router::new()
        .sse(quiet)
        .sse(finite)
        .sse(hooked)
        .sse(hooked_finite)
        .route("/id", id);
    if is_plain {
        let shutdown = Shutdown::within(drain);
        let app = app.layer(shutdown.clone());
        let stop = shutdown.clone();
        let serving = axum::serve(listener, app)
            .with_graceful_shutdown(async move { stop.on_signal().await.unwrap_or_default() });
        tokio::select! {
            served = serving => served?,
            () = shutdown.over() => {}
        }
        shutdown.closed().await;
        return Ok(());
    }
    server_of(app)
        .readiness_path("/readyz")
        .drain_delay(delay)
        .drain(drain)
        .signals(has_signals)
        .serve(listener)
        .await
}
