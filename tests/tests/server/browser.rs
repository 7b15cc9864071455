//! The `EventSource` built into a browser, tested with headless Chromium.

use std::{future::pending, process::Stdio, time::Duration};

use axum::{
    Router,
    response::Html,
    routing::{get, post},
};
use sse_runtime::{Stream, StreamLimit, sse_endpoint};
use support::{Client, SseRouterExt as _, serve};
use tokio::{process::Command, sync::mpsc, time::timeout};

#[sse_endpoint("/events")]
async fn events() -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

/// A page that reports the events of its `EventSource` to the server.
const PAGE: &str = "<!doctype html><script>
    const report = what => fetch('/report', { method: 'POST', body: what });
    const source = new EventSource('/events');
    source.onerror = () => report(source.readyState === EventSource.CLOSED ? 'closed' : 'rejected');
    source.onmessage = () => report('accepted');
</script>";

/// The time limit for each report, which is longer than the `retry` sent to a rejected client.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn browser_connects_once_a_permit_is_free() {
    let (sender, mut reports) = mpsc::unbounded_channel();
    let app = Router::new()
        .sse(events)
        .layer(StreamLimit::new(1))
        .route("/", get(async || Html(PAGE)))
        .route(
            "/report",
            post(async move |what: String| drop(sender.send(what))),
        );
    let addr = serve(app).await;
    let mut accepted = Client::get(addr, "/events").await;
    accepted.head().await;
    accepted.expect_chunk().await;

    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // This keeps Chromium running.
        .arg("--remote-debugging-port=0")
        .arg(format!("http://{addr}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`chromium`, installed by `cargo xtask test`");
    let mut next = async || {
        let report = timeout(PATIENCE, reports.recv()).await;
        report.expect("no report from the browser").unwrap()
    };
    assert_eq!(next().await, "rejected");
    drop(accepted);
    // The `EventSource` reconnects automatically.
    let mut last = next().await;
    while last == "rejected" {
        last = next().await;
    }
    assert_eq!(last, "accepted");
    browser.kill().await.unwrap();
}
