//! Checks that two independent parsers decode any sequence of events exactly as it was sent.
//!
//! This is the property from `tests/tests/stream/wire.rs`, tested with coverage-guided instead of
//! random input.
#![no_main]

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State};
use eventsource_stream::Eventsource as _;
use libfuzzer_sys::fuzz_target;
use sse_runtime::{
    Event, EventId, EventName, SseRouterExt as _, Stream, event::Comment, sse_endpoint,
    testing::Client,
};
use tokio_stream::StreamExt as _;

#[derive(Clone, Debug, arbitrary::Arbitrary)]
struct Written {
    comment: Option<String>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u32>,
    text: Option<String>,
    json: bool,
}

#[sse_endpoint("/events", flush = "ready")]
async fn events(State(script): State<Arc<Vec<Written>>>) -> impl Stream<Item = String> {
    for event in script.iter() {
        match &event.text {
            Some(text) if event.json => yield_!(fields(event, Event::json(text))),
            Some(text) => yield_!(fields(event, Event::text(text.clone()))),
            None => yield_!(fields(event, Event::empty())),
        }
    }
}

/// Adds the fields of `written`, except those that the constructors reject.
fn fields<T>(written: &Written, mut event: Event<T>) -> Event<T> {
    if let Some(Ok(comment)) = written.comment.clone().map(Comment::new) {
        event = event.with_comment(comment);
    }
    if let Some(name) = name(written) {
        event = event.event(name);
    }
    if let Some(id) = id(written) {
        event = event.id(id);
    }
    if let Some(retry) = written.retry {
        event = event.retry(Duration::from_millis(retry.into()));
    }
    event
}

fn name(written: &Written) -> Option<EventName> {
    EventName::new(written.event.clone()?).ok()
}

fn id(written: &Written) -> Option<EventId> {
    EventId::new(written.id.clone()?).ok()
}

type Seen = (String, String, String);

fn expected(script: &[Written]) -> Vec<Seen> {
    let mut last = String::new();
    let mut seen = Vec::new();
    for written in script {
        if let Some(id) = id(written) {
            last = id.to_string();
        }
        let Some(text) = &written.text else { continue };
        let data = match written.json {
            true => text.clone(),
            false => text.replace("\r\n", "\n").replace('\r', "\n"),
        };
        let name = name(written).map_or_else(|| "message".to_owned(), |name| name.to_string());
        seen.push((name, data, last.clone()));
    }
    seen
}

/// Decodes the data of the received events. JSON is parsed, and text is left unchanged.
fn read(script: &[Written], seen: Vec<Seen>) -> Vec<Seen> {
    let sent = script.iter().filter(|written| written.text.is_some());
    seen.into_iter()
        .zip(sent)
        .map(|((name, data, id), written)| match written.json {
            true => (name, serde_json::from_str(&data).expect("valid JSON"), id),
            false => (name, data, id),
        })
        .collect()
}

fuzz_target!(|input: (Vec<Written>, u8)| {
    let (script, size) = input;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = Router::new()
            .sse(events)
            .with_state(Arc::new(script.clone()));
        let bytes = Client::new(app).get("/events").await.text().await;
        let expected = expected(&script);
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> = bytes
            .as_bytes()
            .chunks(usize::from(size) + 1)
            .map(|piece| Ok(piece.to_vec()))
            .collect();
        let again = |pieces: &Vec<Result<Vec<u8>, std::io::Error>>| {
            let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
                pieces.iter().flatten().cloned().map(Ok).collect();
            tokio_stream::iter(pieces)
        };

        let seen: Vec<Seen> = again(&pieces)
            .eventsource()
            .map(|event| event.expect("a valid event"))
            .map(|event| (event.event, event.data, event.id))
            .collect()
            .await;
        assert_eq!(seen.len(), expected.len(), "eventsource-stream: {bytes:?}");
        assert_eq!(
            read(&script, seen),
            expected,
            "eventsource-stream: {bytes:?}"
        );

        let seen: Vec<Seen> = sseer::EventStream::new(again(&pieces))
            .map(|event| event.expect("a valid event"))
            .map(|event| {
                (
                    event.event.to_string(),
                    event.data.to_string(),
                    event.id.to_string(),
                )
            })
            .collect()
            .await;
        assert_eq!(seen.len(), expected.len(), "sseer: {bytes:?}");
        assert_eq!(read(&script, seen), expected, "sseer: {bytes:?}");
    });
});
