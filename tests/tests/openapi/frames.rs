//! The validation of frames that `cargo xtask test frames` adds to other tests.

use std::{env, process::Command};

use axum::Router;
use sse_runtime::{Event, SseEvent, Stream, sse_endpoint, testing::Client};
use support::SseRouterExt as _;

#[derive(SseEvent, schemars::JsonSchema)]
enum Beat {
    Beat { count: u32 },
}

fn mistaken() -> Event<Beat> {
    Event::json(Beat::Beat { count: 1 }).event("mistake")
}

/// Sends an event that its document does not allow, because another function sets its name.
#[sse_endpoint("/mistaken")]
async fn values() -> impl Stream<Item = Beat> {
    yield_!(mistaken());
}

/// Runs one of these tests in another process, with the validation, and returns what it reports.
fn validated(test: &str) -> String {
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", &format!("frames::{test}")]);
    let output = process.env("VALIDATE_FRAMES", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(101));
    String::from_utf8(output.stderr).unwrap()
}

fn is_validated() -> bool {
    env::var_os("VALIDATE_FRAMES").is_some()
}

#[tokio::test]
async fn event_that_is_not_described_ends_the_test() {
    if is_validated() {
        let client = Client::new(Router::new().sse(values));
        client.get("/mistaken").await.text().await;
        return;
    }
    let errors = validated("event_that_is_not_described_ends_the_test");
    let expected = "the document of `values` does not allow";
    assert!(errors.contains(expected), "{errors}");
    assert!(errors.contains("mistake"), "{errors}");
}

/// The validation must not keep the server from taking the connection over.
#[tokio::test]
async fn taken_over_streams_are_validated() {
    if is_validated() {
        let addr = support::serve(Router::new().sse(values)).await;
        support::Client::get(addr, "/mistaken").await.rest().await;
        return;
    }
    let errors = validated("taken_over_streams_are_validated");
    assert!(errors.contains("mistake"), "{errors}");
}

/// A task's budget also limits the stream of recorded lines, unless its iterator ignores the budget.
#[tokio::test]
async fn recorded_events_are_parsed_without_a_budget() {
    let stream = "data: 1\n\n".repeat(1000);
    assert_eq!(support::document::events(stream).len(), 1000);
}
