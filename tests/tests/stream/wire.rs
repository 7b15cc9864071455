//! The bytes on the wire. These tests compare the output for common pitfalls byte for byte and
//! decode arbitrary sequences of events with independent parsers.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Html};
use eventsource_stream::Eventsource as _;
use proptest::prelude::*;
use serde_json::{json, value::RawValue};
// The recorder does not validate these streams. The macro cannot see that `events` yields text,
// because the events are created elsewhere.
use sse_runtime::{
    Event, EventId, EventName, SseRouterExt as _, Stream, Text,
    event::Comment,
    sse_endpoint,
    testing::{Client, Frame},
};
use support::text::text;
use tokio_stream::StreamExt as _;

type Json = serde_json::Value;

#[sse_endpoint("/events", flush = "ready")]
async fn events(State(script): State<Arc<Vec<Written>>>) -> impl Stream<Item = Json> {
    for event in script.iter() {
        match event {
            Written::Json(event) => yield_!(event.clone()),
            Written::Bare(event) => yield_!(event.clone()),
        }
    }
}

#[derive(Clone, Debug)]
enum Written {
    Json(Event<Json>),
    Bare(Event),
}

impl From<Event<Json>> for Written {
    fn from(event: Event<Json>) -> Self {
        Self::Json(event)
    }
}

impl From<Event> for Written {
    fn from(event: Event) -> Self {
        Self::Bare(event)
    }
}

fn client(script: Vec<Written>) -> Client {
    Client::new(Router::new().sse(events).with_state(Arc::new(script)))
}

async fn wire(event: impl Into<Written>) -> String {
    client(vec![event.into()]).get("/events").await.text().await
}

#[tokio::test]
async fn text_is_split_at_each_line_break_without_loss() {
    for (text, bytes) in [
        ("", "data: \n\n"),
        ("a", "data: a\n\n"),
        ("a\n", "data: a\ndata: \n\n"),
        ("\n", "data: \ndata: \n\n"),
        ("a\nb", "data: a\ndata: b\n\n"),
        ("a\rb", "data: a\ndata: b\n\n"),
        ("a\r\nb", "data: a\ndata: b\n\n"),
        ("a\n\rb", "data: a\ndata: \ndata: b\n\n"),
        ("a\r\r\nb", "data: a\ndata: \ndata: b\n\n"),
        ("\r\n", "data: \ndata: \n\n"),
        (" leading", "data:  leading\n\n"),
        (":colon", "data: :colon\n\n"),
        ("\u{feff}bom", "data: \u{feff}bom\n\n"),
        ("a\u{2028}b\u{85}c", "data: a\u{2028}b\u{85}c\n\n"),
        (
            "a\r\revent: x\rdata: spoof\r\r",
            "data: a\ndata: \ndata: event: x\ndata: data: spoof\ndata: \ndata: \n\n",
        ),
    ] {
        assert_eq!(wire(Event::text(text)).await, bytes, "{text:?}");
    }
}

#[tokio::test]
async fn json_is_one_line() {
    for (value, bytes) in [
        (json!("a\r\nb"), "data: \"a\\r\\nb\"\n\n"),
        (json!(""), "data: \"\"\n\n"),
        (json!(null), "data: null\n\n"),
        (
            json!({ "u\u{2028}": ["\u{2029}", "\u{85}"] }),
            "data: {\"u\\u2028\":[\"\\u2029\",\"\\u0085\"]}\n\n",
        ),
        (json!("📡 é"), "data: \"📡 é\"\n\n"),
    ] {
        assert_eq!(wire(Event::json(value.clone())).await, bytes, "{value}");
    }
}

#[tokio::test]
async fn each_field_is_on_its_own_line() {
    let event = Event::json(json!(1))
        .with_comment("why")
        .event("tick")
        .id(7_u64)
        .retry(Duration::from_secs(3));
    let bytes = ": why\nevent: tick\nid: 7\nretry: 3000\ndata: 1\n\n";
    assert_eq!(wire(event).await, bytes);

    for (event, bytes) in [
        (Event::comment("warming up"), ": warming up\n"),
        (Event::empty().id(""), "id: \n\n"),
        (Event::empty().id("7"), "id: 7\n\n"),
        (Event::empty().retry(Duration::ZERO), "retry: 0\n"),
        (
            Event::empty().retry(Duration::from_micros(1500)),
            "retry: 2\n",
        ),
        (
            Event::text("").event("deleted"),
            "event: deleted\ndata: \n\n",
        ),
        (
            Event::empty().id(uuid::Uuid::nil()),
            "id: 00000000-0000-0000-0000-000000000000\n\n",
        ),
        (Event::done(), "event: done\nid: ~done\ndata: null\n\n"),
        (
            Event::done().id(9_u64),
            "event: done\nid: 9~done\ndata: null\n\n",
        ),
    ] {
        assert_eq!(wire(event).await, bytes);
    }
}

#[tokio::test]
async fn done_carries_the_last_id() {
    let script = vec![
        Event::json(json!(1)).id(7_u64).into(),
        Event::json(json!(2)).into(),
        Event::done().into(),
    ];
    let bytes = "id: 7\ndata: 1\n\ndata: 2\n\nevent: done\nid: 7~done\ndata: null\n\n";
    assert_eq!(client(script).get("/events").await.text().await, bytes);
}

#[tokio::test]
async fn text_and_html_items_are_sent_verbatim() {
    #[sse_endpoint("/text")]
    async fn text() -> impl Stream<Item = Text<String>> {
        yield_!(Text("two\nlines".to_owned()));
        yield_!(&Text(" \"quoted\"".to_owned()));
        yield_!(Event::json(Text(String::new())).event("empty"));
    }
    #[sse_endpoint("/html")]
    async fn html() -> impl Stream<Item = Html<&'static str>> {
        yield_!(Html("<p>\n</p>"));
    }
    let client = Client::new(Router::new().sse(text).sse(html));
    assert_eq!(
        client.get("/text").await.text().await,
        "data: two\ndata: lines\n\ndata:  \"quoted\"\n\nevent: empty\ndata: \n\n"
    );
    assert_eq!(
        client.get("/html").await.text().await,
        "data: <p>\ndata: </p>\n\n"
    );
}

#[tokio::test]
async fn strings_are_json_and_raw_values_are_compacted() {
    #[sse_endpoint("/strings")]
    async fn strings() -> impl Stream<Item = String> {
        yield_!("a\nb".to_owned());
    }
    #[sse_endpoint("/raw")]
    async fn raw() -> impl Stream<Item = Box<RawValue>> {
        yield_!(RawValue::from_string("{\r\n  \"a\": \"b  c\"\n}".to_owned()).unwrap());
    }
    let client = Client::new(Router::new().sse(strings).sse(raw));
    assert_eq!(
        client.get("/strings").await.text().await,
        "data: \"a\\nb\"\n\n"
    );
    assert_eq!(
        client.get("/raw").await.text().await,
        "data: {\"a\":\"b  c\"}\n\n"
    );
}

/// An event as seen by a client.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    event: String,
    data: String,
    id: String,
}

/// Converts line breaks to LF, because clients decode every line break as LF.
fn as_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Returns the events that a client dispatches according to the specification.
fn expected(script: &[Model]) -> Vec<Seen> {
    let mut id = String::new();
    let mut seen = Vec::new();
    for event in script {
        if let Some(new) = &event.id {
            id.clone_from(new);
        }
        let data = match &event.data {
            ModelData::None => continue,
            ModelData::Text(text) => as_lf(text),
            ModelData::Json(value) => serde_json::to_string(value).unwrap(),
        };
        let event = event.event.clone();
        seen.push(Seen {
            event: event.unwrap_or_else(|| "message".to_owned()),
            data,
            id: id.clone(),
        });
    }
    seen
}

#[derive(Clone, Debug)]
struct Model {
    comment: Option<String>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    data: ModelData,
}

#[derive(Clone, Debug)]
enum ModelData {
    None,
    Text(String),
    Json(Json),
}

impl Model {
    fn write(&self) -> Written {
        match &self.data {
            ModelData::None => self.fields(Event::empty()).into(),
            ModelData::Text(text) => self.fields(Event::text(text.clone())).into(),
            ModelData::Json(value) => self.fields(Event::json(value.clone())).into(),
        }
    }

    fn fields<T>(&self, mut event: Event<T>) -> Event<T> {
        if let Some(comment) = &self.comment {
            event = event.with_comment(Comment::new(comment.clone()).unwrap());
        }
        if let Some(name) = &self.event {
            event = event.event(EventName::new(name.clone()).unwrap());
        }
        if let Some(id) = &self.id {
            event = event.id(EventId::new(id.clone()).unwrap());
        }
        if let Some(retry) = self.retry {
            event = event.retry(Duration::from_millis(retry));
        }
        event
    }
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(text(), inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// The line breaks that names and comments must not contain.
const LINE_BREAKS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

fn model() -> impl Strategy<Value = Model> {
    let one_line = || text().prop_map(|text| text.replace(LINE_BREAKS, ""));
    let name = one_line().prop_filter("a name", |name| EventName::new(name.clone()).is_ok());
    let id = one_line().prop_filter("an id", |id| EventId::new(id.clone()).is_ok());
    let data = prop_oneof![
        1 => Just(ModelData::None),
        4 => text().prop_map(ModelData::Text),
        4 => json_value().prop_map(ModelData::Json),
    ];
    (
        prop::option::of(one_line()),
        prop::option::of(name),
        prop::option::of(id),
        prop::option::of(0..100_000_u64),
        data,
    )
        .prop_map(|(comment, event, id, retry, data)| Model {
            comment,
            event,
            id,
            retry,
            data,
        })
}

/// Splits the body into pieces of `size` bytes so that a parser that relies on receiving whole
/// frames fails.
fn pieces(bytes: &str, size: usize) -> impl Stream<Item = Result<Vec<u8>, std::io::Error>> + Unpin {
    let pieces: Vec<_> = bytes
        .as_bytes()
        .chunks(size)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    tokio_stream::iter(pieces)
}

/// Compares JSON by value because our serializer writes U+2028 as an escape sequence.
fn assert_same(seen: &[Seen], expected: &[Seen], parser: &str) {
    assert_eq!(
        seen.len(),
        expected.len(),
        "{parser}: {seen:?} for {expected:?}"
    );
    for (seen, expected) in seen.iter().zip(expected) {
        let same_json = || {
            let seen: Result<Json, _> = serde_json::from_str(&seen.data);
            let expected: Result<Json, _> = serde_json::from_str(&expected.data);
            matches!((seen, expected), (Ok(seen), Ok(expected)) if seen == expected)
        };
        assert!(
            seen.data == expected.data || same_json(),
            "{parser}: {seen:?} for {expected:?}"
        );
        assert_eq!(
            (&seen.event, &seen.id),
            (&expected.event, &expected.id),
            "{parser}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_event_is_decoded_as_sent(
        script in prop::collection::vec(model(), 0..8),
        size in 1_usize..64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let written: Vec<Written> = script.iter().map(Model::write).collect();
            let client = client(written);
            let bytes = client.get("/events").await.text().await;
            let expected = expected(&script);

            let seen: Vec<Seen> = pieces(&bytes, size)
                .eventsource()
                .map(|event| event.unwrap())
                .map(|event| Seen { event: event.event, data: event.data, id: event.id })
                .collect()
                .await;
            assert_same(&seen, &expected, "eventsource-stream");

            let seen: Vec<Seen> = sseer::EventStream::new(pieces(&bytes, size))
                .map(|event| event.unwrap())
                .map(|event| Seen {
                    event: event.event.to_string(),
                    data: event.data.to_string(),
                    id: event.id.to_string(),
                })
                .collect()
                .await;
            assert_same(&seen, &expected, "sseer");

            // The test client uses our own decoder. It must return the same events, along with the
            // comments.
            let mut events = client.get("/events").await.events();
            let (mut seen, mut comments) = (Vec::new(), Vec::new());
            while let Some(frame) = events.next_frame().await.unwrap() {
                match frame {
                    Frame::Event(event) => seen.push(Seen { event: event.event, data: event.data, id: event.id }),
                    Frame::Comment(comment) => comments.push(comment),
                }
            }
            assert_same(&seen, &expected, "sse_runtime::testing");
            let sent: Vec<String> = script.iter().filter_map(|event| event.comment.clone()).collect();
            assert_eq!(comments, sent);
        });
    }
}
