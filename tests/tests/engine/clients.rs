//! Clients of a topic on a simulated engine.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{
    EventId, LastEventId, Start, Stream, Topic, sse_endpoint,
    testing::Client,
    topic::{Cursor, GapReason, Key, Subscription, engine::Node},
};
use support::SseRouterExt as _;
use test_case::test_case;
use tokio::{
    task::{JoinSet, yield_now},
    time::Instant,
};

use super::server::{Outcome, Server, TOPIC};

async fn open(server: &Server) -> (Node, Topic<u64>) {
    let node = Node::new(server.engine(0));
    let topic = Topic::open(&node, TOPIC).await.unwrap();
    (node, topic)
}

/// Publishes a value and delivers it.
async fn publish(server: &Server, topic: &Topic<u64>, value: u64) -> EventId {
    let id = topic.publish(&value).await.unwrap();
    server.deliver(0);
    id
}

/// Reads the available values, or the reason of a gap.
fn read(updates: &mut Subscription<u64>) -> Vec<Result<u64, GapReason>> {
    let mut read = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(seen)) = pin!(updates.recv()).poll(&mut cx) {
        read.push(seen.map(|update| *update).map_err(|gap| gap.reason()));
    }
    read
}

/// The engine is read once, however many clients there are.
#[tokio::test]
async fn thousand_reconnecting_clients_cause_one_read() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    let first = publish(&server, &topic, 1).await;
    for round in 0..3 {
        let mut clients: Vec<_> = (0..1_000).map(|_| topic.subscribe(first.clone())).collect();
        publish(&server, &topic, 2 + round).await;
        let expected: Vec<_> = (2..=2 + round).map(Ok).collect();
        for updates in &mut clients {
            assert_eq!(read(updates), expected);
        }
    }
    assert_eq!(server.reads(0), 1);
}

/// The confirmation names the record that is stored, whose value may differ.
#[tokio::test]
async fn retried_key_does_not_change_the_stored_event() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    let key = Key::from(7_u128);
    server.set_cut(0, true);
    server.append_with(key, 1);
    topic.publish_with_key(key, &2).await.unwrap();
    server.reconnected(0);
    let mut updates = topic.subscribe(Start::First);
    assert_eq!(*updates.next().await.unwrap(), 1);
}

/// Clients from a node that is ahead share one repair, and wait for it.
#[tokio::test]
async fn thousand_clients_that_are_ahead_share_a_repair() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    publish(&server, &topic, 1).await;
    server.set_cut(0, true);
    let ahead = server.append(2);
    let last = server.append(3);
    let mut clients: Vec<_> = (0..1_000).map(|_| topic.subscribe(ahead.clone())).collect();
    for updates in &mut clients {
        assert_eq!(*updates.next().await.unwrap(), 3);
        assert_eq!(updates.position().to_string(), last.to_string());
    }
    // The second read was asked for while the first was in progress.
    assert!(server.reads(0) <= 3, "{} reads", server.reads(0));
}

/// The engine has lost an event and stored another one under its number. The client was connected
/// to a node that has already noticed the loss, so it must not receive a gap from this node.
#[tokio::test]
async fn client_may_know_of_a_loss_before_the_node_does() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    publish(&server, &topic, 1).await;
    let lost = publish(&server, &topic, 2).await;
    server.set_cut(0, true);
    server.lose(1);
    let stored = server.append(3);
    server.append(4);
    let mut updates = topic.subscribe(stored);
    assert_eq!(*updates.recv().await.unwrap().unwrap(), 4);
    let mut updates = topic.subscribe(lost);
    let gap = updates.recv().await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    assert_eq!(read(&mut updates), [Ok(1), Ok(3), Ok(4)]);
}

/// The engine has lost events, and the log has to be read from its start. Clients that want only the
/// newest event after a gap must not receive the old events while they are being read.
#[test_case(true; "the topic")]
#[test_case(false; "every event that the ring holds")]
#[tokio::test]
async fn refilled_events_before_the_position_are_skipped(forgets: bool) {
    for delay in 0..20 {
        let server = Server::new(1);
        let node = Node::new(server.engine(0));
        let builder = Topic::<u64>::builder().keep(4);
        let topic = builder.open(&node, TOPIC).await.unwrap();
        for value in 1..=20 {
            publish(&server, &topic, value).await;
        }
        let cursor = |cursor: Cursor| cursor.after_gap(Start::Latest(1));
        let mut live = topic.subscribe(cursor(Start::Now.into()));
        let last = live.position();
        server.set_cut(0, true);
        let (reason, newest) = if forgets {
            server.forget();
            for value in 101..=110 {
                server.append(value);
            }
            (GapReason::OtherEpoch, 110)
        } else {
            server.lose(6);
            (GapReason::RolledBack, 14)
        };
        server.state().delays = (1, 1);
        server.reconnected(0);
        // The repair takes several turns. Each delay lets the client return at another one.
        for _ in 0..delay {
            yield_now().await;
        }
        let mut returning = topic.subscribe(cursor(last.into()));
        for updates in [&mut live, &mut returning] {
            let gap = updates.recv().await.unwrap().unwrap_err();
            assert_eq!(gap.reason(), reason, "after {delay} turns");
            let update = updates.recv().await.unwrap().unwrap();
            assert_eq!(*update, newest, "after {delay} turns");
            assert_eq!(read(updates), [], "after {delay} turns");
        }
    }
}

/// The engine has lost two events. The publisher of the second one repeats it, and it is stored under
/// the same number as before, but another event precedes it.
#[tokio::test]
async fn repeated_event_does_not_hide_a_lost_one() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    publish(&server, &topic, 1).await;
    publish(&server, &topic, 2).await;
    let key = Key::from(7_u128);
    let repeated = topic.publish_with_key(key, &3).await.unwrap();
    server.deliver(0);
    let mut live = topic.subscribe(repeated.clone());
    server.set_cut(0, true);
    server.lose(2);
    server.append(4);
    server.append_with(key, 3);
    server.append(5);
    server.reconnected(0);
    let gap = live.recv().await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    let mut returning = topic.subscribe(repeated);
    let gap = returning.recv().await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn retry_after_a_lost_reply_stores_one_event() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    for outcome in [Outcome::LostBefore, Outcome::LostAfter] {
        server.state().outcome = outcome;
        topic.publish_with_retry(&1).await.unwrap();
    }
    assert_eq!(server.state().log.records.len(), 2);
}

/// Made-up ids trigger at most about one read every 100 ms.
#[tokio::test(start_paused = true)]
async fn made_up_ids_do_not_overload_the_engine() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    let id = publish(&server, &topic, 1).await.to_string();
    let (place, mark) = id.split_once('.').unwrap();
    let (epoch, _) = place.split_once('-').unwrap();
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let (topic, id) = (topic.clone(), format!("{epoch}-{}.{mark}", client + 2));
        clients.spawn(async move {
            for _ in 0..20 {
                let mut updates = topic.subscribe(EventId::new(id.clone()).unwrap());
                let gap = updates.recv().await.unwrap().unwrap_err();
                assert_eq!(gap.reason(), GapReason::RolledBack);
            }
        });
    }
    clients.join_all().await;
    let intervals = usize::try_from(start.elapsed().as_millis() / 100).unwrap();
    // The topic was read once when it was opened.
    assert!(
        server.reads(0) <= intervals + 3,
        "{} reads",
        server.reads(0)
    );
    // The clients share the reads.
    assert!(server.reads(0) <= 45, "{} reads", server.reads(0));
}

#[tokio::test]
async fn ids_that_do_not_belong_to_the_log_are_gaps() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    let id = publish(&server, &topic, 1).await.to_string();
    let (place, mark) = id.split_once('.').unwrap();
    let (epoch, _) = place.split_once('-').unwrap();
    let wrong = if mark == "000000" { "000001" } else { "000000" };
    for (sent, reason) in [
        (place.to_owned(), GapReason::Unknown),
        (format!("{place}.{wrong}"), GapReason::RolledBack),
        (format!("{epoch}-0.{mark}"), GapReason::Unknown),
        (format!("{epoch}.7-1.{mark}"), GapReason::Unknown),
        (
            format!("{epoch}-{}.{mark}", u64::MAX),
            GapReason::RolledBack,
        ),
        (format!("0123456789ab-1.{mark}"), GapReason::OtherEpoch),
        ("7".to_owned(), GapReason::Unknown),
    ] {
        let mut updates = topic.subscribe(EventId::new(sent.clone()).unwrap());
        let gap = updates.recv().await.unwrap().unwrap_err();
        assert_eq!(gap.reason(), reason, "{sent}");
        assert_eq!(read(&mut updates), [Ok(1)], "{sent}");
    }
    // The position before the first event has no mark.
    let mut updates = topic.subscribe(EventId::new(format!("{epoch}-0")).unwrap());
    assert_eq!(read(&mut updates), [Ok(1)]);
}

#[sse_endpoint("/events")]
async fn events(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

#[tokio::test]
async fn end_of_an_earlier_epoch_does_not_end_a_topic() {
    let server = Server::new(1);
    let (_node, topic) = open(&server).await;
    publish(&server, &topic, 1).await;
    topic.finish().await.unwrap();
    server.deliver(0);
    let app = Router::new().sse(events).with_state(topic.clone());
    let client = Client::new(app);
    let mut stream = client.get("/events").await.events();
    assert_eq!(stream.expect_event().await.data, "1");
    let done = stream.expect_event().await;
    assert_eq!(done.event, "done");
    let again = client.get("/events").last_event_id(&done.id).await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT);

    // The engine loses the topic, and the topic begins again.
    server.forget();
    server.append(2);
    server.reconnected(0);
    while topic.is_finished() {
        yield_now().await;
    }
    let again = client.get("/events").last_event_id(&done.id).await;
    let mut stream = again.events();
    let gap = stream.expect_event().await;
    assert_eq!(
        (&*gap.event, &*gap.data),
        ("gap", r#"{"reason":"other_epoch","missed":null}"#)
    );
    assert_eq!(stream.expect_event().await.data, "2");
}
