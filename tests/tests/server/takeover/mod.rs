//! Streams that bypass hyper and are written directly to the socket, mixed with other requests on the
//! same connection.

mod disconnect;
mod eligibility;
mod end;
mod head;
mod pipelining;
mod polling;
mod upgrade;

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper_util::rt::TokioIo;
use sse_runtime::{Server, Stream, Text, sse_endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use support::{Client, SseRouterExt as _, serve_as};

#[sse_endpoint("/two")]
async fn two() -> impl Stream<Item = u32> {
    yield_!(1);
    tokio::task::yield_now().await;
    yield_!(2);
}

/// Yields the request body.
#[sse_endpoint("/posted", method = POST)]
async fn posted(body: String) -> impl Stream<Item = Text<String>> {
    yield_!(Text(body));
}

/// Does not read the request body.
#[sse_endpoint("/unread", method = POST)]
async fn unread() -> impl Stream<Item = u32> {
    yield_!(1);
}

async fn page(Path(bytes): Path<usize>) -> String {
    "x".repeat(bytes)
}

/// Upgrades the connection and echoes five bytes.
async fn upgrade(mut request: Request) -> Response {
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut upgraded = TokioIo::new(upgrading.await.unwrap());
        let mut said = [0; 5];
        upgraded.read_exact(&mut said).await.unwrap();
        upgraded.write_all(&said).await.unwrap();
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn app() -> Router {
    Router::new()
        .sse(two)
        .sse(posted)
        .sse(unread)
        .route("/page/{bytes}", get(page))
        .route("/upgrade", get(upgrade))
}

/// Serves `app` with takeover.
async fn serve(app: Router) -> SocketAddr {
    serve_as(Server::new(app).bypass_hyper(true)).await
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

/// Asserts that the next response on the connection comes from [`page`].
async fn expect_page(client: &mut Client, bytes: usize) {
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("content-length"), Some(bytes.to_string().as_str()));
    assert!(client.take(bytes).await.iter().all(|byte| *byte == b'x'));
}

/// Asserts that the next response on the connection is the stream of [`two`].
async fn expect_two(client: &mut Client) {
    let head = client.head().await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    assert_eq!(client.chunk().await, Ok(None));
}
