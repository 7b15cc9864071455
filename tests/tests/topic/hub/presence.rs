//! Presence: which users are connected. Presence is held in memory, even if topics are stored.

use std::{task::Poll, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
};
use sse_runtime::{
    LastEventId, Start, Stream, sse_endpoint, testing,
    topic::{Presence, PresenceEvent, Subscription},
};
use support::SseRouterExt as _;

use super::{has_subscribed, pass, poll_once};

fn changes(updates: &mut Subscription<PresenceEvent<&'static str>>) -> Vec<String> {
    let mut changes = Vec::new();
    while let Poll::Ready(Some(change)) = poll_once(updates.next()) {
        changes.push(match &*change {
            PresenceEvent::Joined { who, count } => format!("+{who} {count}"),
            PresenceEvent::Left { who, count } => format!("-{who} {count}"),
            other => panic!("{other:?}"),
        });
    }
    changes
}

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn presence_reports_joins_and_leaves() {
    let presence = Presence::new(GRACE);
    let mut updates = presence.changes(Start::Now);
    let ada = presence.join("ada");
    let second_tab = presence.join("ada");
    let bob = presence.join("bob");
    assert_eq!(changes(&mut updates), ["+ada 1", "+bob 2"]);
    let mut present = presence.members();
    present.sort_unstable();
    assert_eq!((present, presence.count()), (vec!["ada", "bob"], 2));

    // Close one of Ada's two tabs.
    drop(ada);
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut updates), [""; 0]);
    // Ada disconnects twice and returns within the grace time each time, so she never leaves.
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
) -> impl Stream<Item = PresenceEvent<String>> {
    let changes = presence.changes(last);
    let _here = presence.join(user);
    yield_all!(changes);
}

#[tokio::test(start_paused = true)]
async fn stream_marks_its_user_as_present() {
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
    // Bob reloads the page.
    let last = bob.last_event_id().to_owned();
    bob.disconnect().await;
    pass(GRACE / 2).await;
    let mut bob = client
        .get("/present/bob")
        .last_event_id(last)
        .await
        .events();
    has_subscribed(&mut bob);
    pass(GRACE * 2).await;
    assert!(poll_once(bob.next()).is_pending());
    bob.disconnect().await;
    pass(GRACE * 2).await;
    let left = ada.expect_event().await;
    assert_eq!(
        (left.event.as_str(), left.data.as_str()),
        ("left", r#"{"who":"bob","count":1}"#)
    );
}

#[test]
fn leave_is_immediate_outside_a_runtime() {
    let presence = Presence::new(GRACE);
    let mut updates = presence.changes(Start::Now);
    drop(presence.join("ada"));
    assert_eq!(changes(&mut updates), ["+ada 1", "-ada 0"]);
}

#[test]
fn presence_in_grace_time_ends_with_the_runtime() {
    let presence: Presence<&str> = Presence::new(Duration::from_secs(3600));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    // One user is still within the grace time when the runtime is dropped. Another user's guard
    // outlives the runtime.
    let stays = first.block_on(async {
        drop(presence.join("gone"));
        presence.join("stays")
    });
    assert_eq!(presence.count(), 2);
    drop(first);
    assert_eq!(presence.members(), ["stays"]);
    drop(stays);
    assert_eq!(presence.count(), 0);
}
