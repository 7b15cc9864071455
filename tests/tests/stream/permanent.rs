//! Errors that stop a client from reconnecting, and `head_after`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use sse_runtime::{Event, LastEventId, SseError, Stream, sse_endpoint, testing::Client};
use tokio::sync::Notify;

use support::{CutOff, SseRouterExt as _, serve, serve_plain};

#[derive(Debug, thiserror::Error, SseError)]
enum Inner {
    #[error("the room was deleted")]
    #[sse(status = 410, stop)]
    Deleted,
}

#[derive(Debug, thiserror::Error, SseError)]
enum Failure {
    #[error("the model is busy")]
    Busy,
    #[error("there is no room {room}")]
    #[sse(status = 404, stop)]
    NoRoom { room: u64 },
    #[error(transparent)]
    #[sse(transparent)]
    Inner(#[from] Inner),
}

fn fail(how: &str) -> Result<(), Failure> {
    match how {
        "busy" => Err(Failure::Busy),
        "no-room" => Err(Failure::NoRoom { room: 7 }),
        _ => Err(Inner::Deleted.into()),
    }
}

#[sse_endpoint("/rooms/{how}")]
async fn room(Path(how): Path<String>) -> impl Stream<Item = Result<u64, Failure>> {
    yield_!(Event::json(1).id(1_u64));
    fail(&how)?;
}

#[sse_endpoint("/rooms/{how}", method = POST)]
async fn post_room(Path(how): Path<String>) -> impl Stream<Item = Result<u64, Failure>> {
    yield_!(Event::json(1).id(1_u64));
    fail(&how)?;
}

#[tokio::test]
async fn permanent_error_stops_a_client() {
    let client = Client::new(Router::new().sse(room).sse(post_room));
    for (how, id) in [("busy", "1"), ("no-room", "1~done"), ("inner", "1~done")] {
        let mut events = client.get(&format!("/rooms/{how}")).await.events();
        assert_eq!(events.expect_event().await.data, "1");
        let error = events.expect_event().await;
        assert_eq!(error.event, "error");
        assert_eq!(events.last_event_id(), id, "{how}");
        events.expect_end().await;
        let again = client.get(&format!("/rooms/{how}")).last_event_id(id).await;
        let stops = id.ends_with("~done");
        assert_eq!(again.status() == StatusCode::NO_CONTENT, stops, "{how}");
    }
    // Clients of other methods do not send the id back, and some parse every field.
    let mut events = client.post("/rooms/no-room").await.events();
    events.expect_event().await;
    events.expect_event().await;
    assert_eq!(events.last_event_id(), "1");
}

/// The response to a request, which the handler determines after the test has let it go on.
#[derive(Clone)]
struct Gate(Arc<Notify>);

struct Refused(StatusCode, Option<Value>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, body) = self;
        match body {
            Some(body) => (status, [("retry-after", "7")], Json(body)).into_response(),
            None => status.into_response(),
        }
    }
}

async fn decide(gate: &Gate, how: &str) -> Result<(), Refused> {
    gate.0.notified().await;
    match how {
        "ok" => Ok(()),
        "busy" => Err(Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(json!({ "code": "busy" })),
        )),
        _ => Err(Refused(StatusCode::NOT_FOUND, None)),
    }
}

#[sse_endpoint("/slow/{how}", head_after = "50ms")]
async fn slow(
    State(gate): State<Gate>,
    Path(how): Path<String>,
) -> Result<impl Stream<Item = u64>, Refused> {
    decide(&gate, &how).await?;
    yield_!(1);
    yield_!(2);
}

#[sse_endpoint("/slow/{how}", method = POST, head_after = "50ms")]
async fn post_slow(
    State(gate): State<Gate>,
    Path(how): Path<String>,
) -> Result<impl Stream<Item = u64>, Refused> {
    decide(&gate, &how).await?;
    yield_!(1);
}

fn app(gate: &Gate) -> Router {
    Router::new()
        .sse(slow)
        .sse(post_slow)
        .with_state(gate.clone())
}

#[tokio::test]
async fn head_is_sent_while_the_statements_before_it_wait() {
    let gate = Gate(Arc::new(Notify::new()));
    for addr in [serve(app(&gate)).await, serve_plain(app(&gate)).await] {
        for (how, expected) in [
            ("ok", "data: 1\n\ndata: 2\n\n"),
            (
                "busy",
                "event: error\nretry: 7000\ndata: {\"code\":\"busy\"}\n\n",
            ),
            (
                "missing",
                "event: error\nid: ~done\ndata: {\"status\":404,\"title\":\"Not Found\"}\n\n",
            ),
        ] {
            let mut client = support::Client::get(addr, &format!("/slow/{how}")).await;
            assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK", "{how}");
            gate.0.notify_one();
            let mut received = String::new();
            while let Some(chunk) = client.chunk().await.unwrap() {
                received.push_str(&chunk);
            }
            assert_eq!(received, expected, "{how}");
        }
        // Clients of this endpoint do not know the framework's events.
        let mut client = support::Client::post(addr, "/slow/missing", 0, b"").await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK");
        gate.0.notify_one();
        assert_eq!(client.chunk().await, Err(CutOff));
    }
}

#[tokio::test]
async fn early_rejection_is_a_status_despite_head_after() {
    let gate = Gate(Arc::new(Notify::new()));
    let client = Client::new(app(&gate));
    gate.0.notify_one();
    assert_eq!(
        client.get("/slow/missing").await.status(),
        StatusCode::NOT_FOUND
    );
    gate.0.notify_one();
    assert_eq!(client.post("/slow/busy").await.status(), 503);
    gate.0.notify_one();
    let mut events = client.get("/slow/ok").await.events();
    assert_eq!(events.expect_event().await.data, "1");
}

#[sse_endpoint("/optional")]
async fn optional(last: Option<LastEventId<u64>>) -> impl Stream<Item = String> {
    yield_!(match last {
        None => "none".to_owned(),
        Some(LastEventId(Ok(last))) => format!("{last:?}"),
        Some(LastEventId(Err(error))) => error.to_string(),
    });
}

#[tokio::test]
async fn last_event_id_is_optional() {
    let client = Client::new(Router::new().sse(optional));
    for (id, expected) in [("", "none"), ("7", "Some(7)")] {
        let request = client.get("/optional").last_event_id(id);
        assert_eq!(
            request.await.events().expect_event().await.json::<String>(),
            expected
        );
    }
    let request = client.get("/optional").last_event_id("x");
    let error = request.await.events().expect_event().await.json::<String>();
    assert!(error.contains("does not belong to this stream"), "{error}");
}

#[derive(Debug, thiserror::Error, SseError)]
#[error("the index is broken")]
#[sse(status = 500, stop)]
struct BrokenIndex;

#[sse_endpoint("/broken", head_after = "50ms")]
async fn broken(State(gate): State<Gate>) -> Result<impl Stream<Item = u64>, BrokenIndex> {
    gate.0.notified().await;
    Err(BrokenIndex)?;
    yield_!(1);
}

/// Waits for a value that is always ready.
#[sse_endpoint("/busy", head_after = "50ms")]
async fn busy() -> Result<impl Stream<Item = u64>, StatusCode> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    loop {
        sender.send(1).unwrap();
        if receiver.recv().await != Some(1) {
            break;
        }
    }
    yield_!(1);
}

#[sse_endpoint("/finished", head_after = "50ms", end = "stop")]
async fn finished(
    State(gate): State<Gate>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    drop(last);
    gate.0.notified().await;
    yield_!(Event::json(1).id(1_u64));
}

#[tokio::test]
async fn late_permanent_error_stops_a_client() {
    let gate = Gate(Arc::new(Notify::new()));
    let app = Router::new().sse(broken).with_state(gate.clone());
    let mut events = Client::new(app).get("/broken").await.events();
    gate.0.notify_one();
    assert_eq!(events.expect_event().await.event, "error");
    assert_eq!(events.last_event_id(), "~done");
}

#[tokio::test]
async fn head_is_sent_while_the_function_is_busy() {
    let addr = serve(Router::new().sse(busy)).await;
    let mut client = support::Client::get(addr, "/busy").await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn finished_client_gets_no_head_early() {
    let gate = Gate(Arc::new(Notify::new()));
    let app = Router::new().sse(finished).with_state(gate.clone());
    let client = Client::new(app);
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        gate.0.notify_one();
    };
    let (response, ()) = tokio::join!(client.get("/finished").last_event_id("1~done"), release);
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}
