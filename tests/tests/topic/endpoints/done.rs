//! Tests the `done` event and its ID. The ID stops clients from reconnecting.

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{
    Event, LastEventId, Start, Stream, Topic, event::LastEventIdError, sse_endpoint, testing,
    topic::PublishError,
};
use support::{Client, Generators, SseRouterExt as _, Store, log::Log, serve, within};
use test_case::test_case;
use tokio::sync::Semaphore;

use super::{Pair, all, epoch, four_of_ten, gap, has_subscribed, numbers, pair, reconnect};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn finished_topic_is_replayed_then_sends_done(store: Store) {
    for path in ["/numbers", "/all"] {
        let topic: Topic<u64> = store.topic(Topic::builder().keep(16)).await;
        let app = Router::new().sse(numbers).sse(all);
        let client = testing::Client::new(app.with_state(topic.clone()));
        let mut waits = client.get(path).await.events();
        has_subscribed(&mut waits);
        let first = topic.publish(&1).await.unwrap();
        let second = topic.publish(&2).await.unwrap();
        topic.finish().await.unwrap();
        let refused = topic.publish(&3).await;
        assert!(matches!(refused, Err(PublishError::Finished)));
        for id in [&first, &second] {
            assert_eq!(waits.expect_event().await.id, id.to_string());
        }
        let done = waits.expect_event().await;
        assert_eq!(done.event, "done");
        waits.expect_end().await;
        let done = done.id;
        assert_eq!(done, format!("{second}~done"));

        // A client that lost its connection receives the events it missed, followed by `done`.
        let back = client.get(path).last_event_id(&first).await;
        let all = back.text().await;
        assert_eq!(
            all,
            format!("id: {second}\ndata: 2\n\nevent: done\nid: {done}\ndata: null\n\n")
        );

        // A client that has received `done` gets a 204 and therefore stops reconnecting.
        let stopped = client.get(path).last_event_id(&done).await;
        assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    }
}

/// Reads a topic in a handler that can also respond with an error status.
#[sse_endpoint("/checked")]
async fn checked(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    tokio::task::yield_now().await;
    yield_all!(topic.subscribe(last));
}

/// Counts the handler's runs and sends the handler's own IDs.
#[sse_endpoint("/counted", end = "stop")]
async fn counted(
    State(runs): State<Generators>,
    LastEventId(last): LastEventId<u64>,
) -> impl Stream<Item = String> {
    let _run = runs.enter();
    yield_!(Event::json(format!("{last:?}")).id(7));
}

async fn ask(addr: SocketAddr, path: &str, id: &str) -> Client {
    let mut client = Client::connect(addr).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n");
    client.send(request.as_bytes()).await;
    client
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn done_stops_only_clients_of_the_same_topic(store: Store) {
    let log = Log::capture_debug();
    let (topic, ids) = four_of_ten(&store).await;
    let epoch = epoch(&topic);
    let app = Router::new().sse(numbers).sse(all).sse(checked);
    let addr = serve(app.with_state(topic.clone())).await;
    for is_finished in [false, true] {
        if is_finished {
            topic.finish().await.unwrap();
        }
        for path in ["/numbers", "/all", "/checked"] {
            for (sent, reason) in [
                ("0123456789ab-7~done".to_owned(), "other_epoch"),
                ("of-another-job~done".to_owned(), "unknown"),
                ("7~done".to_owned(), "unknown"),
                ("~done".to_owned(), "unknown"),
                (format!("{epoch}-11~done"), "unknown"),
            ] {
                let mut client = ask(addr, path, &sent).await;
                assert_eq!(
                    client.head().await.status_line,
                    "HTTP/1.1 200 OK",
                    "{path} {sent}"
                );
                let told = gap(reason, "null", &ids[6]);
                let mut got = String::new();
                while !got.contains("data: 10\n") {
                    got.push_str(&client.expect_chunk().await);
                }
                assert!(got.starts_with(&told), "{path} {sent}: {got}");
            }
            // This client has received everything, including `done`.
            let mut client = ask(addr, path, &format!("{}~done", ids[10])).await;
            let head = client.head().await;
            assert_eq!(head.status_line, "HTTP/1.1 204 No Content", "{path}");
        }
    }
    let text = log.text();
    for id in [
        format!("{}~done", ids[10]),
        "0123456789ab-7~done".to_owned(),
    ] {
        assert!(text.contains("DEBUG") && text.contains(&id), "{text}");
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn done_in_the_query_is_left_to_the_handler(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    topic.finish().await.unwrap();
    let runs = Generators::new();
    let app = Router::new().sse(all).with_state(topic);
    let app = app.merge(Router::new().sse(counted).with_state(runs.clone()));
    let addr = serve(app).await;
    let mut client = reconnect(addr, "/all", format!("{}~done", ids[10]).as_bytes(), true).await;
    let done = format!("event: done\nid: {}~done\ndata: null\n\n", ids[10]);
    assert_eq!(client.expect_chunk().await, done);
    assert_eq!(client.chunk().await, Ok(None));
    let mut client = reconnect(addr, "/all", b"0123456789ab-7~done", true).await;
    let told = gap("other_epoch", "null", &ids[6]);
    assert!(client.expect_chunk().await.starts_with(&told));

    let mut client = reconnect(addr, "/counted", b"7~done", true).await;
    let first = client.expect_chunk().await;
    assert!(first.contains("Done") && first.contains('7'), "{first}");
    // Only browsers set the header. This endpoint reads no topic, so the ID must have come from the
    // endpoint itself.
    for sent in ["7~done", "0123456789ab-7~done"] {
        let mut client = ask(addr, "/counted", sent).await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
    }
    assert_eq!(runs.count().started, 1);
}

/// Extracts the ID and then waits without reading a topic.
#[sse_endpoint("/waits", keep_alive = "1s")]
async fn waits(_last: LastEventId) -> impl Stream<Item = u64> {
    pending::<()>().await;
    yield_!(1);
}

/// Like `waits`, but busy-loops.
#[sse_endpoint("/spins")]
async fn spins(_last: LastEventId) -> impl Stream<Item = u64> {
    loop {
        tokio::task::consume_budget().await;
        if false {
            yield_!(1);
        }
    }
}

/// Like `waits`, but starts the response first.
#[sse_endpoint("/waits_begun", keep_alive = "1s")]
async fn waits_begun(_last: LastEventId) -> Result<impl Stream<Item = u64>, StatusCode> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if true {
        pending::<()>().await;
        yield_!(1);
    }
}

/// Resumes after an ID that the handler sent earlier. The test sends the last of the handler's IDs,
/// so no events are left to send.
#[sse_endpoint("/resumes", end = "stop")]
async fn resumes(LastEventId(last): LastEventId) -> Result<impl Stream<Item = u64>, StatusCode> {
    let from = match last {
        Err(LastEventIdError::Done { last, .. }) => last.parse().unwrap_or(0),
        _ => 0,
    };
    for number in from + 1..=3_u64 {
        yield_!(Event::json(number).id(number));
    }
}

/// Uses up the task's budget before subscribing.
#[sse_endpoint("/busy")]
async fn busy(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let free = Semaphore::new(1);
    for _ in 0..1_000 {
        drop(free.acquire().await);
    }
    yield_all!(topic.subscribe(last));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn done_stops_clients_of_streams_without_topics(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let app = Router::new()
        .sse(waits)
        .sse(spins)
        .sse(waits_begun)
        .sse(resumes);
    let addr = serve(app.sse(busy).with_state(topic)).await;
    for (path, id) in [
        ("/waits", "made-up~done"),
        ("/spins", "made-up~done"),
        ("/waits_begun", "made-up~done"),
        ("/resumes", "3~done"),
    ] {
        let mut client = ask(addr, path, id).await;
        let head = within("the head", client.head()).await;
        assert_eq!(head.status_line, "HTTP/1.1 204 No Content", "{path}");
    }
    let mut client = ask(addr, "/busy", "0123456789ab-7~done").await;
    let text = within("the events", client.read_to("data: 10\n")).await;
    let told = gap("other_epoch", "null", &ids[6]);
    assert!(text.contains(&told), "{text}");
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn done_names_the_position_if_nothing_was_sent(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(4)).await;
    let start = topic.subscribe(Start::Now).position();
    topic.finish().await.unwrap();
    let addr = serve(Router::new().sse(all).with_state(topic)).await;
    let mut client = Client::get(addr, "/all").await;
    client.head().await;
    let done = format!("event: done\nid: {start}~done\ndata: null\n\n");
    assert_eq!(client.expect_chunk().await, done);
    let mut client = ask(addr, "/all", &format!("{start}~done")).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
}

#[derive(Clone)]
struct Two {
    ends: Topic<u64>,
    goes_on: Topic<u64>,
}

/// Reads all of one topic and then part of another.
#[sse_endpoint("/two")]
async fn two(State(two): State<Two>) -> impl Stream<Item = u64> {
    yield_all!(two.ends.subscribe(Start::First));
    let mut updates = two.goes_on.subscribe(Start::First);
    while let Some(update) = updates.next().await {
        if *update == 0 {
            return;
        }
        yield_!(update);
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn end_of_one_topic_does_not_end_a_stream_of_two(store: Store) {
    let two_of = Two {
        ends: store.topic(Topic::builder().keep(4)).await,
        goes_on: store.topic(Topic::builder().keep(4)).await,
    };
    let client = testing::Client::new(Router::new().sse(two).with_state(two_of.clone()));
    two_of.ends.publish(&1).await.unwrap();
    two_of.ends.finish().await.unwrap();
    let mut events = client.get("/two").await.events();
    assert_eq!(events.expect_event().await.data, "1");
    two_of.goes_on.publish(&2).await.unwrap();
    assert_eq!(events.expect_event().await.data, "2");
    two_of.goes_on.publish(&0).await.unwrap();
    events.expect_end().await;
    let last = events.last_event_id();
    assert!(
        !last.ends_with("~done"),
        "{last} would stop a client that should reconnect"
    );
}

/// Yields the updates of only one topic. The other topic serves as a signal.
#[sse_endpoint("/signal")]
async fn signal(State(pair): State<Pair>) -> impl Stream<Item = u64> {
    let mut signal = pair.ends.subscribe(Start::Now);
    let mut goes_on = pair.goes_on.subscribe(Start::First);
    if let Some(update) = goes_on.next().await {
        yield_!(update);
    }
    while signal.recv().await.is_some() {}
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn stream_sends_no_done_while_a_topic_is_open(store: Store) {
    for path in ["/pair", "/signal"] {
        let pair_of = Pair {
            ends: store.topic(Topic::builder().keep(4)).await,
            goes_on: store.topic(Topic::builder().keep(4)).await,
        };
        for number in 1..=2 {
            pair_of.goes_on.publish(&number).await.unwrap();
        }
        pair_of.ends.finish().await.unwrap();
        let app = Router::new().sse(pair).sse(signal).with_state(pair_of);
        let client = testing::Client::new(app);
        let text = client.get(path).await.text().await;
        assert!(!text.contains("~done"), "{path}: {text:?}");
    }
}

/// The ID of the initial position must not be sent after the ID that stops the client from
/// reconnecting.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn done_is_the_last_id_of_a_stream(store: Store) {
    #[sse_endpoint("/ends-at-once", end = "stop", flush = "ready", retry = "3s")]
    async fn ends_at_once(
        State(topic): State<Topic<u64>>,
        last: LastEventId,
    ) -> impl Stream<Item = u64> {
        let _updates = topic.subscribe(last);
        yield_!(1);
    }
    let app = Router::new().sse(ends_at_once);
    let topic = store.topic(Topic::builder().keep(4)).await;
    let addr = serve(app.with_state(topic)).await;
    let mut client = Client::get(addr, "/ends-at-once").await;
    client.head().await;
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        text.push_str(&chunk);
    }
    assert!(
        text.ends_with("event: done\nid: ~done\ndata: null\n\n"),
        "{text}"
    );
}
