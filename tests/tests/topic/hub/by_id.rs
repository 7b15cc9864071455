//! Clients that resume with nothing but their ID.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse as _,
};
use sse_runtime::{
    Event, EventId, Hub, LastEventId, Start, Stream, Topic, sse_endpoint,
    topic::{GapReason, HubError, PublishError, ResumeError},
};
use support::{Client, SseRouterExt as _, Store, serve, within};
use test_case::test_case;
use tokio::sync::Semaphore;

use super::{hub, hub_builder, id, poll_once, publish, read, values};

/// The runs of an MCP server. A run's name is a session and a number.
#[derive(Clone)]
struct Calls {
    runs: Hub<String>,
    started: Arc<AtomicUsize>,
    /// Each permit allows a run to publish one message.
    messages: Arc<Semaphore>,
}

#[sse_endpoint("/{session}/mcp", method = POST)]
async fn call(
    Path(session): Path<String>,
    State(calls): State<Calls>,
) -> Result<impl Stream<Item = String>, HubError> {
    let number = calls.started.fetch_add(1, Ordering::Relaxed);
    let name = format!("{session}/{number}");
    let run = calls.runs.spawn(&name, Start::First, |topic| async move {
        for number in 1..=4 {
            calls.messages.acquire().await.unwrap().forget();
            topic.publish(&format!("message {number}")).await?;
        }
        Ok::<(), PublishError>(())
    });
    let run = run.await?;
    // The first event tells the client from where it can resume.
    yield_!(Event::text("").id(run.position()));
    yield_all!(run);
}

#[sse_endpoint("/{session}/mcp")]
async fn listen(
    Path(session): Path<String>,
    State(calls): State<Calls>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, ResumeError> {
    let own = format!("{session}/");
    let run = calls
        .runs
        .resume_by_id(last, |name| name.starts_with(&own))
        .await?;
    yield_all!(run);
}

async fn serve_calls(store: &Store) -> (SocketAddr, Calls) {
    let calls = Calls {
        runs: store.hub(hub_builder(100).named_ids()).await,
        started: Arc::default(),
        messages: Arc::new(Semaphore::new(0)),
    };
    let app = Router::new().sse(call).sse(listen);
    (serve(app.with_state(calls.clone())).await, calls)
}

/// Sends a request without a body. An empty ID is not sent.
async fn request(addr: SocketAddr, line: &str, id: &str) -> Client {
    let mut client = Client::connect(addr).await;
    let id = match id {
        "" => String::new(),
        id => format!("last-event-id: {id}\r\n"),
    };
    let head = format!("{line} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n{id}\r\n");
    client.send(head.as_bytes()).await;
    client
}

async fn status(client: &mut Client) -> String {
    let line = client.head().await.status_line;
    line.split(' ').nth(1).unwrap().to_owned()
}

/// Reads frames until the stream contains `end`. Returns the data of each event and the last ID.
async fn frames(client: &mut Client, end: &str) -> (Vec<String>, String) {
    let mut text = String::new();
    within(end, async {
        while !text.contains(end) {
            text.push_str(&client.expect_chunk().await);
        }
    })
    .await;
    let fields = |name: &str| -> Vec<String> {
        let fields = text.lines().filter_map(|line| line.strip_prefix(name));
        fields.map(str::to_owned).collect()
    };
    (fields("data: "), fields("id: ").pop().unwrap_or_default())
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn get_resumes_the_run_of_a_post(store: Store) {
    let (addr, calls) = serve_calls(&store).await;
    let mut post = request(addr, "POST /s/mcp", "").await;
    assert_eq!(status(&mut post).await, "200");
    let (_, start) = frames(&mut post, "\n\n").await;
    assert!(start.starts_with("m1:s%2F0="), "{start}");
    calls.messages.add_permits(2);
    let (data, last) = frames(&mut post, "message 2\"\n\n").await;
    assert_eq!(data, [r#""message 1""#, r#""message 2""#]);
    drop(post);
    // Another run of the same session must not be mixed in.
    let mut other = request(addr, "POST /s/mcp", "").await;
    assert_eq!(status(&mut other).await, "200");
    let mut get = request(addr, "GET /s/mcp", &last).await;
    assert_eq!(status(&mut get).await, "200");
    calls.messages.add_permits(6);
    let (data, done) = frames(&mut get, "event: done").await;
    assert_eq!(data[..2], [r#""message 3""#, r#""message 4""#]);
    assert_eq!(get.chunk().await, Ok(None));
    // A client that has received the end stops.
    let done = match done.ends_with("~done") {
        true => done,
        false => format!("{done}~done"),
    };
    let mut again = request(addr, "GET /s/mcp", &done).await;
    assert_eq!(status(&mut again).await, "204");
    // A client that lost its connection before the first event.
    let mut first = request(addr, "GET /s/mcp", &start).await;
    assert_eq!(status(&mut first).await, "200");
    let (data, _) = frames(&mut first, "event: done").await;
    assert_eq!(data[..4].len(), 4);
    assert_eq!(calls.started.load(Ordering::Relaxed), 2);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn run_that_is_gone_is_a_gap_and_an_end(store: Store) {
    let (addr, calls) = serve_calls(&store).await;
    let sent = "m1:s%2F7=0123456789ab-7";
    let mut client = request(addr, "GET /s/mcp", sent).await;
    assert_eq!(status(&mut client).await, "200");
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        text.push_str(&chunk);
    }
    let gone = "m1:s%2F7=000000000000-0";
    assert_eq!(
        text,
        format!(
            "event: gap\nid: {gone}\ndata: {{\"reason\":\"other_epoch\",\"missed\":null}}\n\n\
             event: done\nid: {gone}~done\ndata: null\n\n"
        )
    );
    let mut back = request(addr, "GET /s/mcp", &format!("{gone}~done")).await;
    assert_eq!(status(&mut back).await, "204");
    // The client of a `POST` that sends the ID again receives the same.
    assert_eq!(calls.started.load(Ordering::Relaxed), 0);
    assert!(calls.runs.is_empty(), "no topic was created");
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn made_up_names_create_no_topics(store: Store) {
    let hub = hub(&store, 10).await;
    publish(&hub, "a", 1).await;
    let names: Vec<_> = (0..60).map(|number| format!("n{number}=x")).collect();
    let made_up = format!("m1:a=0123456789ab-7&{}", names.join("&"));
    for round in 0..3 {
        let mut topics = hub
            .subscribe_by_id(id(made_up.clone()), |_| true)
            .await
            .unwrap();
        // The topics have a common gap. One of them exists.
        let seen = read(&mut topics);
        assert!(seen[0].is_err());
        assert_eq!(seen.len(), 2, "{seen:?}");
        let mut runs = hub.resume_by_id(id("m1:b=x"), |_| true).await.unwrap();
        assert_eq!(read(&mut runs).len(), 1);
        assert_eq!(hub.names(), ["a"], "round {round}");
    }
}

#[tokio::test]
async fn unusable_id_is_an_error() {
    let (addr, calls) = serve_calls(&Store::Memory).await;
    publish(&calls.runs, "t/1", 1).await;
    let too_many: Vec<_> = (0..200).map(|number| format!("s/{number}=x")).collect();
    for (sent, expected) in [
        ("", "400"),
        ("7", "404"),
        ("☃", "404"),
        ("m1:", "404"),
        ("m2:s%2F1=x", "404"),
        ("0123456789ab-7", "404"),
        ("0123456789ab-7~done", "404"),
        // The response does not depend on whether the run exists.
        ("m1:t%2F1=x", "403"),
        ("m1:t%2F2=x", "403"),
        ("m1:s%2F1=x&t%2F1=x", "403"),
        (&format!("m1:s%2F{}=x", "y".repeat(1_100)), "400"),
        (&format!("m1:{}", too_many.join("&")), "400"),
    ] {
        let mut client = request(addr, "GET /s/mcp", sent).await;
        assert_eq!(status(&mut client).await, expected, "{sent:.20}");
    }
    assert_eq!(calls.runs.names(), ["t/1"]);
    let full = ResumeError::from(HubError::Full).into_response();
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn names_in_ids_do_not_change_what_is_read(store: Store) {
    let hub = store.hub(hub_builder(3).named_ids()).await;
    let name = "a b/ü~done";
    let topic = hub.topic(name).await.unwrap();
    let mut updates = topic.subscribe(Start::Now);
    let start = updates.position();
    let mut plain = Vec::new();
    for number in 1..=3 {
        plain.push(topic.publish(&number.to_string()).await.unwrap());
    }
    for (seen, plain) in read(&mut updates).into_iter().zip(&plain) {
        let (value, named) = seen.unwrap();
        assert_eq!(named, format!("m1:a+b%2F%C3%BC%7Edone={plain}"));
        assert!(EventId::new(named.clone()).is_ok());
        // The ID that the publisher knows is accepted as well.
        for sent in [id(named), plain.clone()] {
            let mut back = topic.subscribe(sent.clone());
            let rest: Vec<_> = (1..=3).map(|number| number.to_string()).collect();
            let from = value.parse::<usize>().unwrap();
            assert_eq!(values(&mut back), rest[from..]);
            let by_id = hub.subscribe_by_id(sent, |named| named == name).await;
            match by_id {
                Ok(mut back) => assert_eq!(values(&mut back), rest[from..]),
                Err(error) => assert_eq!(error, ResumeError::NoNames),
            }
        }
    }
    for (sent, reason) in [
        (id("m1:other=0123456789ab-1"), GapReason::Unknown),
        (id("7"), GapReason::Unknown),
        (
            id("m1:a+b%2F%C3%BC%7Edone=0123456789ab-1"),
            GapReason::OtherEpoch,
        ),
    ] {
        let mut back = topic.subscribe(sent);
        let gap = read(&mut back).remove(0).unwrap_err();
        assert_eq!(gap.reason(), reason);
        assert!(gap.position().to_string().starts_with("m1:a+b"));
    }
    topic.publish(&"4".to_owned()).await.unwrap();
    let mut back = topic.subscribe(start);
    let gap = read(&mut back).remove(0).unwrap_err();
    assert_eq!((gap.reason(), gap.missed()), (GapReason::TooOld, Some(1)));
}

/// Topics that do not belong to runs are not finished.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn topics_by_id_stay_open(store: Store) {
    let hub = hub(&store, 10).await;
    let mut updates = hub.subscribe(["a", "b"], Start::Now).await.unwrap();
    publish(&hub, "a", 1).await;
    assert_eq!(values(&mut updates), ["1"]);
    let at = updates.position();
    publish(&hub, "b", 2).await;
    let mut names = Vec::new();
    let mut back = hub
        .subscribe_by_id(at, |name| {
            names.push(name.to_owned());
            true
        })
        .await
        .unwrap();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(values(&mut back), ["2"]);
    publish(&hub, "a", 3).await;
    assert_eq!(values(&mut back), ["3"]);
    assert!(poll_once(back.next()).is_pending());
    let topic: Topic<String> = hub.topic("a").await.unwrap();
    assert!(!topic.is_finished());
    assert!(matches!(poll_once(back.next()), Poll::Pending));
}
