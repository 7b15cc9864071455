//! A server that runs in a separate process so that tests can send signals to it.
//!
//! Usage:
//!
//! - `server DRAIN_DELAY_MS DRAIN_MS` runs `sse_runtime::Server`.
//! - `server plain DRAIN_MS` runs `axum::serve` with the `Shutdown` layer, which handles the
//!   signals.
//! - `server no-signals DRAIN_MS` runs `sse_runtime::Server` without handling signals.
//! - `server grace TOTAL_MS` runs `sse_runtime::Server` with this grace time, and also prints the log.
#![allow(
    clippy::print_stdout,
    reason = "the test reads the address from stdout"
)]

use std::{env, future::pending, time::Duration};

use axum::{Router, extract::Path, routing::get};
use sse_runtime::{Connection, Shutdown, Stream, sse_endpoint};

use support::{SseRouterExt as _, server_of};

/// Yields one event and then waits forever.
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

/// Registers a close hook that prints the close reason after a delay.
#[sse_endpoint("/hooked")]
async fn hooked(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(|reason| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("{reason}");
    });
    yield_!(1);
    pending::<()>().await;
}

/// Like `hooked`, but with `on_shutdown = "finish"`, even though the stream never finishes.
#[sse_endpoint("/hooked-finite", on_shutdown = "finish", allow(finish_without_end))]
async fn hooked_finite(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(|reason| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("{reason}");
    });
    yield_!(1);
    pending::<()>().await;
}

/// Registers a close hook that never finishes.
#[sse_endpoint("/hanging-hook")]
async fn hanging_hook(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(|_| pending());
    yield_!(1);
    pending::<()>().await;
}

/// Yields as fast as the client reads.
#[sse_endpoint("/flood")]
async fn flood() -> impl Stream<Item = String> {
    loop {
        yield_!("a".repeat(16 * 1024));
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let is_plain = env::args().nth(1).as_deref() == Some("plain");
    let has_signals = env::args().nth(1).as_deref() != Some("no-signals");
    let has_grace = env::args().nth(1).as_deref() == Some("grace");
    let mut millis = env::args()
        .skip(1)
        .map(|argument| argument.replace("plain", "0"))
        .map(|argument| argument.replace("no-signals", "0"))
        .map(|argument| argument.replace("grace", "0"))
        .map(|argument| argument.parse().map(Duration::from_millis));
    let (Some(Ok(delay)), Some(Ok(drain))) = (millis.next(), millis.next()) else {
        return Err(std::io::Error::other(
            "usage: server DRAIN_DELAY_MS|plain|no-signals|grace DRAIN_MS",
        ));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // Respond with the process ID. A test that runs a proxy in front of two of these servers uses
    // the ID to determine which server has responded.
    let id = get(async || format!("\n{}\n.", std::process::id()));
    let app = Router::new()
        .sse(quiet)
        .sse(finite)
        .sse(hooked)
        .sse(hooked_finite)
        .sse(hanging_hook)
        .sse(flood)
        .route("/id", id);
    if is_plain {
        let shutdown = Shutdown::within(drain);
        let app = app.layer(shutdown.clone());
        let stop = shutdown.clone();
        let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
            stop.on_signal()
                .await
                .expect("failed to register the signal handlers");
        });
        tokio::select! {
            served = serving => served?,
            () = shutdown.over() => {}
        }
        shutdown.closed().await;
        return Ok(());
    }
    let server = server_of(app)
        .readiness_path("/readyz")
        .signals(has_signals);
    if has_grace {
        tracing_subscriber::fmt().with_ansi(false).init();
        return server.grace(drain).serve(listener).await;
    }
    server.drain_delay(delay).drain(drain).serve(listener).await
}
