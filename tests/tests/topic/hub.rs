//! Topics by name, several under one id, runs that outlive their client, and who is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, Pending, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
};
use proptest::prelude::*;
use sse_runtime::{
    Event, EventId, Gap, GapReason, Hub, HubError, LastEventId, Presence, PresenceChange,
    RouterExt as _, Start, Stream, Subscription, Topic, sse_endpoint, testing,
};
use support::{BrokenOff, Client, serve, within};
use tokio::sync::mpsc;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, yield_now},
    time::advance,
};

fn hub(events: usize) -> Hub<String> {
    Hub::new(move || Topic::in_memory(events))
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets a stream of which there is nothing yet come to where it waits: the head goes first.
fn has_subscribed(events: &mut testing::Events) {
    for _ in 0..2 {
        assert!(poll_once(events.next()).is_pending());
    }
}

/// What there is to read without waiting, with the ids.
fn read(updates: &mut Subscription<String>) -> Vec<Result<(String, String), Gap>> {
    let mut read = Vec::new();
    while let Poll::Ready(Some(seen)) = poll_once(updates.recv()) {
        read.push(seen.map(|update| ((*update).clone(), update.id().to_string())));
    }
    read
}

fn values(updates: &mut Subscription<String>) -> Vec<String> {
    let read = read(updates).into_iter();
    read.map(|seen| seen.unwrap().0).collect()
}

fn publish(hub: &Hub<String>, name: &str, value: &dyn std::fmt::Display) {
    let topic = hub.topic(name).unwrap();
    topic.publish_now(&value.to_string()).unwrap();
}

fn id(text: impl Into<String>) -> EventId {
    EventId::new(text.into()).unwrap()
}

// ---------------------------------------------------------------------------------------------------------------------
// Several under one id
// ---------------------------------------------------------------------------------------------------------------------

/// Every name has an event of its own in every round.
fn round(hub: &Hub<String>, names: &[&str], number: u32) {
    for name in names {
        publish(hub, name, &format_args!("{name} {number}"));
    }
}

#[test]
fn whoever_comes_back_with_any_id_gets_the_rest_of_each() {
    let names = ["a", "b c", "ü&=~done", "", "x/y%41+", "m1:"];
    let hub = hub(100);
    let mut updates = hub.subscribe(names, Start::Now).unwrap();
    for number in 1..=3 {
        round(&hub, &names, number);
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
        // In any order of the names, which are a set.
        let again = names.iter().rev().chain(&names[..1]);
        let mut back = hub.subscribe(again, id(at)).unwrap();
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

#[test]
fn names_come_and_go() {
    let hub = hub(100);
    let mut updates = hub.subscribe(["a", "b"], Start::Now).unwrap();
    round(&hub, &["a", "b", "c"], 1);
    assert_eq!(values(&mut updates).len(), 2);
    let at = updates.position();
    round(&hub, &["a", "b", "c"], 2);
    let mut back = hub.subscribe(["b", "c"], at).unwrap();
    // Of `b` what was missed, of `c`, which is new, what comes from now on.
    assert_eq!(values(&mut back), ["b 2"]);
    round(&hub, &["a", "b", "c"], 3);
    let mut rest = values(&mut back);
    rest.sort();
    assert_eq!(rest, ["b 3", "c 3"]);
}

#[test]
fn the_position_before_anything_was_read_is_one_too() {
    let hub = hub(100);
    let updates = hub.subscribe(["a", "b"], Start::Now).unwrap();
    round(&hub, &["a", "b"], 1);
    let mut back = hub.subscribe(["a", "b"], updates.position()).unwrap();
    assert_eq!(values(&mut back).len(), 2);
}

/// However many of the names an id says nothing of, it is told in one piece, in front of all else: whoever is cut off
/// behind a first gap would come back with an id that hides the others.
#[test]
fn an_id_that_is_not_known_is_one_gap() {
    let names = ["a", "b", "c"];
    let hub = hub(2);
    for number in 1..=3 {
        round(&hub, &names, number);
    }
    let position = hub.subscribe(names, Start::Now).unwrap().position();
    let position = position.to_string();
    let foreign = position.replace("b=", "b=zzzzzzzzzzz");
    let foreign: String = {
        // The epoch of `b` is another, and the length is the same.
        let (before, after) = position.split_once("b=").unwrap();
        format!("{before}b=zzzzzzzzzzzz{}", &after[12..])
            .chars()
            .take(foreign.len())
            .collect()
    };
    let future = position.replace("-3", "-4");
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
        let mut back = hub.subscribe(names, id(sent.clone())).unwrap();
        let mut seen = read(&mut back).into_iter();
        let gap = seen.next().unwrap().unwrap_err();
        assert_eq!((gap.reason(), gap.missed()), (reason, missed), "{sent}");
        let behind: Vec<_> = seen.map(|seen| seen.unwrap().0).collect();
        assert_eq!(behind.len(), rest, "{sent}: {behind:?}");
        // Whoever comes back with the gap's id has been told.
        let mut again = hub.subscribe(names, gap.position().clone()).unwrap();
        assert_eq!(values(&mut again).len(), rest, "{sent}");
    }
}

/// What is found out by reading is told topic by topic: until then the id says where each was left.
#[test]
fn what_is_too_old_is_told_for_each() {
    let names = ["a", "b", "c"];
    let hub = hub(2);
    for number in 1..=3 {
        round(&hub, &names, number);
    }
    let position = hub.subscribe(names, Start::Now).unwrap().position();
    let mut at = position.to_string().replace("-3", "-0");
    // Cut off behind whatever was seen, again and again.
    let (mut missed, mut seen) = (0, Vec::new());
    loop {
        let mut back = hub.subscribe(names, id(at)).unwrap();
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

#[test]
fn a_hundred_names_are_an_id_and_too_many_are_not() {
    let names: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let hub = hub(10);
    let mut updates = hub.subscribe(&names, Start::Now).unwrap();
    for name in &names {
        publish(&hub, name, &name);
    }
    let seen = read(&mut updates);
    assert_eq!(seen.len(), 100);
    let (_, half) = seen[49].as_ref().unwrap();
    assert!(half.len() < 4_000);
    let mut back = hub.subscribe(&names, id(half.clone())).unwrap();
    assert_eq!(values(&mut back).len(), 50);

    let many = (0..200).map(|number| format!("n{number}"));
    let refused = hub.subscribe(many, Start::Now).unwrap_err();
    assert_eq!(refused, HubError::TooManyNames);
    let long = hub.subscribe(["x".repeat(4_000)], Start::Now).unwrap_err();
    assert_eq!(long, HubError::TooManyNames);
    // Nothing was made for those.
    assert_eq!(hub.len(), 100);
}

#[test]
fn several_end_when_all_have_ended() {
    let hub = hub(10);
    let mut updates = hub.subscribe(["a", "b"], Start::Now).unwrap();
    round(&hub, &["a", "b"], 1);
    hub.topic("a").unwrap().finish();
    assert_eq!(values(&mut updates).len(), 2);
    assert!(poll_once(updates.recv()).is_pending());
    hub.topic("b").unwrap().finish();
    assert!(matches!(poll_once(updates.recv()), Poll::Ready(None)));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whoever reads several names, and comes back at any time with what it saw last, sees each event of each once, and
    /// is told how many it missed of all of them.
    #[test]
    fn several_under_one_id_are_exact(
        events in 1..20_usize,
        steps in prop::collection::vec((0..4_usize, 0..30_usize, 0..40_usize, any::<bool>()), 1..60),
    ) {
        let names = ["a", "ü", " c&", ""];
        let hub = hub(events);
        let mut updates = hub.subscribe(names, Start::Now).unwrap();
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
                        assert!(number > *last, "{number} of {name:?} behind {last}");
                        *last = number;
                        seen += 1;
                    }
                    Poll::Ready(Some(Err(gap))) => missed += gap.missed().unwrap(),
                    Poll::Ready(None) => panic!("nothing has ended"),
                    Poll::Pending => break,
                }
            }
            (seen, missed)
        };
        for (name, publishes, reads, reconnects) in steps {
            let count = counts.get_mut(names[name]).unwrap();
            for _ in 0..publishes {
                *count += 1;
                published += 1;
                publish(&hub, names[name], &format_args!("{} {count}", names[name]));
            }
            take(&mut updates, reads);
            if reconnects {
                updates = hub.subscribe(names, id(updates.position().to_string())).unwrap();
            }
        }
        let (seen, missed) = take(&mut updates, usize::MAX);
        assert_eq!(seen + missed, published);
    }
}

/// The names as they stand in the path, with commas between them.
#[sse_endpoint("/several/{names}")]
async fn several(
    Path(names): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let updates = hub.subscribe(names.split(','), last)?;
    yield_all!(updates);
}

#[tokio::test]
async fn a_composite_id_travels() {
    let hub = hub(10);
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    let path = "/several/b%20c,%C3%BC%26%3D,%25";
    let mut events = client.get(path).await.events();
    has_subscribed(&mut events);
    let names = ["b c", "ü&=", "%"];
    round(&hub, &names, 1);
    round(&hub, &names, 2);
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
    let refused = client.get(&format!("/several/{too_many}")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_learns_where_a_new_name_starts() {
    let hub = hub(10);
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    publish(&hub, "a", &"a 1");
    let of_a = hub.subscribe(["a"], Start::Now).unwrap().position();
    // `b` is new to it, and nothing is sent before it loses the connection.
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
    events.leave().await;
    publish(&hub, "b", &"b 1");
    let mut back = client
        .get("/several/a,b")
        .last_event_id(&held)
        .await
        .events();
    let missed = within("what was missed", back.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(missed.data, "\"b 1\"", "{held}");

    // It is told once, and not at all if its id holds every name.
    let mut events = client
        .get("/several/b,a")
        .last_event_id(&missed.id)
        .await
        .events();
    has_subscribed(&mut events);
    assert_eq!(events.last_event_id(), "");
}

#[tokio::test]
async fn done_of_several_stops_if_every_epoch_is_the_same() {
    let hub = hub(10);
    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    round(&hub, &["a", "b"], 1);
    let position = hub.subscribe(["a", "b"], Start::Now).unwrap().position();
    hub.topic("a").unwrap().finish();
    hub.topic("b").unwrap().finish();
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
    // It has not seen the end of `c`.
    let mut events = client
        .get("/several/a,b,c")
        .last_event_id(&done)
        .await
        .events();
    has_subscribed(&mut events);
    publish(&hub, "c", &"c 1");
    assert_eq!(events.expect_event().await.data, "\"c 1\"");
}

// ---------------------------------------------------------------------------------------------------------------------
// Topics by name
// ---------------------------------------------------------------------------------------------------------------------

const IDLE: Duration = Duration::from_secs(60);

/// Lets the hub's own task run, as often as it wants to.
async fn pass(time: Duration) {
    let step = Duration::from_secs(1);
    let mut left = time;
    while !left.is_zero() {
        advance(step.min(left)).await;
        left = left.saturating_sub(step);
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_made_on_first_use_and_dropped_when_nobody_uses_it() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let hub: Hub<String> = Hub::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Topic::in_memory(10)
    })
    .idle(IDLE);
    assert_eq!((hub.len(), made.load(Ordering::Relaxed)), (0, 0));
    assert!(hub.get("a").is_none());
    let held = hub.topic("a").unwrap();
    publish(&hub, "a", &1);
    publish(&hub, "b", &1);
    let mut updates = hub.subscribe(["c"], Start::Now).unwrap();
    assert_eq!((hub.len(), made.load(Ordering::Relaxed)), (3, 3));
    let of_b = hub.get("b").unwrap().subscribe(Start::First).position();

    pass(IDLE * 3).await;
    // Nobody has `b`; one has a handle of `a`, and one reads `c`.
    assert_eq!(hub.len(), 2);
    assert!(hub.get("b").is_none());
    publish(&hub, "c", &1);
    assert_eq!(values(&mut updates), ["1"]);

    // It begins anew, and says so.
    publish(&hub, "b", &2);
    let mut back = hub.get("b").unwrap().subscribe(of_b);
    let gap = read(&mut back).remove(0).unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);

    drop((held, updates, back));
    // Asked for now and then it stays.
    for _ in 0..10 {
        pass(IDLE / 2).await;
        assert!(hub.get("a").is_some());
    }
    assert_eq!(hub.len(), 1);
    pass(IDLE * 3).await;
    assert_eq!(hub.len(), 0);
}

#[sse_endpoint("/rooms/{room}")]
async fn room(
    Path(room): Path<String>,
    State(rooms): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let room = rooms.topic(&room)?;
    yield_all!(room.subscribe(last));
}

#[tokio::test(start_paused = true)]
async fn names_at_random_cost_no_memory() {
    let hub = hub(10).idle(IDLE).max_topics(3);
    let client = testing::Client::new(Router::new().sse(room).with_state(hub.clone()));
    let mut inside = Vec::new();
    for name in ["/rooms/a", "/rooms/b", "/rooms/c"] {
        let mut events = client.get(name).await.events();
        has_subscribed(&mut events);
        inside.push(events);
    }
    for _ in 0..2 {
        let refused = client.get("/rooms/d").await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((5..15).contains(&after));
        assert_eq!(hub.len(), 3);
        pass(IDLE * 2).await;
    }
    // Those that are there are not refused.
    let answer = client.get("/rooms/a").await;
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    inside.pop();
    pass(IDLE * 2).await;
    // Whoever asks for more than there is room for has made none.
    let full = hub.subscribe(["a", "d", "e"], Start::Now).unwrap_err();
    assert_eq!(full, HubError::Full);
    assert_eq!(hub.len(), 2);
    assert_eq!(client.get("/rooms/d").await.status(), StatusCode::OK);
}

/// Those who are refused, and those who leave, are not looked for among all.
#[tokio::test(start_paused = true)]
async fn a_full_hub_drops_the_longest_unused_topic() {
    let hub = hub(10).idle(IDLE).max_topics(4);
    let run = async |name: &str| {
        let say =
            |topic: Topic<String>| async move { topic.publish(&String::new()).await.map(drop) };
        let mut updates = hub.produce(name, Start::First, say).unwrap();
        while within("the end", updates.next()).await.is_some() {}
        advance(Duration::from_secs(1)).await;
    };
    publish(&hub, "room", &1);
    advance(Duration::from_secs(1)).await;
    for name in ["a", "b", "c"] {
        run(name).await;
    }
    // Somebody reads `a` again, so `b` is unused longest; the room is not finished.
    assert!(hub.get("a").is_some());
    advance(Duration::from_secs(1)).await;
    let names = |hub: &Hub<String>| BTreeSet::from_iter(hub.names());
    run("d").await;
    assert_eq!(
        names(&hub),
        BTreeSet::from(["room", "c", "a", "d"].map(str::to_owned))
    );
    let e = hub.topic("e").unwrap();
    let f = hub.topic("f").unwrap();
    assert_eq!(
        names(&hub),
        BTreeSet::from(["room", "d", "e", "f"].map(str::to_owned))
    );
    let reader = hub.get("d").unwrap().subscribe(Start::First);
    // The last one that nobody uses.
    let g = hub.topic("g").unwrap();
    assert_eq!(
        names(&hub),
        BTreeSet::from(["d", "e", "f", "g"].map(str::to_owned))
    );
    for _ in 0..3 {
        assert_eq!(hub.topic("h").unwrap_err(), HubError::Full);
    }
    // Whoever asks for more than there is room for has made nobody leave.
    drop(reader);
    assert_eq!(
        hub.subscribe(["h", "i"], Start::Now).unwrap_err(),
        HubError::Full
    );
    assert!(hub.get("d").is_some());
    assert!(hub.topic("h").is_ok());
    assert!(hub.get("d").is_none());
    drop((e, f, g));
}

#[tokio::test(start_paused = true)]
async fn no_topic_leaves_a_hub_that_keeps_them_for_ever() {
    let hub = hub(10).idle(Duration::MAX).max_topics(1);
    publish(&hub, "a", &1);
    assert_eq!(hub.topic("b").unwrap_err(), HubError::Full);
    assert_eq!(hub.names(), ["a"]);
}

#[tokio::test]
async fn unread_runs_leave_when_the_hub_holds_too_much() {
    const EACH: usize = 100_000;
    let hub = hub(10).max_bytes(10 * EACH);
    let in_use = hub.topic("in use").unwrap();
    in_use.publish_now(&"x".repeat(EACH)).unwrap();
    for number in 0..100 {
        let say = move |topic: Topic<String>| async move {
            topic.publish(&"x".repeat(EACH)).await.map(drop)
        };
        let name = number.to_string();
        let mut updates = hub.produce(&name, Start::First, say).unwrap();
        while within("the end", updates.next()).await.is_some() {}
        // An event counts twice, as a value and as a frame.
        assert!(hub.held_bytes() < 13 * EACH, "{}", hub.held_bytes());
    }
    // The newest are there.
    assert!(hub.get("99").is_some() && hub.get("0").is_none());
    assert!(hub.get("in use").is_some());
    // What is in use stays, and nothing new is made meanwhile.
    for _ in 0..9 {
        in_use.publish_now(&"x".repeat(EACH)).unwrap();
    }
    assert_eq!(hub.topic("new").unwrap_err(), HubError::Full);
    assert!(hub.topic("in use").is_ok());
    drop(in_use);
    assert!(hub.topic("new").is_ok());
}

#[tokio::test]
async fn a_refusal_is_not_a_line_each() {
    use axum::response::IntoResponse as _;
    let log = support::log::Log::capture();
    for _ in 0..1_000 {
        assert_eq!(
            HubError::Full.into_response().status(),
            StatusCode::TOO_MANY_REQUESTS
        );
    }
    let lines = log.text().matches("topics were refused").count();
    assert!((1..10).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn a_name_is_no_place_to_store_something() {
    let hub = hub(10);
    let client = testing::Client::new(Router::new().sse(room).with_state(hub.clone()));
    let longest = "x".repeat(1024);
    let answer = client.get(&format!("/rooms/{longest}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = client.get(&format!("/rooms/{longest}x")).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let long = longest.clone() + "x";
    let run = hub.produce(&long, Start::First, async |_| ()).unwrap_err();
    assert_eq!(run, HubError::NameTooLong);
    let several = hub.subscribe(["a", &long], Start::Now).unwrap_err();
    assert_eq!(several, HubError::NameTooLong);
    assert_eq!(hub.names(), [longest]);
}

// ---------------------------------------------------------------------------------------------------------------------
// Runs
// ---------------------------------------------------------------------------------------------------------------------

#[derive(Clone)]
struct Answers {
    hub: Hub<String>,
    started: Arc<AtomicUsize>,
    /// A word for each permit.
    words: Arc<Semaphore>,
}

impl Answers {
    fn new() -> Self {
        Self {
            hub: hub(100).idle(IDLE),
            started: Arc::default(),
            words: Arc::new(Semaphore::new(0)),
        }
    }

    fn client(&self) -> testing::Client {
        testing::Client::new(Router::new().sse(answer).with_state(self.clone()))
    }
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum OutOfWords {
    Shown {
        code: &'static str,
        status: u16,
    },
    #[serde(serialize_with = "fails")]
    Broken,
}

fn fails<S: serde::Serializer>(_: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("as asked"))
}

/// Five words, unless its name is that of something that goes wrong.
#[sse_endpoint("/answers/{id}")]
async fn answer(
    Path(id): Path<String>,
    State(answers): State<Answers>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let Answers {
        hub,
        started,
        words,
    } = answers;
    let name = id.clone();
    let updates = hub.produce(&id, last, |topic| async move {
        started.fetch_add(1, Ordering::Relaxed);
        for number in 1..=5 {
            words.acquire().await.unwrap().forget();
            if number == 3 {
                match name.as_str() {
                    "panics" => panic!("as asked"),
                    "fails" => {
                        return Err(OutOfWords::Shown {
                            code: "out_of_words",
                            status: 503,
                        });
                    }
                    "fails-unseen" => return Err(OutOfWords::Broken),
                    _ => {}
                }
            }
            topic.publish(&format!("word {number}")).await.unwrap();
        }
        Ok(())
    })?;
    yield_all!(updates);
}

async fn words(events: &mut testing::Events) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(event) = within("a word", events.next()).await.unwrap() {
        if event.event == "done" {
            assert!(event.id.ends_with("~done"), "{event:?}");
            within("the end", events.expect_end()).await;
            break;
        }
        words.push(event.json());
    }
    words
}

fn five() -> Vec<String> {
    (1..=5).map(|number| format!("word {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_at_once_a_run_is_started_once() {
    let answers = Answers::new();
    let client = answers.client();
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let request = client.get("/answers/1");
        readers.spawn(async move { words(&mut request.await.events()).await });
    }
    answers.words.add_permits(5);
    for words in readers.join_all().await {
        assert_eq!(words, five());
    }
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_its_client_leaves_and_is_joined_from_the_id() {
    let answers = Answers::new();
    let client = answers.client();
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(2);
    assert_eq!(events.expect_event().await.json::<String>(), "word 1");
    let second = events.expect_event().await;
    assert_eq!(second.json::<String>(), "word 2");
    let last = second.id;
    events.leave().await;
    answers.words.add_permits(3);
    // Nobody is there to read them.
    pass(Duration::from_secs(1)).await;
    assert!(answers.hub.get("1").unwrap().is_finished());
    let mut back = client.get("/answers/1").last_event_id(&last).await.events();
    assert_eq!(words(&mut back).await, five()[2..]);
    let done = back.last_event_id().to_owned();
    let stopped = client.get("/answers/1").last_event_id(&done).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);

    // For the idle time any tab gets all of it, and then the name is free.
    pass(IDLE / 2).await;
    assert_eq!(
        words(&mut client.get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0);
    answers.words.add_permits(5);
    assert_eq!(
        words(&mut client.get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 2);
}

/// However its client has got the id: a resume never starts a run, which may cost money, and the
/// second answer would be glued to the first.
#[tokio::test(start_paused = true)]
async fn a_client_with_an_id_never_starts_a_run() {
    let answers = Answers::new();
    let client = answers.client();
    answers.words.add_permits(100);
    let mut events = client.get("/answers/1").await.events();
    events.expect_event().await;
    let last = events.expect_event().await.id;
    events.leave().await;
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0, "the run is gone");

    let foreign = "0123456789ab-7";
    for (sent, reason) in [
        (last.as_str(), "other_epoch"),
        (foreign, "other_epoch"),
        ("7", "unknown"),
        ("☃", "unknown"),
        ("0123456789ab-7~done", "other_epoch"),
    ] {
        let mut back = client.get("/answers/1").last_event_id(sent).await.events();
        let gap = back.expect_event().await;
        let told = format!(r#"{{"reason":"{reason}","missed":null}}"#);
        assert_eq!((gap.event.as_str(), gap.data), ("gap", told), "{sent}");
        let done = back.expect_event().await;
        assert_eq!(done.event, "done");
        back.expect_end().await;
        // It returns by itself, and is stopped.
        let again = client.get("/answers/1").last_event_id(&done.id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT, "{sent}");
        // By the query parameter as well it starts nothing.
        let path = format!("/answers/1?lastEventId={last}");
        assert_eq!(
            client.get(&path).await.events().expect_event().await.event,
            "gap"
        );
    }
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
    assert_eq!(answers.hub.len(), 0, "nothing is kept for it");
    // Without an id the name is free.
    let mut events = client.get("/answers/1").await.events();
    assert_eq!(words(&mut events).await, five());
    assert_eq!(answers.started.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_name_runs_again_if_the_caller_says_so() {
    let hub = hub(10);
    let say = |text: &'static str| {
        move |topic: Topic<String>| async move { topic.publish(&text.to_owned()).await.map(drop) }
    };
    let all = async |mut updates: Subscription<String>| {
        let mut all = Vec::new();
        while let Some(update) = within("an update", updates.next()).await {
            all.push((*update).clone());
        }
        all
    };
    let first = hub.produce("a", Start::First, say("first")).unwrap();
    let position = first.position();
    assert_eq!(all(first).await, ["first"]);
    let replayed = hub.produce("a", Start::First, say("second")).unwrap();
    assert_eq!(all(replayed).await, ["first"]);
    // A client with an id of the run that has ended still resumes it.
    let resumed = hub
        .produce_again("a", position.clone(), say("never"))
        .unwrap();
    assert_eq!(all(resumed).await, ["first"]);

    let again = hub.produce_again("a", Start::First, say("second")).unwrap();
    assert_eq!(all(again).await, ["second"]);
    let mut old = hub.produce_again("a", position, say("never")).unwrap();
    let gap = within("a gap", old.recv()).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);

    // One that has not ended is joined.
    let waits = hub
        .produce_again("b", Start::First, |_| pending::<()>())
        .unwrap();
    let _joined = hub.produce_again("b", Start::First, say("never")).unwrap();
    assert_eq!(hub.get("b").unwrap().subscribers(), 2);
    drop(waits);
    hub.stop("b");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_is_not_idle() {
    let answers = Answers::new();
    let events = answers.client().get("/answers/1").await.events();
    let mut events = events;
    has_subscribed(&mut events);
    events.leave().await;
    pass(IDLE * 5).await;
    assert_eq!(answers.hub.len(), 1);
    answers.words.add_permits(5);
    assert_eq!(
        words(&mut answers.client().get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_readers_is_abandoned() {
    let after = Duration::from_secs(600);
    let mut answers = Answers::new();
    answers.hub = hub(100).idle(IDLE).abandon_after(after);
    let client = answers.client();
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(1);
    let first = events.expect_event().await;
    // As long as somebody reads it, it goes on.
    pass(after * 2).await;
    assert!(!answers.hub.get("1").unwrap().is_finished());
    events.leave().await;
    pass(after / 2).await;
    assert!(!answers.hub.get("1").unwrap().is_finished());
    let back = client.get("/answers/1").last_event_id(&first.id).await;
    back.events().leave().await;
    pass(after / 2 + Duration::from_secs(5)).await;
    assert!(
        !answers.hub.get("1").unwrap().is_finished(),
        "it was read meanwhile"
    );
    pass(after / 2).await;
    // It has not finished, so it does not look so.
    let mut back = client
        .get("/answers/1")
        .last_event_id(&first.id)
        .await
        .events();
    let (words, data, id) = words_and_error(&mut back).await;
    assert_eq!((words, data.as_str()), (vec![], WITHOUT_DETAILS));
    let stopped = client.get("/answers/1").last_event_id(&id).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0);
}

#[tokio::test]
async fn a_run_that_is_stopped_ends_its_readers() {
    let answers = Answers::new();
    let client = answers.client();
    assert!(!answers.hub.stop("1"), "there is none");
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(1);
    assert_eq!(events.expect_event().await.json::<String>(), "word 1");
    assert!(answers.hub.stop("1"));
    assert!(words(&mut events).await.is_empty());
    assert!(events.last_event_id().ends_with("~done"));
    assert!(!answers.hub.stop("1"), "it has ended");
    // It is not started again while it is kept.
    answers.words.add_permits(5);
    let mut again = client.get("/answers/1").await.events();
    assert_eq!(words(&mut again).await, ["word 1"]);
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

/// The words, then the error that the stream ends with, and its id.
async fn words_and_error(events: &mut testing::Events) -> (Vec<String>, String, String) {
    let mut words = Vec::new();
    loop {
        let event = within("an event", events.next()).await.unwrap();
        let event = event.expect("an error before the end");
        assert_ne!(event.event, "done", "{event:?}");
        if event.event == "error" {
            within("the end", events.expect_end()).await;
            return (words, event.data, event.id);
        }
        words.push(event.json());
    }
}

const WITHOUT_DETAILS: &str = r#"{"title":"Internal Server Error","status":500}"#;

#[tokio::test(start_paused = true)]
async fn every_reader_of_a_failed_run_gets_its_error() {
    for (name, error) in [
        ("fails", r#"{"code":"out_of_words","status":503}"#),
        ("panics", WITHOUT_DETAILS),
        ("fails-unseen", WITHOUT_DETAILS),
    ] {
        let answers = Answers::new();
        let client = answers.client();
        let path = format!("/answers/{name}");
        let mut events = client.get(&path).await.events();
        answers.words.add_permits(5);
        let first = events.expect_event().await;
        let (words, data, id) = words_and_error(&mut events).await;
        assert_eq!((words, data.as_str()), (five()[1..2].to_vec(), error));

        // One that joins later, and one that lost the connection before the end.
        pass(IDLE / 2).await;
        let mut again = client.get(&path).await.events();
        let all = words_and_error(&mut again).await;
        assert_eq!(all, (five()[..2].to_vec(), data.clone(), id.clone()));
        let mut back = client.get(&path).last_event_id(&first.id).await.events();
        let rest = words_and_error(&mut back).await;
        assert_eq!(rest, (five()[1..2].to_vec(), data, id.clone()));

        let stopped = client.get(&path).last_event_id(&id).await;
        assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
        assert_eq!(answers.started.load(Ordering::Relaxed), 1);
        pass(IDLE * 2).await;
        assert_eq!(answers.hub.len(), 0);
    }
}

/// Says itself that it is done, as a handler does that does not know how the run ended.
#[sse_endpoint("/says_done/{id}")]
async fn says_done(
    Path(id): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, StatusCode> {
    let answer = hub.get(&id).ok_or(StatusCode::NOT_FOUND)?;
    let mut updates = answer.subscribe(last.or(Start::First));
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
    yield_!(Event::done());
}

#[tokio::test]
async fn a_failed_run_is_never_done() {
    let hub = hub(10);
    let failing = async |_| Err("no".to_owned());
    let mut updates = hub.produce("a", Start::First, failing).unwrap();
    assert!(within("the end", updates.next()).await.is_none());
    assert!(updates.has_failed());
    let app = Router::new().sse(says_done).sse(several);
    let client = testing::Client::new(app.with_state(hub.clone()));
    hub.topic("b").unwrap().finish();
    for path in ["/says_done/a", "/several/a,b"] {
        let mut events = client.get(path).await.events();
        let (words, data, id) = words_and_error(&mut events).await;
        assert_eq!((words, data.as_str()), (vec![], "\"no\""));
        assert!(id.ends_with("~done"), "{id}");
    }
}

#[tokio::test]
async fn what_makes_a_run_may_use_the_hub_and_may_panic() {
    let hub = hub(10);
    let asked = hub.clone();
    let mut updates = hub
        .produce("a", Start::First, move |topic| {
            // Before the run itself: the hub is not held meanwhile.
            let other = asked.topic("b").unwrap();
            // Nor is there another run beside it, though it has not begun.
            let twice = |_| -> Pending<()> { panic!("started twice") };
            let again = asked.produce("a", Start::First, twice);
            assert!(again.is_ok());
            async move {
                other.publish(&"beside".to_owned()).await?;
                topic.publish(&"here".to_owned()).await.map(drop)
            }
        })
        .unwrap();
    let first = within("the run", updates.next()).await;
    assert_eq!(*first.unwrap(), "here");
    assert!(within("its end", updates.next()).await.is_none());
    let of_b = hub.get("b").unwrap();
    assert_eq!(values(&mut of_b.subscribe(Start::First)), ["beside"]);

    let panics = hub.clone();
    let panicked = tokio::spawn(async move {
        panics.produce("c", Start::First, |_| {
            if true {
                panic!("as asked");
            }
            pending::<()>()
        })
    });
    assert!(panicked.await.unwrap_err().is_panic());
    // Nobody waits for a run that never was.
    let mut updates = hub.topic("c").unwrap().subscribe(Start::First);
    assert!(within("the end", updates.next()).await.is_none());
}

// ---------------------------------------------------------------------------------------------------------------------
// Who is there
// ---------------------------------------------------------------------------------------------------------------------

fn changes(updates: &mut Subscription<PresenceChange<&'static str>>) -> Vec<String> {
    let mut changes = Vec::new();
    while let Poll::Ready(Some(change)) = poll_once(updates.next()) {
        changes.push(match &*change {
            PresenceChange::Joined { who, count } => format!("+{who} {count}"),
            PresenceChange::Left { who, count } => format!("-{who} {count}"),
            other => panic!("{other:?}"),
        });
    }
    changes
}

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn who_joins_and_who_leaves() {
    let presence = Presence::new(GRACE);
    let mut updates = presence.changes(Start::Now);
    let ada = presence.join("ada");
    let second_tab = presence.join("ada");
    let bob = presence.join("bob");
    assert_eq!(changes(&mut updates), ["+ada 1", "+bob 2"]);
    let mut present = presence.present();
    present.sort_unstable();
    assert_eq!((present, presence.count()), (vec!["ada", "bob"], 2));

    // One of two tabs.
    drop(ada);
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut updates), [""; 0]);
    // Back within the grace time, twice, and never gone.
    drop(second_tab);
    pass(GRACE * 2 / 3).await;
    let ada = presence.join("ada");
    drop(ada);
    pass(GRACE * 2 / 3).await;
    let ada = presence.join("ada");
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut updates), [""; 0]);
    assert_eq!(presence.count(), 2);

    drop(ada);
    pass(GRACE / 2).await;
    assert_eq!(presence.count(), 2);
    pass(GRACE).await;
    assert_eq!(changes(&mut updates), ["-ada 1"]);
    drop(bob);
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut updates), ["-bob 0"]);
    let _ada = presence.join("ada");
    assert_eq!(changes(&mut updates), ["+ada 1"]);
}

#[sse_endpoint("/present/{user}")]
async fn present(
    Path(user): Path<String>,
    State(presence): State<Presence<String>>,
    last: LastEventId,
) -> impl Stream<Item = PresenceChange<String>> {
    let changes = presence.changes(last);
    let _here = presence.join(user);
    yield_all!(changes);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_a_presence() {
    let presence = Presence::new(GRACE);
    let app = Router::new().sse(present).with_state(presence.clone());
    let client = testing::Client::new(app);
    let mut ada = client.get("/present/ada").await.events();
    let joined = ada.expect_event().await;
    assert_eq!(
        (joined.event.as_str(), joined.data.as_str()),
        ("joined", r#"{"who":"ada","count":1}"#)
    );
    let mut bob = client.get("/present/bob").await.events();
    assert_eq!(bob.expect_event().await.data, r#"{"who":"bob","count":2}"#);
    assert_eq!(ada.expect_event().await.data, r#"{"who":"bob","count":2}"#);
    // Bob reloads.
    let last = bob.last_event_id().to_owned();
    bob.leave().await;
    pass(GRACE / 2).await;
    let mut bob = client
        .get("/present/bob")
        .last_event_id(last)
        .await
        .events();
    has_subscribed(&mut bob);
    pass(GRACE * 2).await;
    assert!(poll_once(bob.next()).is_pending());
    bob.leave().await;
    pass(GRACE * 2).await;
    let left = ada.expect_event().await;
    assert_eq!(
        (left.event.as_str(), left.data.as_str()),
        ("left", r#"{"who":"bob","count":1}"#)
    );
}

#[test]
fn outside_of_a_runtime_there_is_no_grace() {
    let presence = Presence::new(GRACE);
    let mut updates = presence.changes(Start::Now);
    drop(presence.join("ada"));
    assert_eq!(changes(&mut updates), ["+ada 1", "-ada 0"]);
}

/// A value that looks at the hub when it is dropped.
#[derive(serde::Serialize)]
struct Asks {
    #[serde(skip)]
    hub: Hub<Asks>,
    #[serde(skip)]
    dropped: mpsc::UnboundedSender<usize>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        let _ = self.dropped.send(self.hub.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_with_a_topic_may_ask_the_hub() {
    let hub: Hub<Asks> = Hub::new(|| Topic::in_memory(4)).idle(Duration::from_secs(60));
    let (dropped, mut asked) = mpsc::unbounded_channel();
    let asks = Asks {
        hub: hub.clone(),
        dropped,
    };
    let topic = hub.topic("a").unwrap();
    topic.publish_event(Event::json(asks)).await.unwrap();
    drop(topic);
    // The clock is paused, and passes as soon as everybody waits.
    assert_eq!(asked.recv().await, Some(0));
}

#[tokio::test]
async fn a_run_that_is_stopped_before_it_begins_does_not() {
    let hub: Hub<String> = Hub::new(|| Topic::in_memory(4));
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let mut updates = hub
        .produce("a", Start::First, |_| {
            assert!(hub.stop("a"));
            async move { begun.send(()).unwrap() }
        })
        .unwrap();
    // The end is what tells that it is gone.
    assert!(within("the end", updates.next()).await.is_none());
    assert!(has_begun.try_recv().is_err());
}

#[test]
fn whoever_is_there_leaves_with_the_runtime() {
    let presence: Presence<&str> = Presence::new(Duration::from_secs(3600));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    // One in its grace time, and one whose guard outlives the runtime.
    let stays = first.block_on(async {
        drop(presence.join("gone"));
        presence.join("stays")
    });
    assert_eq!(presence.count(), 2);
    drop(first);
    assert_eq!(presence.present(), ["stays"]);
    drop(stays);
    assert_eq!(presence.count(), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Failed and stopped runs
// ---------------------------------------------------------------------------------------------------------------------

/// Publishes half an answer and fails.
async fn half(topic: Topic<String>) -> Result<(), String> {
    topic.publish(&"half".to_owned()).await.unwrap();
    Err("upstream".to_owned())
}

/// Writes an end marker of its own, and then waits as a handler does that knows nothing of failures.
#[sse_endpoint("/own_marker", method = POST)]
async fn own_marker(
    State(hub): State<Hub<String>>,
) -> Result<impl Stream<Item = String>, HubError> {
    let mut run = hub.produce_again("post", Start::First, half)?;
    while let Some(word) = run.next().await {
        yield_!(word);
    }
    yield_!(Event::text("[DONE]"));
    pending::<()>().await;
}

/// The same, read with an `EventSource`.
#[sse_endpoint("/own_event/{how}")]
async fn own_event(
    Path(how): Path<String>,
    State(hub): State<Hub<String>>,
) -> impl Stream<Item = String> {
    let Ok(mut run) = hub.produce_again("get", Start::First, half) else {
        return;
    };
    let mut words = Vec::new();
    while let Some(word) = run.next().await {
        words.push(word);
    }
    match &*how {
        "event" => yield_!(Event::text("all").event("end")),
        "all" => yield_all!(tokio_stream::iter(words)),
        _ => yield_!(Event::comment("bye")),
    }
    pending::<()>().await;
}

/// Has an error of its own for the run that failed.
#[sse_endpoint("/own_error")]
async fn own_error(State(hub): State<Hub<String>>) -> impl Stream<Item = Result<String, String>> {
    let run = hub.produce_again("error", Start::First, half);
    let mut run = run.map_err(|error| error.to_string())?;
    while let Some(word) = run.next().await {
        yield_!(word);
    }
    Err("my own".to_owned())?;
}

#[tokio::test]
async fn a_failed_run_is_followed_by_nothing() {
    let app = Router::new().sse(own_marker).sse(own_event).sse(own_error);
    let addr = serve(app.with_state(hub(10))).await;
    let mut client = Client::post(addr, "/own_marker", 0, b"").await;
    client.head().await;
    let half = within("a word", client.expect_chunk()).await;
    assert!(half.ends_with("data: \"half\"\n\n"), "{half:?}");
    let end = within("the end", client.chunk()).await;
    assert_eq!(end, Err(BrokenOff));

    for how in ["event", "all", "comment"] {
        let mut client = Client::get(addr, &format!("/own_event/{how}")).await;
        client.head().await;
        let error = within("the error", client.expect_chunk()).await;
        assert!(error.starts_with("event: error\nid: "), "{how}: {error:?}");
        assert!(
            error.ends_with("data: \"upstream\"\n\n"),
            "{how}: {error:?}"
        );
        assert_eq!(within("the end", client.chunk()).await, Ok(None), "{how}");
    }

    let mut client = Client::get(addr, "/own_error").await;
    client.head().await;
    let mut text = String::new();
    while !text.contains("\"my own\"") {
        text.push_str(&within("the error", client.expect_chunk()).await);
    }
    assert!(
        text.contains("\"half\"") && !text.contains("upstream"),
        "{text}"
    );
    assert_eq!(within("the end", client.chunk()).await, Ok(None));
}

#[tokio::test]
async fn several_fail_while_others_live() {
    let hub = hub(10);
    let mut run = hub.produce("f", Start::First, half).unwrap();
    while within("a word", run.next()).await.is_some() {}
    publish(&hub, "live", &"live 1");
    let mut updates = hub.subscribe(["f", "live"], Start::First).unwrap();
    let mut words = BTreeSet::new();
    while let Some(update) = within("a word", updates.next()).await {
        words.insert((*update).clone());
    }
    assert!(updates.has_failed());
    assert!(words.contains("half"), "{words:?}");

    let client = testing::Client::new(Router::new().sse(several).with_state(hub.clone()));
    let path = "/several/f,live";
    let at = hub.subscribe(["f", "live"], Start::Now).unwrap().position();
    let mut events = client.get(path).last_event_id(at).await.events();
    let (_, data, id) = words_and_error(&mut events).await;
    assert_eq!(data, "\"upstream\"");
    // It is stopped, whatever the other goes on with.
    publish(&hub, "live", &"live 2");
    let stopped = client.get(path).last_event_id(&id).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
}

/// Runs as the last message of a conversation does.
#[sse_endpoint("/resumed/{id}")]
async fn resumed(
    Path(id): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let run = hub.produce(&id, last, |topic| async move {
        topic.publish(&"started".to_owned()).await.map(drop)
    })?;
    yield_all!(run);
}

#[tokio::test]
async fn a_name_without_a_run_is_a_run_that_is_gone() {
    let hub = hub(10);
    let client = testing::Client::new(Router::new().sse(resumed).with_state(hub.clone()));
    let _held = hub.topic("held").unwrap();
    let _read = hub.subscribe(["read", "held"], Start::Now).unwrap();
    for path in ["/resumed/held", "/resumed/read", "/resumed/gone"] {
        for sent in ["0123456789ab-7", "nonsense", "0123456789ab-7~done"] {
            let mut back = client.get(path).last_event_id(sent).await.events();
            let gap = within("a gap", back.expect_event()).await;
            assert_eq!(gap.event, "gap", "{path} {sent}");
            let done = within("the end", back.expect_event()).await;
            assert_eq!(done.event, "done", "{path} {sent}");
            within("the end", back.expect_end()).await;
            let again = client.get(path).last_event_id(&done.id).await;
            assert_eq!(again.status(), StatusCode::NO_CONTENT, "{path} {sent}");
        }
    }
    let request = client.get("/resumed/two").header("last-event-id", "");
    let mut back = request.header("last-event-id", "AAAA-3").await.events();
    assert_eq!(within("a gap", back.expect_event()).await.event, "gap");
    // A client without an id starts it where it is only read so far.
    let mut first = client.get("/resumed/held").await.events();
    assert_eq!(first.expect_event().await.data, "\"started\"");
}

/// Reads a run that somebody else stops, and writes an end marker of its own.
#[sse_endpoint("/read_stopped", method = POST)]
async fn read_stopped(
    State(hub): State<Hub<String>>,
) -> Result<impl Stream<Item = String>, HubError> {
    let run = hub.produce("s", Start::First, |topic| async move {
        topic.publish(&"half".to_owned()).await.unwrap();
        pending::<()>().await;
    })?;
    yield_all!(run);
    yield_!(Event::text("[DONE]"));
}

#[tokio::test]
async fn a_stopped_run_is_a_cut_for_a_post() {
    let hub = hub(10);
    let app = Router::new().sse(read_stopped).with_state(hub.clone());
    let addr = serve(app).await;
    for when in ["while it is read", "before"] {
        let mut client = Client::post(addr, "/read_stopped", 0, b"").await;
        client.head().await;
        within("a word", client.expect_chunk()).await;
        hub.stop("s");
        let end = within("the end", client.chunk()).await;
        assert_eq!(end, Err(BrokenOff), "{when}");
    }
}
