//! A client that reconnects with an ID receives the events after that ID, preceded by a gap if any
//! of those events were lost.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{Event, LastEventId, Start, Stream, Topic, sse_endpoint, testing};
use support::{SseRouterExt as _, Store, serve};
use test_case::test_case;
use tokio::sync::Mutex;

use super::{
    Pair, all, epoch, four_of_ten, frames, gap, number_frame, numbers, reconnect, thousands,
    thousands_by_hand,
};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn gap_is_sent_for_any_last_event_id(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let addr = serve(Router::new().sse(numbers).with_state(topic.clone())).await;
    let sent = |number: usize| ids[number].clone().into_bytes();
    let epoch = epoch(&topic);
    // Returns an id that the topic never sent.
    let invalid = |number: &str| format!("{epoch}-{number}").into_bytes();
    let long = |len| vec![b'x'; len];
    // Each case lists the ID that the client sends and the gap that the client must receive. Every
    // event that the topic still holds follows the gap.
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (sent(0), "too_old", "6"),
        (sent(3), "too_old", "3"),
        (sent(5), "too_old", "1"),
        (invalid("11"), "unknown", "null"),
        (invalid("18446744073709551615"), "unknown", "null"),
        (invalid("18446744073709551616"), "unknown", "null"),
        (invalid("007"), "unknown", "null"),
        (invalid("+7"), "unknown", "null"),
        (invalid("-7"), "unknown", "null"),
        (invalid(""), "unknown", "null"),
        (invalid("7 8"), "unknown", "null"),
        (b"0123456789ab-0".to_vec(), "other_epoch", "null"),
        (b"0123456789ab-99".to_vec(), "other_epoch", "null"),
        (b"7".to_vec(), "unknown", "null"),
        (b"-".to_vec(), "unknown", "null"),
        (b"%".to_vec(), "unknown", "null"),
        (b"m1:a=0123456789ab-7".to_vec(), "unknown", "null"),
        ("☃".into(), "unknown", "null"),
        (b"\xff\xfe".to_vec(), "unknown", "null"),
        (long(4_097), "unknown", "null"),
        (long(20_000), "unknown", "null"),
    ];
    for (id, reason, missed) in cases {
        for in_query in [false, true] {
            let name = String::from_utf8_lossy(&id[..id.len().min(40)]).into_owned();
            let mut client = reconnect(addr, "/numbers", &id, in_query).await;
            let mut got = frames(&client.expect_chunk().await);
            let told = gap(reason, missed, &ids[6]);
            assert_eq!(got.remove(0), told, "{name:?}");
            while got.len() < 4 {
                got.extend(frames(&client.expect_chunk().await));
            }
            let held: Vec<_> = (7..=10)
                .zip(&ids[7..])
                .map(|(number, id)| number_frame(id, number))
                .collect();
            assert_eq!(got, held, "{name:?}");
        }
    }
    // A client that reconnects with the gap's ID receives the remaining events without another gap.
    for (last, first) in [(6, 7), (7, 8), (9, 10)] {
        let mut client = reconnect(addr, "/numbers", &sent(last), false).await;
        let got = frames(&client.expect_chunk().await);
        assert_eq!(got[0], number_frame(&ids[last + 1], first));
    }
    // A client that already has event 10, the newest, receives only the next event.
    let mut client = reconnect(addr, "/numbers", &sent(10), true).await;
    let next = topic.publish(&11).await.unwrap();
    assert_eq!(
        client.expect_chunk().await,
        format!("{}\n\n", number_frame(next, 11))
    );
}

/// The ID in the header is longer than any valid ID. The ID in the URL is as long as the server
/// allows.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn huge_id_results_in_a_gap(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let addr = serve(Router::new().sse(numbers).with_state(topic)).await;
    for (len, in_query) in [(30_000, false), (20_000, true)] {
        let mut client = reconnect(addr, "/numbers", &vec![b'x'; len], in_query).await;
        let got = frames(&client.expect_chunk().await);
        assert_eq!(got[0], gap("unknown", "null", &ids[6]));
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn gap_passes_a_filter_and_comes_first(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let app = Router::new().sse(thousands).sse(thousands_by_hand);
    let addr = serve(app.with_state(topic.clone())).await;
    for path in ["/thousands", "/thousands_by_hand"] {
        let mut client = reconnect(addr, path, ids[2].as_bytes(), false).await;
        let got = frames(&client.expect_chunk().await);
        // No event passes the filter, but the gap is still sent.
        assert_eq!(got, [gap("too_old", "4", &ids[6])]);
    }
}

#[derive(Clone)]
struct Total {
    changes: Topic<u64>,
    /// The sum of all published numbers.
    sum: Arc<Mutex<u64>>,
}

#[sse_endpoint("/total")]
async fn total(State(total): State<Total>) -> impl Stream<Item = u64> {
    let updates = total.changes.subscribe(Start::Now);
    let sum = *total.sum.lock().await;
    yield_!(Event::json(sum).event("sum").id(updates.position()));
    yield_all!(updates);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn snapshot_and_later_updates_are_complete(store: Store) {
    let total_of = Total {
        changes: store.topic(Topic::builder()).await,
        sum: Arc::default(),
    };
    let client = testing::Client::new(Router::new().sse(total).with_state(total_of.clone()));
    let publish = async |number: u64| {
        // Make both changes under the lock so that a snapshot contains either both changes or
        // neither.
        let mut sum = total_of.sum.lock().await;
        *sum += number;
        total_of.changes.publish(&number).await.unwrap()
    };
    for number in 1..=10 {
        publish(number).await;
    }
    let mut events = client.get("/total").await.events();
    let snapshot = events.expect_event().await;
    assert_eq!(
        (snapshot.event.as_str(), snapshot.data.as_str()),
        ("sum", "55")
    );
    let id = publish(11).await;
    let change = events.expect_event().await;
    assert_eq!((change.data, change.id), ("11".to_owned(), id.to_string()));
    assert_eq!(store.number(&snapshot.id), 10);
}

/// Waits for an event before starting the response.
#[sse_endpoint("/once_there")]
async fn once_there(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    let mut updates = topic.subscribe(last);
    let Some(first) = updates.next().await else {
        return;
    };
    yield_!(first);
    yield_all!(updates);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn gap_before_response_is_sent_without_events(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(16)).await;
    let position = topic.subscribe(Start::Now).position();
    topic.finish().await.unwrap();
    let app = Router::new().sse(once_there).with_state(topic);
    let client = testing::Client::new(app);
    let nothing = client.get("/once_there").last_event_id(&position).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    let foreign = client.get("/once_there").last_event_id("7").await;
    assert_eq!(foreign.status(), StatusCode::OK);
    let told = gap("unknown", "null", &position);
    assert_eq!(
        foreign.text().await,
        format!("{told}\n\nevent: done\nid: {position}~done\ndata: null\n\n")
    );
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn test_client_resumes_where_it_disconnected(store: Store) {
    let (topic, _) = four_of_ten(&store).await;
    let client = testing::Client::new(Router::new().sse(all).with_state(topic.clone()));
    let first = topic.subscribe(Start::First).position();
    let mut events = client.get("/all").last_event_id(&first).await.events();
    // All four events have arrived, but the test reads only the first one.
    assert_eq!(events.expect_event().await.json::<u64>(), 7);
    let seen = events.last_event_id().to_owned();
    let mut events = client.get("/all").last_event_id(&seen).await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 8);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn lagging_reader_is_disconnected_if_others_end(store: Store) {
    #[sse_endpoint("/lags", end = "stop")]
    async fn lags(State(pair): State<Pair>) -> impl Stream<Item = u64> {
        let mut slow = pair.goes_on.subscribe(Start::Now);
        let mut ends = pair.ends.subscribe(Start::Now);
        for number in 0..9 {
            let _ = pair.goes_on.publish(&number).await;
        }
        while slow.next().await.is_some() {}
        while ends.next().await.is_some() {}
        yield_!(7);
    }

    let pair_of = Pair {
        ends: store.topic(Topic::builder().keep(4)).await,
        goes_on: store.topic(Topic::builder().keep(2).disconnect()).await,
    };
    pair_of.ends.finish().await.unwrap();
    let client = testing::Client::new(Router::new().sse(lags).with_state(pair_of));
    let text = client.get("/lags").await.text().await;
    assert!(
        text.ends_with("event: close\ndata: {\"reason\":\"lagged\"}\n\n"),
        "{text:?}"
    );
}
