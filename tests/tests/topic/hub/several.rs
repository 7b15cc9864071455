//! Tests subscriptions to several topics, whose positions are combined in one ID.

use std::{collections::BTreeMap, task::Poll};

use axum::{Router, http::StatusCode};
use proptest::prelude::*;
use sse_runtime::{
    Hub, Start, testing,
    topic::{GapReason, HubError, Subscription},
};
use support::{SseRouterExt as _, Store, publish_all, within};
use test_case::test_case;
use tokio::runtime::Builder;

use crate::check;

use super::{has_subscribed, hub, id, open_stored, poll_once, publish, read, several, values};

/// Publishes one event to each of the named topics.
async fn round(hub: &Hub<String>, names: &[&str], number: u32) {
    for name in names {
        publish(hub, name, format_args!("{name} {number}")).await;
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn any_id_resumes_each_topic(store: Store) {
    let names = ["a", "b c", "ü&=~done", "", "x/y%41+", "m1:"];
    let hub = hub(&store, 100).await;
    let mut updates = hub.subscribe(names, Start::Now).await.unwrap();
    for number in 1..=3 {
        round(&hub, &names, number).await;
    }
    let all = read(&mut updates);
    assert_eq!(all.len(), 18);
    let mut before = BTreeMap::from(names.map(|name| (name, 0)));
    for seen in all {
        let (value, at) = seen.unwrap();
        let (name, number) = value.rsplit_once(' ').unwrap();
        let number: u32 = number.parse().unwrap();
        let last = before.get_mut(name).unwrap();
        assert_eq!(number, *last + 1);
        *last = number;
        // The order of the names does not matter.
        let again = names.iter().rev().chain(&names[..1]);
        let mut back = hub.subscribe(again, id(at)).await.unwrap();
        let mut rest = values(&mut back);
        rest.sort();
        let mut expected: Vec<_> = before
            .iter()
            .flat_map(|(name, last)| (last + 1..=3).map(move |number| format!("{name} {number}")))
            .collect();
        expected.sort();
        assert_eq!(rest, expected);
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn names_can_be_added_and_removed(store: Store) {
    let hub = hub(&store, 100).await;
    let mut updates = hub.subscribe(["a", "b"], Start::Now).await.unwrap();
    round(&hub, &["a", "b", "c"], 1).await;
    assert_eq!(values(&mut updates).len(), 2);
    let at = updates.position();
    round(&hub, &["a", "b", "c"], 2).await;
    let mut back = hub.subscribe(["b", "c"], at).await.unwrap();
    // The client receives the event that it missed in the `b` topic. The `c` topic is new to the
    // client, so the client receives only later events from `c`.
    assert_eq!(values(&mut back), ["b 2"]);
    round(&hub, &["a", "b", "c"], 3).await;
    let mut rest = values(&mut back);
    rest.sort();
    assert_eq!(rest, ["b 3", "c 3"]);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn position_before_the_first_read_resumes(store: Store) {
    let hub = hub(&store, 100).await;
    let updates = hub.subscribe(["a", "b"], Start::Now).await.unwrap();
    round(&hub, &["a", "b"], 1).await;
    let mut back = hub.subscribe(["a", "b"], updates.position()).await.unwrap();
    assert_eq!(values(&mut back).len(), 2);
}

/// A client whose ID is invalid for several names receives a single gap before any events. With
/// several gaps, a client that is cut off after the first gap would reconnect with an ID that hides
/// the other gaps.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn unknown_id_is_one_gap(store: Store) {
    let names = ["a", "b", "c"];
    let hub = hub(&store, 2).await;
    let start = hub.subscribe(names, Start::Now).await.unwrap().position();
    for number in 1..=3 {
        round(&hub, &names, number).await;
    }
    let position = hub.subscribe(names, Start::Now).await.unwrap().position();
    let position = position.to_string();
    let foreign = position.replace("b=", "b=zzzzzzzzzzz");
    let foreign: String = {
        // Replace the epoch of `b` with a different epoch of the same length.
        let (before, after) = position.split_once("b=").unwrap();
        format!("{before}b=zzzzzzzzzzzz{}", &after[12..])
            .chars()
            .take(foreign.len())
            .collect()
    };
    let future = start.to_string().replace("-0", "-4");
    for (sent, reason, missed, rest) in [
        ("7".to_owned(), GapReason::Unknown, None, 6),
        ("m1:".to_owned() + "a", GapReason::Unknown, None, 2),
        ("m2:a=b".to_owned(), GapReason::Unknown, None, 6),
        (
            position["m1:".len()..].to_owned(),
            GapReason::Unknown,
            None,
            6,
        ),
        ("0123456789ab-7".to_owned(), GapReason::Unknown, None, 6),
        (foreign, GapReason::OtherEpoch, None, 2),
        (future, GapReason::Unknown, None, 6),
    ] {
        let mut back = hub.subscribe(names, id(sent.clone())).await.unwrap();
        let mut seen = read(&mut back).into_iter();
        let gap = seen.next().unwrap().unwrap_err();
        assert_eq!((gap.reason(), gap.missed()), (reason, missed), "{sent}");
        let behind: Vec<_> = seen.map(|seen| seen.unwrap().0).collect();
        assert_eq!(behind.len(), rest, "{sent}: {behind:?}");
        // A client that reconnects with the gap's ID receives no further gap.
        let mut again = hub.subscribe(names, gap.position().clone()).await.unwrap();
        assert_eq!(values(&mut again).len(), rest, "{sent}");
    }
}

/// Each topic that has dropped events reports a separate gap. Until a topic's gap has been sent,
/// the ID contains the client's last position in that topic.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn gap_is_sent_for_each_topic_if_too_old(store: Store) {
    let names = ["a", "b", "c"];
    let hub = hub(&store, 2).await;
    let start = hub.subscribe(names, Start::Now).await.unwrap().position();
    for number in 1..=3 {
        round(&hub, &names, number).await;
    }
    let mut at = start.to_string();
    // The client is cut off after each update.
    let (mut missed, mut seen) = (0, Vec::new());
    loop {
        let mut back = hub.subscribe(names, id(at)).await.unwrap();
        match poll_once(back.recv()) {
            Poll::Ready(Some(Ok(update))) => seen.push((*update).clone()),
            Poll::Ready(Some(Err(gap))) => {
                assert_eq!(gap.reason(), GapReason::TooOld);
                missed += gap.missed().unwrap();
            }
            _ => break,
        }
        at = back.position().to_string();
    }
    seen.sort();
    assert_eq!(seen, ["a 2", "a 3", "b 2", "b 3", "c 2", "c 3"]);
    assert_eq!(missed, 3);
}

/// The IDs of stored topics are longer, so fewer of them fit into a combined ID.
#[test_case(Store::Memory, 100; "memory")]
#[test_case(Store::log(), 80; "log")]
#[tokio::test]
async fn combined_id_has_room_for_many_names(store: Store, count: usize) {
    let names: Vec<_> = (0..count).map(|number| format!("n{number}")).collect();
    let hub = hub(&store, 10).await;
    let mut updates = hub.subscribe(&names, Start::Now).await.unwrap();
    for name in &names {
        publish(&hub, name, name).await;
    }
    let seen = read(&mut updates);
    assert_eq!(seen.len(), count);
    let (_, half) = seen[count / 2 - 1].as_ref().unwrap();
    assert!(half.len() < 4_000);
    let mut back = hub.subscribe(&names, id(half.clone())).await.unwrap();
    assert_eq!(values(&mut back).len(), count / 2);

    let many = (0..200).map(|number| format!("n{number}"));
    let rejected = hub.subscribe(many, Start::Now).await.unwrap_err();
    assert_eq!(rejected, HubError::TooManyNames);
    let long = hub
        .subscribe(["x".repeat(4_000)], Start::Now)
        .await
        .unwrap_err();
    assert_eq!(long, HubError::TooManyNames);
    // No topic was created for the rejected names.
    assert_eq!(hub.len(), count);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn subscription_ends_when_all_topics_have_ended(store: Store) {
    let hub = hub(&store, 10).await;
    let mut updates = hub.subscribe(["a", "b"], Start::Now).await.unwrap();
    round(&hub, &["a", "b"], 1).await;
    hub.topic("a").await.unwrap().finish().await.unwrap();
    assert_eq!(values(&mut updates).len(), 2);
    assert!(poll_once(updates.recv()).is_pending());
    hub.topic("b").await.unwrap().finish().await.unwrap();
    assert!(matches!(poll_once(updates.recv()), Poll::Ready(None)));
}

/// A client reads several topics and reconnects at arbitrary times with the last ID that it
/// received. Each event is either received exactly once or counted in a gap of the event's topic.
#[test_case(Store::Memory, 200; "memory")]
#[test_case(Store::log(), 20; "log")]
fn combined_id_accounts_for_each_event_once(store: Store, cases: u32) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let step = (0..4_usize, 0..30_usize, 0..40_usize, any::<bool>());
    let steps = prop::collection::vec(step, 1..60);
    check(&runtime, cases, &(1..20_usize, steps), async move |input| {
        account_for_each_event(&store, input.0, input.1).await;
    });
}

/// Applies steps, each of which publishes events to a topic, reads events, and may reconnect.
async fn account_for_each_event(
    store: &Store,
    events: usize,
    steps: Vec<(usize, usize, usize, bool)>,
) {
    let names = ["a", "ü", " c&", ""];
    let hub = hub(store, events).await;
    let mut updates = hub.subscribe(names, Start::Now).await.unwrap();
    let mut published = 0_u64;
    let (mut seen, mut missed) = (0_u64, 0_u64);
    let mut last = BTreeMap::from(names.map(|name| (name, 0_u64)));
    let mut counts = last.clone();
    let mut take = |updates: &mut Subscription<String>, times: usize| {
        for _ in 0..times {
            match poll_once(updates.recv()) {
                Poll::Ready(Some(Ok(update))) => {
                    let (name, number) = update.rsplit_once(' ').unwrap();
                    let number: u64 = number.parse().unwrap();
                    let last = last.get_mut(name).unwrap();
                    assert!(number > *last, "{number} of {name:?} after {last}");
                    *last = number;
                    seen += 1;
                }
                Poll::Ready(Some(Err(gap))) => missed += gap.missed().unwrap(),
                Poll::Ready(None) => panic!("no topic has ended"),
                Poll::Pending => break,
            }
        }
        (seen, missed)
    };
    for (name, publishes, reads, reconnects) in steps {
        let name = names[name];
        let count = counts.get_mut(name).unwrap();
        let texts = (0..publishes).map(|_| {
            *count += 1;
            published += 1;
            format!("{name} {count}")
        });
        publish_all(&hub.topic(name).await.unwrap(), texts).await;
        take(&mut updates, reads);
        if reconnects {
            let position = id(updates.position().to_string());
            updates = hub.subscribe(names, position).await.unwrap();
        }
    }
    let (seen, missed) = take(&mut updates, usize::MAX);
    assert_eq!(seen + missed, published);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn combined_id_survives_header_and_query(store: Store) {
    let hub = hub(&store, 10).await;
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    let path = "/several/b%20c,%C3%BC%26%3D,%25";
    let names = ["b c", "ü&=", "%"];
    open_stored(&store, &hub, &names).await;
    let mut events = client.get(path).await.events();
    has_subscribed(&mut events);
    round(&hub, &names, 1).await;
    round(&hub, &names, 2).await;
    let first = events.expect_event().await;
    let at = first.id;
    let escaped: String = at.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let in_query = format!("{path}?lastEventId={escaped}");
    for request in [client.get(path).last_event_id(&at), client.get(&in_query)] {
        let mut events = request.await.events();
        let mut all = vec![first.data.clone()];
        for _ in 0..5 {
            all.push(events.expect_event().await.data);
        }
        all.sort();
        let mut expected: Vec<_> = names
            .iter()
            .flat_map(|name| (1..=2).map(move |number| format!("\"{name} {number}\"")))
            .collect();
        expected.sort();
        assert_eq!(all, expected);
    }
    let too_many = (0..200)
        .map(|number| format!("n{number},"))
        .collect::<String>();
    let rejected = client.get(&format!("/several/{too_many}")).await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn client_receives_the_start_of_a_new_name(store: Store) {
    let hub = hub(&store, 10).await;
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    publish(&hub, "a", "a 1").await;
    let of_a = hub.subscribe(["a"], Start::Now).await.unwrap().position();
    // `b` is new to the client, and no event is sent before the client disconnects.
    open_stored(&store, &hub, &["b"]).await;
    let mut events = client
        .get("/several/a,b")
        .last_event_id(&of_a)
        .await
        .events();
    has_subscribed(&mut events);
    let held = events.last_event_id().to_owned();
    let held = if held.is_empty() {
        of_a.to_string()
    } else {
        held
    };
    events.disconnect().await;
    publish(&hub, "b", "b 1").await;
    let mut back = client
        .get("/several/a,b")
        .last_event_id(&held)
        .await
        .events();
    let missed = within("the missed event", back.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(missed.data, "\"b 1\"", "{held}");

    // The client's ID already contains every name, so no separate ID is sent.
    let mut events = client
        .get("/several/b,a")
        .last_event_id(&missed.id)
        .await
        .events();
    has_subscribed(&mut events);
    assert_eq!(events.last_event_id(), "");
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn combined_done_stops_clients_if_all_epochs_match(store: Store) {
    let hub = hub(&store, 10).await;
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    round(&hub, &["a", "b"], 1).await;
    let position = hub
        .subscribe(["a", "b"], Start::Now)
        .await
        .unwrap()
        .position();
    hub.topic("a").await.unwrap().finish().await.unwrap();
    hub.topic("b").await.unwrap().finish().await.unwrap();
    let done = format!("{position}~done");
    let stopped = client.get("/several/a,b").last_event_id(&done).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    let mut foreign = done.clone();
    let at = foreign.find("b=").unwrap() + 2;
    foreign.replace_range(at..at + 12, "zzzzzzzzzzzz");
    let mut events = client
        .get("/several/a,b")
        .last_event_id(&foreign)
        .await
        .events();
    let gap = events.expect_event().await;
    assert!(
        gap.event == "gap" && gap.data.contains("other_epoch"),
        "{gap:?}"
    );
    assert_eq!(events.expect_event().await.data, "\"b 1\"");
    // The client has received `done` for `a` and `b` but not for `c`.
    open_stored(&store, &hub, &["c"]).await;
    let mut events = client
        .get("/several/a,b,c")
        .last_event_id(&done)
        .await
        .events();
    has_subscribed(&mut events);
    publish(&hub, "c", "c 1").await;
    assert_eq!(events.expect_event().await.data, "\"c 1\"");
}
