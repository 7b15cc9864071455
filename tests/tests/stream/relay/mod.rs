//! `relay`: an event stream from an upstream, passed on unchanged.

mod aborts;
mod random;
mod sockets;
mod try_map;

use std::{
    future::ready,
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde_json::{Value, json};
// The recorder does not validate these streams, because the upstreams send events that do not have the
// endpoint's item type.
use sse_runtime::{
    SseRouterExt as _, Stream, first_ok, relay, relay::RelayError, sse_endpoint, testing,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use support::log::Log;

/// The chunks that an upstream sends. An error breaks the upstream off.
type Chunks = Vec<Result<Bytes, io::Error>>;

fn chunks(chunks: &[&'static str]) -> Chunks {
    chunks
        .iter()
        .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
        .collect()
}

fn broken(sent: &[&'static str]) -> Chunks {
    let mut chunks = chunks(sent);
    chunks.push(Err(io::Error::other("the cable was cut")));
    chunks
}

/// How an endpoint relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    All,
    OneByOne,
    SkipComments,
    ReissueIds,
    SkipCommentsOneByOne,
    ReissueIdsOneByOne,
    SmallEvents,
}

#[derive(Clone, Debug)]
struct Script {
    how: How,
    upstream: Arc<Mutex<Option<Chunks>>>,
}

impl Script {
    fn upstream(&self) -> impl Stream<Item = Result<Bytes, io::Error>> + use<> {
        tokio_stream::iter(self.upstream.lock().unwrap().take().unwrap())
    }
}

#[derive(Debug, serde::Serialize, JsonSchema)]
struct Broken {
    message: String,
}

impl From<RelayError> for Broken {
    fn from(error: RelayError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

impl IntoResponse for Broken {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.message).into_response()
    }
}

#[sse_endpoint("/relay", method = POST)]
async fn relayed(State(script): State<Script>) -> impl Stream<Item = Result<Value, Broken>> {
    let relay = relay(script.upstream());
    match script.how {
        How::All => yield_all!(relay),
        How::SkipComments => yield_all!(relay.skip_comments()),
        How::ReissueIds => yield_all!(relay.reissue_ids()),
        How::SmallEvents => yield_all!(relay.max_event_size(16)),
        How::OneByOne | How::SkipCommentsOneByOne | How::ReissueIdsOneByOne => {
            let mut relay = match script.how {
                How::SkipCommentsOneByOne => relay.skip_comments(),
                How::ReissueIdsOneByOne => relay.reissue_ids(),
                _ => relay,
            };
            while let Some(event) = relay.next().await {
                yield_!(event?);
            }
        }
    }
}

#[sse_endpoint("/abort", method = POST)]
async fn aborts(State(script): State<Script>) -> Result<impl Stream<Item = Value>, Broken> {
    let events = first_ok(relay(script.upstream())).await?;
    yield_all!(events.abort_on_error());
}

/// Sends a request to an endpoint that relays `upstream`.
async fn ask(path: &str, how: How, upstream: Chunks) -> testing::Response {
    let script = Script {
        how,
        upstream: Arc::new(Mutex::new(Some(upstream))),
    };
    let app = Router::new().sse(relayed).sse(aborts).with_state(script);
    testing::Client::new(app).post(path).await
}

async fn text(how: How, upstream: &[&'static str]) -> String {
    ask("/relay", how, chunks(upstream)).await.text().await
}

const UPSTREAM: &str = ": hi\n\nevent: tool\nid: 7\nretry: 900\ndata: {\"a\":1}\n\ndata:x\ndata\n\n:\nretry: 5\nid: 8~done\nevent: done\ndata: null\n\n";

#[tokio::test]
async fn frames_are_relayed_unchanged() {
    assert_eq!(text(How::All, &[UPSTREAM]).await, UPSTREAM);
    // However the bytes are split into chunks.
    for at in 0..UPSTREAM.len() {
        let (first, second) = UPSTREAM.split_at(at);
        assert_eq!(text(How::All, &[first, second]).await, UPSTREAM, "{at}");
    }
}

#[tokio::test]
async fn line_breaks_become_lf_and_the_bom_is_removed() {
    for line_break in ["\r", "\r\n"] {
        let upstream: &'static str =
            format!("\u{feff}{}", UPSTREAM.replace('\n', line_break)).leak();
        let bytes = Bytes::from_static(upstream.as_bytes());
        for at in 0..bytes.len() {
            let upstream = vec![Ok(bytes.slice(..at)), Ok(bytes.slice(at..))];
            let text = ask("/relay", How::All, upstream).await.text().await;
            assert_eq!(text, UPSTREAM, "{at} {line_break:?}");
        }
    }
}

#[tokio::test]
async fn incomplete_event_is_discarded() {
    let upstream = ["data: 1\n\n", "data: 2\n", "id: 3"];
    assert_eq!(text(How::All, &upstream).await, "data: 1\n\n");
    assert_eq!(text(How::OneByOne, &upstream).await, "data: 1\n\n");
}

#[tokio::test]
async fn comments_can_be_skipped() {
    let expected = "event: tool\nid: 7\nretry: 900\ndata: {\"a\":1}\n\ndata:x\ndata\n\nretry: 5\nid: 8~done\nevent: done\ndata: null\n\n";
    assert_eq!(text(How::SkipComments, &[UPSTREAM]).await, expected);
    // The blank line after a comment is skipped even if it arrives later.
    let upstream = ["data: a\n\n", ": ping\n", "\n", "data: b\n\n", "\n"];
    let expected = "data: a\n\ndata: b\n\n\n";
    assert_eq!(text(How::SkipComments, &upstream).await, expected);
}

#[tokio::test]
async fn ids_can_be_reissued() {
    let expected = ": hi\n\nevent: tool\nretry: 900\nid: 1\ndata: {\"a\":1}\n\nid: 2\ndata:x\ndata\n\n:\nretry: 5\nevent: done\nid: 3~done\ndata: null\n\n";
    assert_eq!(text(How::ReissueIds, &[UPSTREAM]).await, expected);
}

#[tokio::test]
async fn event_over_the_limit_is_an_error() {
    let fits = "data: 0123456\n\n";
    let problem = "event: error\ndata: {\"message\":\"an event from the upstream is larger than 16 bytes; raise the limit with `max_event_size`\"}\n\n";
    assert_eq!(
        text(How::SmallEvents, &[fits, fits]).await,
        format!("{fits}{fits}")
    );
    // Comments between events do not count.
    let quiet = [":\n"; 20];
    assert_eq!(text(How::SmallEvents, &quiet).await, ":\n".repeat(20));
    for upstream in [
        vec![fits, "data: 0123456789\n\n"],
        vec![fits, "data: ", "0123456789", "0123456789"],
        vec![fits, "data: 1\n", "data: 2\n", "data: 3\n"],
    ] {
        assert_eq!(
            text(How::SmallEvents, &upstream).await,
            format!("{fits}{problem}")
        );
    }
}

#[tokio::test]
async fn upstream_that_breaks_off_is_an_error_event() {
    let problem =
        "event: error\ndata: {\"message\":\"the upstream's event stream was cut off\"}\n\n";
    for how in [How::All, How::OneByOne] {
        let response = ask("/relay", how, broken(&["data: 1\n\ndata: 2"])).await;
        assert_eq!(response.text().await, format!("data: 1\n\n{problem}"));
    }
}

#[tokio::test]
async fn upstream_that_breaks_off_aborts_the_response() {
    let log = Log::capture();
    let response = ask(
        "/abort",
        How::All,
        broken(&["data: 1\n\n", "data: 2\n\ndata: 3"]),
    )
    .await;
    let mut events = response.events();
    assert_eq!(events.expect_event().await.data, "1");
    assert_eq!(events.expect_event().await.data, "2");
    events.expect_cut().await;
    events.disconnect().await;
    assert!(log.text().contains("the cable was cut"), "{}", log.text());
}

#[tokio::test]
async fn early_failure_is_a_status() {
    let response = ask("/abort", How::All, broken(&[": warming up\n\n"])).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(
        response.text().await,
        "the upstream's event stream was cut off"
    );
}

#[sse_endpoint("/changed", method = POST)]
async fn changed(body: Body) -> impl Stream<Item = Value> {
    yield_all!(
        relay(body.into_data_stream())
            .map(|event| match event.json::<Value>() {
                Ok(mut value) => {
                    value["model"] = json!("ours");
                    event.with_json(&value).unwrap()
                }
                Err(_) => event.with_data("a\rid: 9\r\nb"),
            })
            .abort_on_error()
    );
}

#[tokio::test]
async fn map_changes_the_data_and_keeps_the_fields() {
    let app = Router::new().sse(changed);
    let upstream = "id: 1\nevent: chunk\ndata: {\"model\":\ndata: \"theirs\"}\n\ndata: [DONE]\n\n";
    let response = testing::Client::new(app)
        .post("/changed")
        .body(upstream)
        .await;
    assert_eq!(
        response.text().await,
        "id: 1\nevent: chunk\ndata: {\"model\":\"ours\"}\n\ndata: a\ndata: id: 9\ndata: b\n\n"
    );
}

#[tokio::test]
async fn events_before_one_that_is_too_large_are_relayed() {
    let upstream = "data: 1\n\ndata: 2\n\ndata: 0123456789\n\n";
    let text = text(How::SmallEvents, &[upstream]).await;
    assert!(
        text.starts_with("data: 1\n\ndata: 2\n\nevent: error\n"),
        "{text}"
    );
}

#[tokio::test]
async fn all_events_of_a_chunk_are_relayed() {
    let comments = ": a\n\ndata: 1\n\n: b\n\n: c\n\ndata: 2\n\n: d\n\ndata: 3\n\n";
    for how in [How::SkipComments, How::SkipCommentsOneByOne] {
        let relayed = text(how, &[comments]).await;
        assert_eq!(relayed, "data: 1\n\ndata: 2\n\ndata: 3\n\n", "{how:?}");
    }
    let ids = "id: 7\n\ndata: 1\n\nid: 8\n\nid: 9\n\ndata: 2\n\n";
    for how in [How::ReissueIds, How::ReissueIdsOneByOne] {
        let relayed = text(how, &[ids]).await;
        assert_eq!(relayed, "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n", "{how:?}");
    }
}

/// Cancels a read that has received an id, and passes on the rest of the stream.
#[sse_endpoint("/held")]
async fn holds_id() -> impl Stream<Item = Value> {
    let (chunks, upstream) = mpsc::channel(2);
    let upstream = ReceiverStream::new(upstream).map(Ok::<_, io::Error>);
    let mut events = relay(upstream).abort_on_error();
    chunks.send("id: 1\n\n").await.unwrap();
    tokio::select! {
        biased;
        event = events.next() => yield_!(event.unwrap()),
        () = ready(()) => {}
    }
    chunks.send("id: 2\n\n").await.unwrap();
    chunks.send("data: x\n\n").await.unwrap();
    drop(chunks);
    yield_all!(events);
}

#[tokio::test]
async fn newer_id_replaces_one_that_is_held() {
    let client = testing::Client::new(Router::new().sse(holds_id));
    assert_eq!(
        client.get("/held").await.text().await,
        "id: 2\n\ndata: x\n\n"
    );
}

/// Clients ignore a line that begins with a byte order mark, except for the first line of a stream.
#[tokio::test]
async fn line_after_a_byte_order_mark_stays_unknown() {
    for (how, upstream, expected) in [
        (How::All, "\u{feff}\u{feff}data: forged\n\n", ""),
        (
            How::OneByOne,
            "\n\u{feff}data: forged\ndata: real\n\n",
            "data: real\n\n",
        ),
        (
            How::SkipComments,
            ": hi\n\u{feff}data: forged\n\ndata: real\n\n",
            "data: real\n\n",
        ),
    ] {
        assert_eq!(text(how, &[upstream]).await, expected, "{how:?}");
    }
}

#[tokio::test]
async fn event_has_only_its_own_fields() {
    for upstream in [
        vec!["event: ping\n\nretry: 5000\ndata: hello\n\n"],
        vec!["event: ping\n\n", "retry: 5000\n", "data: hello\n\n"],
        vec!["event: ping\n\nretry: 5000\r", "\ndata: hello\n\n"],
    ] {
        let mut events = relay(tokio_stream::iter(chunks(&upstream)));
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.name(), "message", "{upstream:?}");
        assert_eq!(
            event.retry(),
            Some(std::time::Duration::from_secs(5)),
            "{upstream:?}"
        );
        assert!(events.next().await.is_none());
    }
}
