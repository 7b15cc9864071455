//! Events and responses that depend on the endpoint rather than on the type of its items.

use std::{
    convert::Infallible,
    future::pending,
    time::{Duration, SystemTime},
};

use axum::{Json, Router, extract::State, http::StatusCode};
use eventsource_stream::Event as Received;
use schemars::JsonSchema;
use serde::Deserialize;
use sse_runtime::{
    Connection, Event, Hub, LastEventId, SseError, SseEvent, SseRouterExt as _, Stream, Topic,
    openapi::Api,
    sse_endpoint,
    testing::{Client, Response},
};
use support::document::Document;

#[derive(Clone, Debug, SseEvent, JsonSchema)]
enum Beat {
    Beat { count: u32 },
}

fn api() -> Api {
    Api::new("Zoo", "1.0.0")
}

/// Receives all events, even if the stream is cut off.
async fn received(response: Response) -> Vec<Received> {
    let mut events = response.events();
    let mut received = Vec::new();
    while let Ok(Some(event)) = events.next().await {
        received.push(Received {
            event: event.event,
            data: event.data,
            id: event.id,
            retry: event.retry,
        });
    }
    received
}

/// Checks the events of the stream at `/values`, and returns their names.
async fn names(api: &Api, response: Response) -> Vec<String> {
    let mut document = Document::new(api.document());
    assert_eq!(api.untyped(), [""; 0]);
    let events = received(response).await;
    for event in &events {
        if let Err(problem) = document.check_event("values", event) {
            panic!("{event:?}: {problem}");
        }
    }
    events.into_iter().map(|event| event.event).collect()
}

#[tokio::test]
async fn panic_in_a_task_is_described() {
    #[sse_endpoint("/values")]
    async fn values(connection: Connection) -> impl Stream<Item = Beat> {
        yield_!(Beat::Beat { count: 1 });
        connection.spawn(async { panic!("in a task") });
        pending::<()>().await;
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    let names = names(&api, client.get("/values").await).await;
    assert_eq!(names, ["beat", "error"]);
}

#[tokio::test]
async fn error_of_a_run_is_described() {
    #[sse_endpoint("/values")]
    async fn values(State(hub): State<Hub<Beat>>, last: LastEventId) -> impl Stream<Item = Beat> {
        let run = async |topic: Topic<Beat>| {
            topic.publish(&Beat::Beat { count: 1 }).await.ok();
            Err("the model is overloaded".to_owned())
        };
        let mut updates = hub.spawn("run", last, run).await.unwrap();
        while let Some(update) = updates.next().await {
            yield_!(update);
        }
    }
    let api = api();
    let hub = Hub::new(|| Topic::builder().keep(10));
    let app: Router = Router::new().sse(api.of(values)).with_state(hub);
    let names = names(&api, Client::new(app).get("/values").await).await;
    assert_eq!(names, ["beat", "error"]);
}

#[tokio::test]
async fn gap_is_described_without_yield_all() {
    #[sse_endpoint("/values")]
    async fn values(
        State(topic): State<Topic<Beat>>,
        last: LastEventId,
    ) -> impl Stream<Item = Beat> {
        let mut updates = topic.subscribe(last);
        while let Some(update) = updates.next().await {
            yield_!(update);
        }
    }
    let api = api();
    let topic = Topic::in_memory(10);
    let app: Router = Router::new().sse(api.of(values)).with_state(topic.clone());
    let response = Client::new(app)
        .get("/values")
        .last_event_id("unknown-7")
        .await;
    topic.publish(&Beat::Beat { count: 1 }).await.unwrap();
    topic.finish().await.unwrap();
    assert_eq!(names(&api, response).await, ["gap", "beat", "done"]);
}

#[tokio::test(start_paused = true)]
async fn events_of_the_framework_are_described() {
    #[sse_endpoint("/values", keep_alive = "1s", keep_alive_event = "ping", retry = "2s")]
    async fn values(connection: Connection) -> impl Stream<Item = Beat> {
        connection.expires_at(SystemTime::now() + Duration::from_secs(3));
        yield_!(Beat::Beat { count: 1 });
        pending::<()>().await;
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    let mut names = names(&api, client.get("/values").await).await;
    names.dedup();
    assert_eq!(names, ["beat", "ping", "close"]);
}

#[tokio::test]
async fn done_is_described_where_the_function_sends_it() {
    #[sse_endpoint("/values", method = POST)]
    async fn values() -> impl Stream<Item = Beat> {
        yield_!(Beat::Beat { count: 1 });
        yield_!(Event::done());
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    let names = names(&api, client.post("/values").await).await;
    assert_eq!(names, ["beat", "done"]);
    let document = api.document();
    let responses = &document["paths"]["/values"]["post"]["responses"];
    assert!(responses["204"].is_object());

    let back = client.post("/values").last_event_id("1~done").await;
    assert_eq!(back.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn stream_without_items_is_described() {
    #[derive(SseEvent, JsonSchema)]
    enum Never {}

    #[sse_endpoint("/values", end = "stop")]
    async fn values() -> impl Stream<Item = Never> {
        yield_!(Event::comment("nothing to see"));
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    assert_eq!(names(&api, client.get("/values").await).await, ["done"]);
}

#[test]
fn impossible_items_and_errors_have_no_schema() {
    #[derive(Debug, thiserror::Error, SseError)]
    enum Never {}

    #[sse_endpoint("/values", method = POST)]
    async fn values() -> Result<impl Stream<Item = Result<Infallible, Never>>, Never> {
        yield_!(Event::comment("nothing to see"));
    }
    let api = api();
    drop(api.of(values));
    assert_eq!(api.untyped(), [""; 0]);
    let document = api.document();
    let responses = &document["paths"]["/values"]["post"]["responses"];
    let items = &responses["200"]["content"]["text/event-stream"]["itemSchema"];
    assert_eq!(*items, serde_json::json!({ "not": {} }));
    assert_eq!(responses.as_object().unwrap().len(), 1);
    assert!(api.typescript().contains("export type ValuesEvent = never"));
}

#[derive(Deserialize, JsonSchema)]
struct Prompt {
    text: String,
}

#[tokio::test]
async fn rejections_of_optional_bodies_are_described() {
    #[sse_endpoint("/values", method = POST)]
    async fn values(prompt: Option<Json<Prompt>>) -> impl Stream<Item = Beat> {
        let count = prompt.map_or(0, |Json(prompt)| prompt.text.len());
        yield_!(Beat::Beat {
            count: u32::try_from(count).unwrap_or(0)
        });
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    let mut document = Document::new(api.document());
    for (media_type, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "{}", 422),
        ("text/plain", "{}", 415),
    ] {
        let request = client.post("/values").header("content-type", media_type);
        let response = request.body(body).await;
        assert_eq!(response.status().as_u16(), status);
        let body = response.text().await;
        document
            .check_response("values", status, "text/plain", &body)
            .unwrap();
    }
    assert_eq!(names(&api, client.post("/values").await).await, ["beat"]);
}

#[tokio::test]
async fn text_among_items_is_described() {
    #[sse_endpoint("/values", method = POST)]
    async fn values() -> impl Stream<Item = Vec<u8>> {
        yield_!(vec![1]);
        yield_!(Event::text("[DONE]"));
    }
    let plain = api();
    let client = Client::new(Router::new().sse(plain.of(values)));
    let names_of_plain = names(&plain, client.post("/values").await).await;
    assert_eq!(names_of_plain, ["message", "message"]);

    #[sse_endpoint("/values", method = POST)]
    async fn named() -> impl Stream<Item = Beat> {
        yield_!(Beat::Beat { count: 1 });
        yield_!(Event::text("[DONE]"));
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.named("values", named)));
    let names = names(&api, client.post("/values").await).await;
    assert_eq!(names, ["beat", "message"]);
}

#[tokio::test]
async fn names_set_on_events_are_allowed_but_untyped() {
    #[derive(Debug, SseEvent, JsonSchema)]
    enum Reply {
        #[sse(message)]
        Unnamed(u8),
        Named {
            value: u8,
        },
    }

    #[sse_endpoint("/values")]
    async fn values() -> impl Stream<Item = Reply> {
        yield_!(Reply::Unnamed(1));
        yield_!(Reply::Named { value: 1 });
        yield_!(Event::json(Reply::Named { value: 1 }).event("other"));
    }
    let api = api();
    let client = Client::new(Router::new().sse(api.of(values)));
    let untyped = "values: the events whose names are set with `Event::event`";
    assert_eq!(api.untyped(), [untyped]);
    let mut document = Document::new(api.document());
    for event in received(client.get("/values").await).await {
        document.check_event("values", &event).unwrap();
    }
}
