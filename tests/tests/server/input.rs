//! Bad input: the bytes that are sent and the messages that are logged.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::Method,
};
use sse_runtime::{
    EventId, EventName, LastEventId, Stream,
    event::{Comment, EventNameError},
    sse_endpoint,
    testing::Client,
};

use support::{SseRouterExt as _, log::Log, server_of};

#[sse_endpoint("/path/{n}")]
async fn path(Path(n): Path<u8>) -> impl Stream<Item = u8> {
    yield_!(n);
}

#[derive(serde::Deserialize)]
struct Page {
    page: u8,
}

#[sse_endpoint("/query")]
async fn query(Query(Page { page }): Query<Page>) -> impl Stream<Item = u8> {
    yield_!(page);
}

#[sse_endpoint("/json", method = POST)]
async fn json(Json(n): Json<u8>) -> impl Stream<Item = u8> {
    yield_!(n);
}

#[tokio::test]
async fn extractor_rejection_matches_axum() {
    let plain = Router::new()
        .route(
            "/path/{n}",
            axum::routing::get(async |Path(_): Path<u8>| {}),
        )
        .route(
            "/query",
            axum::routing::get(async |Query(_): Query<Page>| {}),
        )
        .route("/json", axum::routing::post(async |Json(_): Json<u8>| {}));
    let plain = Client::new(plain);
    let ours = Client::new(Router::new().sse(path).sse(query).sse(json));
    let requests = |client: &Client| {
        [
            client.get("/path/x"),
            client.get("/query?page=x"),
            client.post("/json").json(&"x"),
            client
                .post("/json")
                .header("content-type", "application/json")
                .body("{"),
            client.post("/json").body("1"),
            client.request(Method::DELETE, "/json"),
        ]
    };
    for (ours, theirs) in requests(&ours).into_iter().zip(requests(&plain)) {
        let (ours, theirs) = (ours.await, theirs.await);
        assert!(ours.status().is_client_error());
        assert_eq!(ours.status(), theirs.status());
        assert_eq!(ours.headers(), theirs.headers());
        assert_eq!(ours.text().await, theirs.text().await);
    }
}

#[derive(serde::Serialize)]
struct Shown {
    code: u32,
    #[serde(skip)]
    #[allow(dead_code, reason = "a client must never see this field")]
    internal: &'static str,
}

#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<u8, Shown>> {
    yield_!(1);
    return Err(Shown {
        code: 42,
        internal: "password",
    });
}

#[tokio::test]
async fn error_in_the_stream_is_sent_and_logged() {
    let captured = Log::capture();
    let text = Client::new(Router::new().sse(fails))
        .get("/fails")
        .await
        .text()
        .await;
    assert_eq!(text, "data: 1\n\nevent: error\ndata: {\"code\":42}\n\n");
    let log = captured.text();
    assert!(
        log.contains("WARN") && log.contains("fails") && log.contains("42"),
        "{log}"
    );
}

/// A value whose serialization fails halfway through.
struct Broken;

impl serde::Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error as _, SerializeSeq as _};
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element("half a frame")?;
        Err(S::Error::custom("the database password is hunter2"))
    }
}

#[sse_endpoint("/broken", flush = "ready")]
async fn broken(State(continued): State<Arc<AtomicBool>>) -> impl Stream<Item = Option<Broken>> {
    yield_!(None);
    yield_!(Some(Broken));
    continued.store(true, Ordering::Relaxed);
    yield_!(None);
}

#[tokio::test]
async fn stream_is_cut_off_if_serialization_fails() {
    let captured = Log::capture();
    let continued = Arc::new(AtomicBool::new(false));
    let app = Router::new().sse(broken).with_state(Arc::clone(&continued));
    let mut events = Client::new(app).get("/broken").await.events();
    // The client receives the earlier frames but not the partial one, and the stream is then cut
    // off.
    assert_eq!(events.expect_event().await.data, "null");
    let error = events.next().await.unwrap_err();
    assert!(!error.to_string().contains("half a frame"));
    assert!(!continued.load(Ordering::Relaxed));
    let log = captured.text();
    assert!(
        log.contains("ERROR") && log.contains("broken") && log.contains("hunter2"),
        "{log}"
    );
}

#[tokio::test]
async fn failed_serialization_sends_nothing_over_a_socket() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/broken", listener.local_addr().unwrap());
    let app = Router::new().sse(broken).with_state(Arc::default());
    tokio::spawn(server_of(app).serve(listener));
    let mut response = reqwest::get(url).await.unwrap();
    let mut received = Vec::new();
    let is_cut_off = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(is_cut_off, "a failed stream looks like a clean end");
    assert_eq!(String::from_utf8(received).unwrap(), "data: null\n\n");
}

/// Every line break recognized by Python's `str.splitlines`, which some clients use to read
/// streams.
const LINE_BREAKS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

#[test]
fn names_and_comments_reject_every_line_break() {
    for found in LINE_BREAKS {
        let text = format!("ü{found}b");
        let Err(EventNameError::LineBreak(error)) = EventName::new(text.clone()) else {
            panic!("{text:?} was accepted as a name");
        };
        assert_eq!(error.at, 2);
        assert_eq!(Comment::new(text.clone()), Err(error));
        assert!(text.parse::<EventName>().is_err());
        assert!(text.parse::<Comment>().is_err());
        let literal: &'static str = format!("a{found}b").leak();
        assert_eq!(EventName::from(literal).as_str(), "a\u{fffd}b");
        assert_eq!(Comment::from(literal).as_str(), "a\u{fffd}b");
    }
    // Other whitespace and ordinary text are accepted.
    for text in ["a\tb", "a\u{a0}b", "a\u{2000}b", "zürich ☃"] {
        assert_eq!(EventName::new(text).unwrap().as_str(), text);
        assert_eq!(Comment::new(text).unwrap().as_str(), text);
    }
}

/// Every client sends visible ASCII characters back unchanged in the `Last-Event-ID` header.
#[test]
fn id_accepts_only_visible_ascii() {
    let all: String = ('!'..='~').collect();
    assert_eq!(EventId::new(all.clone()).unwrap().to_string(), all);
    let rejected = [
        "☃",
        "zürich-7",
        "a b",
        " a",
        "a ",
        "a\tb",
        "a\0b",
        "a\u{7f}",
        "a\nb",
        "a\u{2028}b",
    ];
    for text in rejected {
        let error = EventId::new(text).unwrap_err();
        assert!(error.to_string().contains("percent-encod"), "{error}");
        assert_eq!(text.parse::<EventId>(), Err(error));
        let json = serde_json::to_string(text).unwrap();
        assert!(serde_json::from_str::<EventId>(&json).is_err(), "{json}");
        assert!(
            panic::catch_unwind(|| EventId::from(text)).is_err(),
            "{text:?}"
        );
    }
    assert!(panic::catch_unwind(|| EventId::from("step~done")).is_err());
    assert!(serde_json::from_str::<EventId>("\"step~done\"").is_err());
    // IDs built from numbers and UUIDs are always valid.
    for id in [
        EventId::from(-1),
        EventId::from(u128::MAX),
        EventId::from(uuid::Uuid::nil()),
    ] {
        assert_eq!(EventId::new(id.to_string()).unwrap(), id);
    }
}

#[sse_endpoint("/resumes")]
async fn resumes(LastEventId(last): LastEventId<u64>) -> impl Stream<Item = String> {
    yield_!(match last {
        Ok(Some(id)) => id.to_string(),
        Ok(None) => "none".to_owned(),
        Err(error) => error.to_string(),
    });
}

#[tokio::test]
async fn invalid_last_event_id_is_passed_to_the_handler() {
    let client = Client::new(Router::new().sse(resumes));
    for (id, seen) in [
        (&b"7"[..], "7"),
        (b"", "none"),
        (b"\xff", "not UTF-8"),
        (b"seven", "seven"),
    ] {
        let request = client.get("/resumes").header("last-event-id", id);
        let event = request.await.events().expect_event().await;
        assert!(event.data.contains(seen), "{id:?}: {event:?}");
    }
}

/// A value whose serialization panics halfway through.
struct Panics;

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element("half a frame")?;
        panic!("in the middle of a value");
    }
}

/// A value that panics on drop. A generator holds this value in a local variable.
struct Undroppable;

impl Drop for Undroppable {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[sse_endpoint("/panics/{how}", flush = "ready")]
async fn panics(Path(how): Path<String>) -> impl Stream<Item = Result<Option<Panics>, Panics>> {
    yield_!(None);
    match how.as_str() {
        "value" => yield_!(Some(Panics)),
        "error" => return Err(Panics),
        _ => drop(Undroppable),
    }
}

#[tokio::test]
async fn panic_cuts_off_after_the_last_complete_event() {
    let client = Client::new(Router::new().sse(panics));
    for how in ["value", "error", "destructor"] {
        let captured = Log::capture();
        let mut events = client.get(&format!("/panics/{how}")).await.events();
        assert_eq!(events.expect_event().await.data, "null", "{how}");
        assert!(events.next().await.is_err(), "{how}");
        let log = captured.text();
        assert!(
            log.contains("ERROR") && log.contains("panics"),
            "{how}: {log}"
        );
    }
}
