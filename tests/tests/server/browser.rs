//! A browser's built-in `EventSource`, in headless Chromium.

use std::{future::pending, process::Stdio, time::Duration};

use axum::{
    Router,
    response::Html,
    routing::{get, post},
};
use sse_runtime::{SseRouterExt as _, Stream, StreamLimit, sse_endpoint};
use support::{Client, serve};
use tokio::{process::Command, sync::mpsc, time::timeout};

#[sse_endpoint("/events")]
async fn events() -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

/// A page that reports the events of its `EventSource` to the server.
const PAGE: &str = "<!doctype html><script>
    const tell = what => fetch('/told', { method: 'POST', body: what });
    const source = new EventSource('/events');
    source.onerror = () => tell(source.readyState === EventSource.CLOSED ? 'closed' : 'refused');
    source.onmessage = () => tell('inside');
</script>";

/// Longer than the `retry` of a rejected client.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn browser_gets_in_once_a_permit_is_free() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = Router::new()
        .sse(events)
        .layer(StreamLimit::new(1))
        .route("/", get(async || Html(PAGE)))
        .route(
            "/told",
            post(async move |what: String| drop(tell.send(what))),
        );
    let addr = serve(app).await;
    let mut inside = Client::get(addr, "/events").await;
    inside.head().await;
    inside.expect_chunk().await;

    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // Keeps Chromium running.
        .arg("--remote-debugging-port=0")
        .arg(format!("http://{addr}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`chromium`, which `cargo xtask test` installs");
    let mut next = async || {
        let told = timeout(PATIENCE, told.recv()).await;
        told.expect("the browser to tell something").unwrap()
    };
    assert_eq!(next().await, "refused");
    drop(inside);
    // The `EventSource` reconnects automatically.
    let mut last = next().await;
    while last == "refused" {
        last = next().await;
    }
    assert_eq!(last, "inside");
    browser.kill().await.unwrap();
}
