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

/// Runs itself with the validation.
#[tokio::test]
async fn event_that_is_not_described_ends_the_test() {
    if env::var_os("VALIDATE_FRAMES").is_some() {
        let client = Client::new(Router::new().sse(values));
        client.get("/mistaken").await.text().await;
        return;
    }
    let test = env::current_exe().unwrap();
    let mut test = Command::new(test);
    test.args([
        "--exact",
        "frames::event_that_is_not_described_ends_the_test",
    ]);
    let output = test.env("VALIDATE_FRAMES", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(101));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("the document of `values` does not allow"),
        "{errors}"
    );
    assert!(errors.contains("mistake"), "{errors}");
}
