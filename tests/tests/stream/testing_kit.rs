//! The messages of the testing kit, and the ways to read and to wait.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use sse_runtime::{Start, Stream, Topic, sse_endpoint, testing::Client};
use tokio::task::yield_now;

use support::SseRouterExt as _;

#[sse_endpoint("/numbers/{count}")]
async fn numbers(axum::extract::Path(count): axum::extract::Path<u64>) -> impl Stream<Item = u64> {
    for number in 1..=count {
        yield_!(number);
    }
}

/// Subscribes only after it has yielded and waited.
#[sse_endpoint("/late")]
async fn late(State(topic): State<Topic<u64>>) -> impl Stream<Item = u64> {
    yield_!(0);
    for _ in 0..10 {
        yield_now().await;
    }
    yield_!(1);
    yield_all!(topic.subscribe(Start::Now));
}

#[sse_endpoint("/echo", method = POST)]
async fn echo(headers: HeaderMap, body: String) -> Result<impl Stream<Item = String>, StatusCode> {
    if body.contains("refuse") {
        return Err(StatusCode::FORBIDDEN);
    }
    for value in headers.get_all("x-key") {
        yield_!(value.to_str().unwrap().to_owned());
    }
}

#[sse_endpoint("/refused", method = POST)]
async fn refused(
    body: String,
) -> Result<impl Stream<Item = String>, (StatusCode, Json<&'static str>)> {
    drop(body);
    Err((StatusCode::FORBIDDEN, Json("not today")))?;
    yield_!(String::new());
}

fn client() -> Client {
    let app = Router::new().sse(numbers).sse(echo).sse(refused);
    Client::new(app)
}

#[tokio::test]
async fn events_can_be_taken_and_collected() {
    let mut events = client().get("/numbers/5").await.events();
    let first = events.take(2).await;
    assert_eq!(
        first.iter().map(|event| &event.data).collect::<Vec<_>>(),
        ["1", "2"]
    );
    let rest = events.collect().await;
    assert_eq!(
        rest.iter().map(|event| &event.data).collect::<Vec<_>>(),
        ["3", "4", "5"]
    );
}

#[tokio::test]
async fn default_headers_give_way_to_a_requests_own() {
    let client = client()
        .default_header("x-key", "a")
        .default_header("x-key", "b");
    for (own, expected) in [(None, vec!["\"a\"", "\"b\""]), (Some("c"), vec!["\"c\""])] {
        let mut request = client.post("/echo");
        if let Some(own) = own {
            request = request.header("x-key", own);
        }
        let events = request.await.events().collect().await;
        let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, expected);
    }
}

#[tokio::test]
async fn until_waiting_waits_for_a_subscription() {
    let topic = Topic::in_memory(16);
    let app = Router::new().sse(late).with_state(topic.clone());
    let mut events = Client::new(app).get("/late").await.events();
    events.until_waiting().await;
    topic.publish(&7).await.unwrap();
    let data: Vec<_> = events
        .take(3)
        .await
        .into_iter()
        .map(|event| event.data)
        .collect();
    assert_eq!(data, ["0", "1", "7"]);
}

#[tokio::test]
#[should_panic(
    expected = "expected an event from GET /numbers/0, but the stream has ended (at tests/tests/stream/testing_kit.rs:"
)]
async fn message_names_the_request_and_the_test() {
    let mut events = client().get("/numbers/0").await.events();
    events.expect_event().await;
}

#[tokio::test]
#[should_panic(
    expected = "expected a stream from POST /refused with the body {\"q\":1}, found 403 Forbidden with"
)]
async fn message_quotes_the_json_body() {
    let response = client()
        .post("/refused")
        .json(&serde_json::json!({ "q": 1 }))
        .await;
    drop(response.events());
}

#[tokio::test]
#[should_panic(expected = "and the body \"\\\"not today\\\"\"")]
async fn message_quotes_the_response() {
    drop(client().post("/refused").await.events());
}
