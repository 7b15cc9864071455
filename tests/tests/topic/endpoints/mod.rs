//! Endpoints that read a topic, tested from the client's side.

mod after_gap;
mod cursor;
mod done;
mod publish;
mod resume;
mod views;
mod writes;

use std::{
    fmt::Write as _,
    future::Future,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::extract::State;
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint, testing};
use support::{Client, Store};

#[sse_endpoint("/numbers")]
async fn numbers(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut updates = topic.subscribe(last);
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
}

#[sse_endpoint("/all")]
async fn all(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last));
}

/// Returns a topic that still holds events 7 to 10, along with eleven ids: the position before event
/// 1, and the ids of events 1 to 10. The index of an id is therefore its number.
async fn four_of_ten(store: &Store) -> (Topic<u64>, Vec<String>) {
    let topic = store.topic(Topic::builder().keep(4)).await;
    let mut ids = vec![topic.subscribe(Start::Now).position().to_string()];
    for number in 1..=10_u64 {
        let id = topic.publish(&number).await.unwrap().to_string();
        assert_eq!(store.number(&id), number);
        ids.push(id);
    }
    (topic, ids)
}

fn epoch<T: Send + Sync + 'static>(topic: &Topic<T>) -> String {
    let position = topic.subscribe(Start::Now).position().to_string();
    position.split_once('-').unwrap().0.to_owned()
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future once and drops it. Returns whether the future was pending.
fn is_waiting<F: Future>(future: F) -> bool {
    poll_once(future).is_pending()
}

/// Polls a stream until its generator waits. The stream must not have sent any events. The first
/// poll processes only the head.
fn has_subscribed(events: &mut testing::Events) {
    for _ in 0..2 {
        assert!(is_waiting(events.next()), "there should be no event yet");
    }
}

/// Returns the frames of a chunk without the blank lines between them.
fn frames(chunk: &str) -> Vec<String> {
    let chunk = chunk.strip_suffix("\n\n").unwrap();
    chunk.split("\n\n").map(str::to_owned).collect()
}

fn gap(reason: &str, missed: &str, id: impl std::fmt::Display) -> String {
    format!("event: gap\nid: {id}\ndata: {{\"reason\":\"{reason}\",\"missed\":{missed}}}")
}

fn number_frame(id: impl std::fmt::Display, number: u64) -> String {
    format!("id: {id}\ndata: {number}")
}

/// Requests `path` and sends exactly the given bytes as the ID, either in the header or in the
/// query.
async fn reconnect(addr: SocketAddr, path: &str, id: &[u8], in_query: bool) -> Client {
    let mut client = Client::connect(addr).await;
    let request = if in_query {
        let mut query = String::new();
        for byte in id {
            write!(query, "%{byte:02x}").unwrap();
        }
        format!("GET {path}?lastEventId={query} HTTP/1.1\r\nhost: test\r\n\r\n").into_bytes()
    } else {
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: ");
        [head.as_bytes(), id, b"\r\n\r\n"].concat()
    };
    client.send(&request).await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    client
}

#[sse_endpoint("/thousands", keep_alive = "20ms")]
async fn thousands(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last).filter(|number| number % 1000 == 0));
}

/// Filters the updates in the handler.
#[sse_endpoint("/thousands_by_hand", keep_alive = "20ms", keep_alive_event = "ping")]
async fn thousands_by_hand(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> impl Stream<Item = u64> {
    let mut updates = topic.subscribe(last);
    while let Some(update) = updates.next().await {
        if *update % 1000 == 0 {
            yield_!(update);
        }
    }
}

/// Two topics, one of which ends before the other.
#[derive(Clone)]
struct Pair {
    ends: Topic<u64>,
    goes_on: Topic<u64>,
}

#[sse_endpoint("/pair")]
async fn pair(State(pair): State<Pair>) -> impl Stream<Item = u64> {
    let mut ends = pair.ends.subscribe(Start::First);
    let mut goes_on = pair.goes_on.subscribe(Start::First);
    loop {
        tokio::select! {
            biased;
            update = ends.next() => match update {
                Some(update) => yield_!(update),
                None => return,
            },
            Some(update) = goes_on.next() => yield_!(update),
        }
    }
}
