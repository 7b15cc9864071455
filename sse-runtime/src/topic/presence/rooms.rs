//! [`PresenceRooms`]: one presence per room.

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use serde::Serialize;

use super::{Inner, Presence};

/// Tracks which members are present in each of many rooms, such as the channels of a chat. Each room
/// is a [`Presence`] of its own.
///
/// ```
/// use std::time::Duration;
/// use axum::extract::{Path, State};
/// use sse_runtime::{
///     LastEventId, Stream, sse_endpoint,
///     topic::{PresenceEvent, PresenceRooms},
/// };
///
/// #[sse_endpoint("/rooms/{room}/present/{user}")]
/// async fn present(
///     Path((room, user)): Path<(String, String)>,
///     State(rooms): State<PresenceRooms<String>>,
///     last: LastEventId,
/// ) -> impl Stream<Item = PresenceEvent<String>> {
///     let room = rooms.room(&room);
///     let changes = room.changes(last);
///     let _here = room.join(user);              // until the stream ends
///     yield_all!(changes);
/// }
///
/// let rooms: PresenceRooms<String> = PresenceRooms::new(Duration::from_secs(10));
/// ```
///
/// A room is in use while it has members (including the grace time after the last one has left),
/// while a subscription reads its changes, and while there is a handle ([`Presence`]) to it. After
/// that, it is dropped along with its changes, so an unused room takes up no memory. If the name is
/// used again, a new, empty room is created. A client that reconnects with an id from the old room
/// receives a [gap](crate::topic::Gap).
///
/// Rooms are held in memory and contain the members of this process. If several servers share an
/// engine, use [`Presence::open`] for each room. All clones refer to the same rooms.
pub struct PresenceRooms<K>(Arc<Rooms<K>>);

struct Rooms<K> {
    grace: Duration,
    state: Mutex<State<K>>,
}

struct State<K> {
    /// The rooms in use. A `BTreeMap` releases its memory when it shrinks.
    rooms: BTreeMap<Arc<str>, Room<K>>,
    /// The number of the next room.
    next: u64,
}

struct Room<K> {
    number: u64,
    presence: Weak<Inner<K>>,
}

/// A room's entry among the rooms. When it is dropped along with the room's presence, the room is
/// removed.
pub(super) struct RoomEntry<K> {
    rooms: Arc<Rooms<K>>,
    name: Arc<str>,
    /// Distinguishes the room from a later one with the same name. That room may have been created
    /// after the last handle to this one was dropped, but before this one was removed.
    number: u64,
}

impl<K> PresenceRooms<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Creates an empty collection of rooms. A member that returns to a room within the `grace` time
    /// is not considered to have left it.
    pub fn new(grace: Duration) -> Self {
        Self(Arc::new(Rooms {
            grace,
            state: Mutex::new(State {
                rooms: BTreeMap::new(),
                next: 0,
            }),
        }))
    }

    /// Returns the presence of the room with this name. Creates an empty room if it is not in use.
    pub fn room(&self, name: &str) -> Presence<K> {
        let mut state = self.0.state();
        let used = state.rooms.get(name);
        if let Some(presence) = used.and_then(|room| room.presence.upgrade()) {
            return Presence(presence);
        }
        let number = state.next;
        state.next += 1;
        let name: Arc<str> = name.into();
        let entry = RoomEntry {
            rooms: Arc::clone(&self.0),
            name: Arc::clone(&name),
            number,
        };
        let presence = Presence::in_memory(self.0.grace, Some(entry));
        let room = Room {
            number,
            presence: Arc::downgrade(&presence.0),
        };
        state.rooms.insert(name, room);
        presence
    }
}

impl<K> PresenceRooms<K> {
    /// Returns the names of the rooms in use, sorted by their bytes.
    pub fn names(&self) -> Vec<String> {
        let state = self.0.state();
        state.rooms.keys().map(|name| (**name).to_owned()).collect()
    }

    /// Returns the number of rooms in use.
    pub fn len(&self) -> usize {
        self.0.state().rooms.len()
    }

    /// Returns whether no room is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Rooms<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Drop for RoomEntry<K> {
    fn drop(&mut self) {
        let mut state = self.rooms.state();
        let room = state.rooms.get(&self.name);
        if room.is_some_and(|room| room.number == self.number) {
            state.rooms.remove(&self.name);
        }
    }
}

impl<K> Clone for PresenceRooms<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for PresenceRooms<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceRooms")
            .field("rooms", &self.len())
            .field("grace", &self.0.grace)
            .finish_non_exhaustive()
    }
}
