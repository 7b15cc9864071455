//! Errors before the response starts and within the stream.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode};
use sse_runtime::{Stream, first_ok, sse_endpoint, testing::Client};
use support::SseRouterExt as _;
use tokio::sync::Semaphore;

use super::{Oops, Refused, app, get, values};

#[tokio::test]
async fn infallible_stream_sends_its_items() {
    let mut events = get(app(), "/stream/2").await.events();
    assert_eq!(values(&mut events).await, [0, 1]);
    let mut events = get(app(), "/stream/9").await.events();
    assert_eq!(values(&mut events).await, [0, 1, 2]);
}

#[tokio::test]
async fn error_in_the_stream_is_its_last_event() {
    let mut events = get(app(), "/try-stream/1").await.events();
    assert_eq!(values(&mut events).await, [1]);

    for (uri, values, message) in [
        ("/try-stream/x", vec![], "invalid digit found in string"),
        ("/try-stream/2", vec![2], "two"),
        ("/try-stream/3", vec![3], "invalid digit found in string"),
    ] {
        let mut events = get(app(), uri).await.events();
        for value in values {
            assert_eq!(events.expect_event().await.json::<u64>(), value);
        }
        let error = events.expect_event().await;
        assert_eq!(error.event, "failure");
        assert_eq!(error.json::<serde_json::Value>()["message"], message);
        events.expect_end().await;
    }
}

#[tokio::test]
async fn error_before_the_response_is_a_status() {
    for (uri, status) in [
        ("/response/x", StatusCode::BAD_REQUEST),
        ("/response/0", StatusCode::NO_CONTENT),
        ("/response/1", StatusCode::NOT_FOUND),
        ("/try-response/x", StatusCode::BAD_REQUEST),
        ("/try-response/0", StatusCode::NO_CONTENT),
        ("/try-response/1", StatusCode::NOT_FOUND),
    ] {
        let response = get(app(), uri).await;
        assert_eq!(response.status(), status, "{uri}");
        assert!(!response.is_stream(), "{uri}");
        assert_eq!(response.text().await, "", "{uri}");
    }
    let mut events = get(app(), "/response/2").await.events();
    assert_eq!(values(&mut events).await, [2]);
    let mut events = get(app(), "/response/3").await.events();
    assert_eq!(values(&mut events).await, [3, 4]);
}

#[tokio::test]
async fn position_decides_which_error_is_sent() {
    let mut events = get(app(), "/try-response/2").await.events();
    assert_eq!(values(&mut events).await, [2]);
    for (uri, message) in [
        ("/try-response/3", "three"),
        ("/try-response/4", "invalid digit found in string"),
    ] {
        let mut events = get(app(), uri).await.events();
        events.expect_event().await;
        let error = events.expect_event().await;
        assert_eq!(error.event, "error");
        assert_eq!(error.json::<serde_json::Value>()["message"], message);
        events.expect_end().await;
    }
}

#[sse_endpoint("/permit")]
async fn permit(
    State(permits): State<Arc<Semaphore>>,
) -> Result<impl Stream<Item = usize>, StatusCode> {
    // Acquire the permit before the response starts. The permit must be held until the stream ends,
    // even though no later code uses it.
    let _permit = permits
        .try_acquire()
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let text = String::from("borrowed");
    let borrowed = text.as_str();
    // The borrow stays alive while the response starts and the first event is sent.
    yield_!(borrowed.len());
    yield_!(borrowed.len() + 1);
    std::future::pending::<()>().await;
    drop(text);
}

#[tokio::test]
async fn locals_before_the_response_live_with_the_stream() {
    let permits = Arc::new(Semaphore::new(1));
    let client = Client::new(Router::new().sse(permit).with_state(Arc::clone(&permits)));
    let mut events = client.get("/permit").await.events();
    assert_eq!(permits.available_permits(), 0);
    assert_eq!(events.expect_event().await.json::<usize>(), 8);
    assert_eq!(events.expect_event().await.json::<usize>(), 9);
    assert_eq!(client.get("/permit").await.status(), 503);
    events.disconnect().await;
    assert_eq!(permits.available_permits(), 1);
}

/// Simulates a model that rejects the request, fails partway, or completes its answer.
fn upstream(n: u64) -> impl Stream<Item = Result<u64, Oops>> {
    let fail = || {
        Err(Oops {
            message: "upstream".to_owned(),
        })
    };
    tokio_stream::iter(match n {
        0 => vec![fail()],
        1 => vec![Ok(1), fail(), Ok(2)],
        2 => vec![Ok(1), Ok(2)],
        _ => vec![],
    })
}

#[sse_endpoint("/upstream", method = POST)]
async fn answer(Json(n): Json<u64>) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
    let tokens = first_ok(upstream(n)).await?;
    yield_all!(tokens);
}

#[tokio::test]
async fn upstream_error_before_first_item_is_a_status() {
    let client = Client::new(Router::new().sse(answer));
    let refused = client.post("/upstream").json(&0).await;
    assert_eq!(refused.status(), 429);

    let mut events = client.post("/upstream").json(&1).await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 1);
    assert_eq!(events.expect_event().await.event, "error");
    events.expect_end().await;

    let mut events = client.post("/upstream").json(&2).await.events();
    assert_eq!(values(&mut events).await, [1, 2]);
    let mut events = client.post("/upstream").json(&3).await.events();
    events.expect_end().await;
}
