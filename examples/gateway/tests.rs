use axum::http::StatusCode;
use serde_json::json;
use sse_runtime::testing::{Client, Events, ReceivedEvent, Request, Response};
use tokio::{net::TcpListener, time::timeout};

use super::*;
use model::{ANSWER, BUSY_FOR, FLAKY};

const OPENAI: &str = "/v1/chat/completions";
const ANTHROPIC: &str = "/v1/messages";

/// A delay after which no test is still running. A model with this pace begins its answer and then
/// writes no word.
const NEVER: Duration = Duration::from_secs(3600);

/// The time after which a test fails instead of waiting any longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway, in front of a model that listens on a socket.
struct Setup {
    client: Client,
    model: Model,
}

impl Setup {
    async fn new(pace: Duration, budget: u64, max_streams: usize) -> Self {
        let model = Model::new(pace);
        let url = model.clone().start().await.unwrap();
        Self {
            client: gateway(&url, budget, max_streams),
            model,
        }
    }

    fn ask(&self, path: &str, model: &str) -> Request {
        request(&self.client, path, "alice", model, true)
    }

    /// Waits until the number of answers that the model is writing has changed to `expected`.
    async fn model_is_writing(&self, expected: usize) {
        let mut writing = self.model.writing.subscribe();
        let changed = timeout(PATIENCE, writing.wait_for(|now| *now == expected)).await;
        changed
            .expect("the model has not started or stopped")
            .unwrap();
    }
}

fn gateway(url: &str, budget: u64, max_streams: usize) -> Client {
    let clients = ["alice:alice", "bob:bob"].map(|client| client.parse().unwrap());
    let gateway = Gateway {
        accounts: Accounts::new(clients.to_vec(), budget),
        upstream: Upstream::new(url, None),
    };
    Client::new(app(gateway, max_streams))
}

fn request(client: &Client, path: &str, key: &str, model: &str, stream: bool) -> Request {
    let messages = json!([{ "role": "user", "content": "What is a gateway?" }]);
    let body = json!({ "model": model, "max_tokens": 100, "stream": stream, "messages": messages });
    let request = client.post(path).json(&body);
    match path {
        OPENAI => request.header("authorization", format!("Bearer {key}")),
        _ => request.header("x-api-key", key),
    }
}

/// Reads the words of an answer and the first event after the last word that contains none.
async fn words(events: &mut Events) -> (Vec<String>, ReceivedEvent) {
    let mut words = Vec::new();
    loop {
        let event = events.expect_event().await;
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let content = &data["choices"][0]["delta"]["content"];
        match content.as_str().or(data["delta"]["text"].as_str()) {
            Some("") => {}
            Some(word) => words.push(word.to_owned()),
            None if words.is_empty() && event.event != "error" && data["error"].is_null() => {}
            None => return (words, event),
        }
    }
}

/// Checks that an error is in the format of the protocol, and returns its type.
fn error_type(path: &str, body: &Value) -> String {
    let error = &body["error"];
    let (message, kind) = (&error["message"], &error["type"]);
    let expected = match path {
        OPENAI => json!({ "error": {
            "message": message, "type": kind, "param": null, "code": &error["code"],
        }}),
        _ => json!({ "type": "error", "error": { "type": kind, "message": message } }),
    };
    assert_eq!(*body, expected);
    assert!(message.is_string());
    kind.as_str().unwrap().to_owned()
}

async fn rejected(path: &str, response: Response, status: StatusCode) -> String {
    assert_eq!(response.status(), status);
    error_type(path, &response.json().await)
}

fn whole_answer() -> Vec<String> {
    ANSWER.split_inclusive(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn openai_answer_is_relayed() {
    let setup = Setup::new(Duration::ZERO, 100, 2).await;
    let response = setup.ask(OPENAI, "parrot-1").await;
    assert_eq!(response.header("x-request-id"), Some("req_1"));
    let mut events = response.events();
    let (words, last) = words(&mut events).await;
    assert_eq!(words, whole_answer());
    let last: Value = last.json();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(events.expect_event().await.data, "[DONE]");
    events.expect_end().await;
}

#[tokio::test]
async fn anthropic_answer_is_relayed() {
    let setup = Setup::new(Duration::ZERO, 100, 2).await;
    let response = setup.ask(ANTHROPIC, "parrot-1").await;
    assert_eq!(response.header("request-id"), Some("req_1"));
    let mut events = response.events();
    assert_eq!(events.expect_event().await.event, "message_start");
    let (words, last) = words(&mut events).await;
    assert_eq!(words, whole_answer());
    assert_eq!(last.event, "content_block_stop");
    assert_eq!(events.expect_event().await.event, "message_delta");
    assert_eq!(events.expect_event().await.event, "message_stop");
    events.expect_end().await;
}

#[tokio::test]
async fn unknown_keys_are_rejected() {
    let setup = Setup::new(Duration::ZERO, 100, 2).await;
    for (path, expected) in [
        (OPENAI, "invalid_request_error"),
        (ANTHROPIC, "authentication_error"),
    ] {
        let unknown = request(&setup.client, path, "mallory", "parrot-1", true).await;
        let kind = rejected(path, unknown, StatusCode::UNAUTHORIZED).await;
        assert_eq!(kind, expected);
        let missing = setup.client.post(path).json(&json!({})).await;
        let kind = rejected(path, missing, StatusCode::UNAUTHORIZED).await;
        assert_eq!(kind, expected);
    }
}

#[tokio::test]
async fn each_client_has_its_own_limit_of_streams() {
    let setup = Setup::new(NEVER, 100, 1).await;
    let mut first = setup.ask(OPENAI, "parrot-1").await.events();
    first.expect_event().await;
    for (path, expected) in [(OPENAI, "requests"), (ANTHROPIC, "rate_limit_error")] {
        let second = setup.ask(path, "parrot-1").await;
        let after = second.header("retry-after").unwrap();
        assert!((5..=15).contains(&after.parse::<u64>().unwrap()), "{after}");
        let kind = rejected(path, second, StatusCode::TOO_MANY_REQUESTS).await;
        assert_eq!(kind, expected);
    }
    let other = request(&setup.client, ANTHROPIC, "bob", "parrot-1", true).await;
    assert_eq!(other.status(), StatusCode::OK);

    first.disconnect().await;
    let next = setup.ask(ANTHROPIC, "parrot-1").await;
    assert_eq!(next.status(), StatusCode::OK);
}

#[tokio::test]
async fn spent_budget_ends_the_answer_with_an_error() {
    for (path, name, kind, status) in [
        (
            OPENAI,
            "message",
            "insufficient_quota",
            StatusCode::TOO_MANY_REQUESTS,
        ),
        (
            ANTHROPIC,
            "error",
            "billing_error",
            StatusCode::PAYMENT_REQUIRED,
        ),
    ] {
        let setup = Setup::new(Duration::ZERO, 5, 2).await;
        let mut events = setup.ask(path, "parrot-1").await.events();
        let (words, error) = words(&mut events).await;
        assert_eq!(words, whole_answer()[..5]);
        assert_eq!(error.event, name);
        assert_eq!(error_type(path, &error.json()), kind);
        events.expect_end().await;

        let next = setup.ask(path, "parrot-1").await;
        assert_eq!(rejected(path, next, status).await, kind);
        let other = request(&setup.client, path, "bob", "parrot-1", true).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn budget_can_be_spent_exactly() {
    let tokens = whole_answer().len() as u64;
    for path in [OPENAI, ANTHROPIC] {
        let setup = Setup::new(Duration::ZERO, tokens, 2).await;
        let mut events = setup.ask(path, "parrot-1").await.events();
        assert_eq!(words(&mut events).await.0, whole_answer());
        let last = events.expect_event().await;
        assert!(!last.data.contains("error"), "{last:?}");
    }
}

#[tokio::test]
async fn error_status_of_the_upstream_is_passed_on() {
    let setup = Setup::new(Duration::ZERO, 100, 2).await;
    for path in [OPENAI, ANTHROPIC] {
        let response = setup.ask(path, "busy").await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let after = BUSY_FOR.to_string();
        assert_eq!(response.header("retry-after"), Some(&*after));
        assert_eq!(response.header("content-type"), Some("application/json"));
        let body: Value = response.json().await;
        assert_eq!(body["error"]["message"], "the model is busy");
    }
}

#[tokio::test]
async fn unreachable_upstream_is_a_bad_gateway() {
    // The port is free again once the listener is dropped.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (path, expected) in [(OPENAI, "server_error"), (ANTHROPIC, "api_error")] {
        let client = gateway(&url, 100, 2);
        let response = request(&client, path, "alice", "parrot-1", true).await;
        let kind = rejected(path, response, StatusCode::BAD_GATEWAY).await;
        assert_eq!(kind, expected);
    }
}

#[tokio::test]
async fn answer_that_breaks_off_ends_with_an_error() {
    let setup = Setup::new(Duration::from_millis(1), 100, 2).await;
    for (path, name, expected) in [
        (OPENAI, "message", "server_error"),
        (ANTHROPIC, "error", "api_error"),
    ] {
        let mut events = setup.ask(path, "flaky").await.events();
        let (words, error) = words(&mut events).await;
        assert_eq!(words, whole_answer()[..FLAKY]);
        assert_eq!(error.event, name);
        assert_eq!(error_type(path, &error.json()), expected);
        events.expect_end().await;
    }
}

#[tokio::test]
async fn model_stops_when_the_client_disconnects() {
    let setup = Setup::new(NEVER, 100, 2).await;
    for path in [OPENAI, ANTHROPIC] {
        let mut events = setup.ask(path, "parrot-1").await.events();
        events.expect_event().await;
        setup.model_is_writing(1).await;
        events.disconnect().await;
        setup.model_is_writing(0).await;
    }
}

#[tokio::test]
async fn tokens_of_a_cancelled_answer_are_counted() {
    for path in [OPENAI, ANTHROPIC] {
        let setup = Setup::new(Duration::ZERO, 5, 2).await;
        let mut events = setup.ask(path, "parrot-1").await.events();
        while !events.expect_event().await.data.contains("gateway") {}
        events.disconnect().await;
        // Two words have been sent.
        let mut events = setup.ask(path, "parrot-1").await.events();
        assert_eq!(words(&mut events).await.0, whole_answer()[..3]);
    }
}

#[tokio::test]
async fn unstreamed_answers_are_passed_on_and_counted() {
    let tokens = whole_answer().len() as u64;
    for path in [OPENAI, ANTHROPIC] {
        let setup = Setup::new(Duration::ZERO, tokens + 1, 2).await;
        let response = request(&setup.client, path, "alice", "parrot-1", false).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let body: Value = response.json().await;
        let openai = &body["choices"][0]["message"]["content"];
        let text = if path == OPENAI {
            openai
        } else {
            &body["content"][0]["text"]
        };
        assert_eq!(text, ANSWER);

        // One token is left.
        let mut events = setup.ask(path, "parrot-1").await.events();
        assert_eq!(words(&mut events).await.0, whole_answer()[..1]);
    }
}

#[test]
fn credentials_need_a_name_and_a_key() {
    assert!("alice:sk-1".parse::<Credentials>().is_ok());
    assert!("sk-1".parse::<Credentials>().is_err());
}
