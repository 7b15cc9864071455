//! Presence by room: which members are in which room. A room exists only while it is in use.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Barrier},
    task::Poll,
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
};
use sse_runtime::{
    LastEventId, Start, Stream, event, sse_endpoint,
    topic::{Cursor, GapReason, PresenceEvent, PresenceRooms, Subscription},
};
use support::{Client, SseRouterExt as _, serve, within};
use tokio::task::yield_now;

use super::{pass, poll_once};

const GRACE: Duration = Duration::from_secs(10);

fn changes(updates: &mut Subscription<PresenceEvent<&'static str>>) -> Vec<String> {
    let mut changes = Vec::new();
    while let Poll::Ready(Some(change)) = poll_once(updates.next()) {
        let sign = match &*change {
            PresenceEvent::Joined { .. } => '+',
            PresenceEvent::Left { .. } => '-',
            other => panic!("{other:?}"),
        };
        changes.push(format!("{sign}{} {}", change.who(), change.count()));
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn each_room_has_its_own_members() {
    let rooms = PresenceRooms::new(GRACE);
    let mut in_kitchen = rooms.room("kitchen").changes(Start::Now);
    let mut in_attic = rooms.room("attic").changes(Start::Now);
    let ada = rooms.room("kitchen").join("ada");
    let bob = rooms.room("kitchen").join("bob");
    let upstairs = rooms.room("attic").join("ada");
    assert_eq!(changes(&mut in_kitchen), ["+ada 1", "+bob 2"]);
    assert_eq!(changes(&mut in_attic), ["+ada 1"]);
    assert_eq!(rooms.room("kitchen").count(), 2);
    assert_eq!(rooms.room("attic").members(), ["ada"]);
    assert_eq!(rooms.names(), ["attic", "kitchen"]);
    // Asking for a room does not make it exist.
    assert_eq!(rooms.room("cellar").count(), 0);
    assert_eq!(rooms.len(), 2);
    drop(ada);
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut in_kitchen), ["-ada 1"]);
    assert_eq!(changes(&mut in_attic), [""; 0]);
    drop((bob, upstairs));
    pass(GRACE * 2).await;
    assert_eq!(changes(&mut in_attic), ["-ada 0"]);
}

#[tokio::test(start_paused = true)]
async fn unused_room_is_dropped() {
    let rooms = PresenceRooms::new(GRACE);
    let ada = rooms.room("a").join("ada");
    let position = rooms.room("a").changes(Start::Now).position();
    drop(ada);
    pass(GRACE / 2).await;
    // Ada may still return.
    assert_eq!(rooms.room("a").members(), ["ada"]);
    let ada = rooms.room("a").join("ada");
    let mut back = rooms.room("a").changes(position.clone());
    assert_eq!(changes(&mut back), [""; 0]);
    drop((ada, back));
    pass(GRACE * 2).await;
    assert!(rooms.is_empty());
    // A reader keeps a room, because another member may join it.
    let mut waiting = rooms.room("a").changes(Start::Now);
    assert_eq!(rooms.names(), ["a"]);
    let _bob = rooms.room("a").join("bob");
    assert_eq!(changes(&mut waiting), ["+bob 1"]);
    // The new room does not know the old one's ids.
    let cursor = Cursor::from(position).after_gap(Start::Now);
    let mut late = rooms.room("a").changes(cursor);
    let gap = late.recv().await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);
    assert_eq!(changes(&mut late), [""; 0]);
}

#[test]
fn members_of_many_rooms_are_released() {
    let rooms = PresenceRooms::new(GRACE);
    let who = Arc::new("ada".to_owned());
    for number in 0..10_000 {
        let room = rooms.room(&number.to_string());
        let updates = room.changes(Start::First);
        drop(room.join(Arc::clone(&who)));
        drop(room);
        assert_eq!(rooms.len(), 1);
        drop(updates);
    }
    assert!(rooms.is_empty());
    assert_eq!(Arc::strong_count(&who), 1);
}

/// The last member may leave a room while another one joins it. The new member is in
/// the room that everyone else sees.
#[test]
fn member_never_joins_a_room_that_is_being_dropped() {
    const THREADS: usize = 4;
    let rooms = PresenceRooms::new(GRACE);
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for who in 0..THREADS {
            let (rooms, start) = (&rooms, &start);
            scope.spawn(move || {
                for round in 0..5_000 {
                    if round % 10 == 0 {
                        start.wait();
                    }
                    let here = rooms.room("a").join(who);
                    // Without a runtime, there is no grace time.
                    let members = rooms.room("a").members();
                    assert!(members.contains(&who), "{members:?} in round {round}");
                    assert_eq!(rooms.names(), ["a"]);
                    drop(here);
                }
            });
        }
    });
    assert!(rooms.is_empty());
}

#[sse_endpoint("/rooms/{room}/{user}")]
async fn present(
    Path((room, user)): Path<(String, String)>,
    State(rooms): State<PresenceRooms<String>>,
    last: LastEventId,
) -> impl Stream<Item = PresenceEvent<String>> {
    let room = rooms.room(&room);
    let changes = room.changes(last);
    let _here = room.join(user);
    drop(room);
    yield_all!(changes);
}

/// Decodes the event of a frame, as a client written in Rust does.
fn decode(frame: &str) -> PresenceEvent<String> {
    let field = |name: &str| {
        let mut lines = frame.lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap()
    };
    event::decode(field("event: "), field("data: ")).unwrap()
}

#[tokio::test]
async fn client_decodes_the_changes_of_its_room() {
    let rooms = PresenceRooms::new(Duration::ZERO);
    let addr = serve(Router::new().sse(present).with_state(rooms.clone())).await;
    let mut ada = Client::get(addr, "/rooms/a/ada").await;
    ada.head().await;
    let joined = decode(&ada.expect_chunk().await);
    assert_eq!((joined.who().as_str(), joined.count()), ("ada", 1));
    assert!(matches!(joined, PresenceEvent::Joined { .. }));
    // Another room.
    let mut eve = Client::get(addr, "/rooms/b/eve").await;
    eve.head().await;
    assert_eq!(decode(&eve.expect_chunk().await).count(), 1);
    let mut bob = Client::get(addr, "/rooms/a/bob").await;
    bob.head().await;
    assert_eq!(decode(&bob.expect_chunk().await).count(), 2);
    assert_eq!(decode(&ada.expect_chunk().await).who(), "bob");
    drop(bob);
    let left = within("bob to leave", ada.expect_chunk()).await;
    let left = decode(&left);
    assert!(matches!(left, PresenceEvent::Left { .. }), "{left:?}");
    assert_eq!((left.who().as_str(), left.count()), ("bob", 1));
    drop((ada, eve));
    within("the rooms to be dropped", async {
        while !rooms.is_empty() {
            yield_now().await;
        }
    })
    .await;
}

thread_local! {
    static ON_DROP: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A member whose destructor runs the code in `ON_DROP`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
struct Member(u8);

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(run) = ON_DROP.take() {
            run();
        }
    }
}

/// A room is no longer in use, but has not been removed yet, when another one with the same name is
/// created. The destructors of the members in the old room's changes run at that moment.
#[test]
fn new_room_outlives_the_removal_of_the_old_one() {
    let rooms: PresenceRooms<Member> = PresenceRooms::new(GRACE);
    let old = rooms.room("a");
    drop(old.join(Member(1)));
    let here = Rc::new(RefCell::new(None));
    let (joined, next) = (Rc::clone(&here), rooms.clone());
    ON_DROP.set(Some(Box::new(move || {
        *joined.borrow_mut() = Some(next.room("a").join(Member(2)));
    })));
    drop(old);
    assert!(here.borrow().is_some(), "the destructor has run");
    assert_eq!(rooms.names(), ["a"]);
    assert_eq!(rooms.room("a").members(), [Member(2)]);
    here.take();
    assert!(rooms.is_empty());
}
