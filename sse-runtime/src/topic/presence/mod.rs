//! [`Presence`]: tracks which members are present.

mod error;
mod event;
mod everywhere;
mod guard;
mod outbox;
mod rooms;
mod shared;

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{runtime::Handle, time::timeout};

use self::{
    everywhere::Everywhere,
    outbox::Outbox,
    shared::{Store, Task},
};
use super::{
    Cursor, OpenError, Start, Subscription, Topic,
    backend::StartAt,
    builder::BYTES,
    engine::{Keep, MemberList, Node},
    lease::Keeping,
};
pub use error::PresenceError;
pub use event::PresenceEvent;
pub use guard::PresenceGuard;
pub use rooms::PresenceRooms;

/// Tracks which members are present, such as the users in a chat, and publishes an event to a topic
/// whenever a member joins or leaves.
///
/// ```
/// use std::time::Duration;
/// use axum::extract::{Path, State};
/// use sse_runtime::{LastEventId, Stream, sse_endpoint, topic::{Presence, PresenceEvent}};
///
/// #[sse_endpoint("/present/{user}")]
/// async fn present(
///     Path(user): Path<String>,
///     State(presence): State<Presence<String>>,
///     last: LastEventId,
/// ) -> impl Stream<Item = PresenceEvent<String>> {
///     let changes = presence.changes(last);
///     let _here = presence.join(user);          // until the stream ends
///     yield_all!(changes);                      // event: joined, data: {"who":"ada","count":1}
/// }
///
/// let presence: Presence<String> = Presence::new(Duration::from_secs(10));
/// ```
///
/// A member that is present more than once, such as a user with two tabs, is counted only once. No
/// events are published if a member returns within the grace time, for example because a browser
/// reconnects. All clones refer to the same presence. If there are many rooms, use
/// [`PresenceRooms`], which creates a presence for each of them.
///
/// # Several servers
///
/// A presence created by [`new`](Self::new) is held in memory and contains the members of this
/// process. If several servers use the same engine, such as
/// [`sse-redis`](https://docs.rs/sse-redis), [`open`](Self::open) opens a presence that they share:
///
/// ```
/// # use std::time::Duration;
/// # use sse_runtime::topic::{Presence, PresenceError, engine::Node};
/// # async fn open(redis: &Node) -> Result<(), PresenceError> {
/// let present: Presence<String> = Presence::open(redis, "lobby", Duration::from_secs(10)).await?;
/// # Ok(()) }
/// ```
///
/// - A member that is present on several servers is counted only once. If a member moves to another
///   server within the grace time, no events are published.
/// - The events have the same order and the same ids on all servers, so a client that reconnects to
///   another server receives the changes that it missed. The engine keeps the newest 1024 changes.
/// - [`members`](Self::members) and [`count`](Self::count) include the members of all servers. A
///   member that joins on this server is included immediately. All other changes are included as
///   soon as [`changes`](Self::changes) can deliver them, which usually takes a few milliseconds.
/// - If this server cannot reach the engine, `members` and `count` include the last known members
///   and those that have joined on this server since then. This server reports its own changes once
///   the connection has been restored.
/// - If a server stops without warning, the other servers remove its members within 15 seconds, and
///   exactly one `left` event is published for each member that is not present elsewhere. The
///   members also leave if their server cannot reach the engine, or is suspended, for more than 10
///   seconds. They join again once the server has reconnected. If the engine was unavailable, or if
///   the other servers have just started, they wait for 10 more seconds, because the failed server
///   may only need time to reconnect.
/// - If the engine loses data, the servers report their members again. The `changes` then contain a
///   [gap](super::Gap), because the events may be incomplete.
///
/// The servers identify a member by its JSON, so equal members must be serialized to the same JSON.
/// For example, do not use a type that contains a `HashMap`.
pub struct Presence<K>(Arc<Inner<K>>);

struct Inner<K> {
    grace: Duration,
    changes: Topic<PresenceEvent<K>>,
    state: Mutex<State<K>>,
    /// The changes to report to the engine, or `None` if the presence is held in memory.
    reports: Option<Reports<K>>,
    /// The entry of the room to which the presence belongs, if any.
    room: Option<rooms::RoomEntry<K>>,
}

/// The changes to report to an engine. When this value is dropped, all of this node's members
/// leave.
struct Reports<K> {
    outbox: Arc<Outbox<K>>,
    /// [`Outbox::close`], which cannot be named here without bounds on `K`.
    close: fn(&Outbox<K>),
}

struct State<K> {
    present: HashMap<K, Present>,
    /// The number of times that any member has left so far.
    left: u64,
    /// The source of `Present::is_stored`, or `None` if the presence is held in memory.
    everywhere: Option<Everywhere<K>>,
}

/// A member that is present here or, according to the engine, at any node.
#[derive(Debug, Default)]
struct Present {
    guards: usize,
    /// The value of `State::left` when the member last left. The member may have joined again since
    /// then.
    left: u64,
    /// Whether the member is present at this node, including the grace time.
    is_here: bool,
    /// Whether the member is present at any node, according to the newest event applied. Always
    /// `false` if the presence is held in memory.
    is_stored: bool,
}

/// The number of changes retained for reconnecting clients.
const CHANGES: usize = 1024;

/// The limits on the changes that an engine keeps.
fn keep() -> Keep {
    Keep {
        events: CHANGES,
        bytes: BYTES,
        age: None,
    }
}

/// The duration of a node's lease, which the node renews every 3 seconds.
const LEASE: Duration = Duration::from_secs(10);

/// The maximum time for which opening a presence waits for the list of members.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<K> Presence<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Creates an empty presence, which is held in memory. A member that returns within the `grace`
    /// time is not considered to have left.
    pub fn new(grace: Duration) -> Self {
        Self::in_memory(grace, None)
    }

    fn in_memory(grace: Duration, room: Option<rooms::RoomEntry<K>>) -> Self {
        Self(Arc::new(Inner {
            grace,
            changes: Topic::in_memory(CHANGES),
            state: Mutex::new(State {
                present: HashMap::new(),
                left: 0,
                everywhere: None,
            }),
            reports: None,
            room,
        }))
    }

    /// Opens a presence that `engine` stores and that several servers share. All servers that open a
    /// presence with this name should use the same `grace` time. A member that returns to any server
    /// within this time is not considered to have left. See [Several servers](#several-servers).
    ///
    /// The changes are stored in the topic `presence:{name}`. Each server sends one request every 3
    /// seconds for each of its open presences, and at most one request for each change of its own
    /// members. Once all clones and all guards have been dropped, this server's members leave.
    ///
    /// # Errors
    ///
    /// Returns [`PresenceError::NotShared`] if only one process at a time can use the engine.
    /// Returns [`PresenceError::Open`] if the engine does not respond within 5 seconds, or if
    /// `presence:{name}` is not a valid name for a topic. See
    /// [`TopicBuilder::open`](super::TopicBuilder::open).
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the presence is not opened.
    pub async fn open(
        engine: &impl AsRef<Node>,
        name: &str,
        grace: Duration,
    ) -> Result<Self, PresenceError>
    where
        K: DeserializeOwned,
    {
        Self::open_with_lease(engine, name, grace, LEASE).await
    }

    /// Like [`open`](Self::open), but sets the duration of this server's lease. If the server stops
    /// without warning, the other servers remove its members after about this time.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`open`](Self::open).
    #[doc(hidden)]
    pub async fn open_with_lease(
        engine: &impl AsRef<Node>,
        name: &str,
        grace: Duration,
        lease: Duration,
    ) -> Result<Self, PresenceError>
    where
        K: DeserializeOwned,
    {
        let node = engine.as_ref();
        if node.members().is_none() {
            return Err(PresenceError::NotShared);
        }
        let topic: Arc<str> = format!("presence:{name}").into();
        let changes: Topic<PresenceEvent<K>> =
            Topic::builder().keep(CHANGES).open(node, &topic).await?;
        // The readers must start before the members are listed, so that they do not miss a change.
        // They are not `Subscription`s, because a `Subscription` created in an endpoint belongs to
        // the endpoint's stream.
        let reader = || Arc::clone(&changes.backend).subscribe(StartAt::Start(Start::Now), None);
        let mut everywhere = Everywhere::new(reader(), |json| serde_json::from_slice(json));
        let waking = reader();
        let store = Store {
            node: node.clone(),
            topic,
            ttl: lease,
        };
        let list = timeout(OPEN_TIMEOUT, store.list()).await;
        let list = list.map_err(|elapsed| Some(Arc::new(elapsed) as Arc<_>));
        let list = list.and_then(|list| list.map_err(|error| Some(Arc::new(error) as Arc<_>)));
        let list = list.map_err(|source| OpenError::TimedOut {
            seconds: OPEN_TIMEOUT.as_secs(),
            source,
        })?;
        let mut present = HashMap::new();
        everywhere.set(&mut present, list);
        let outbox = Arc::new(Outbox::new());
        let inner = Arc::new(Inner {
            grace,
            changes,
            state: Mutex::new(State {
                present,
                left: 0,
                everywhere: Some(everywhere),
            }),
            reports: Some(Reports {
                outbox: Arc::clone(&outbox),
                close: Outbox::close,
            }),
            room: None,
        });
        let task = Task {
            presence: Arc::downgrade(&inner),
            outbox,
            changes: waking,
            store,
        };
        Handle::current().spawn(task.run());
        Ok(Self(inner))
    }

    /// Adds a member. The member leaves once the grace time has passed since its last guard was
    /// dropped. `who` must stay the same across reconnects. For example, use a user id or a session
    /// id rather than [`Connection::id`](crate::Connection::id), which differs for each stream.
    ///
    /// If this method is called outside of a tokio runtime, there is no grace time.
    pub fn join(&self, who: K) -> PresenceGuard<K> {
        // Create the guard before acquiring the lock, because dropping the guard acquires it again.
        // If a user's `Hash`, `Eq` or `Clone` implementation panics, the lock is then released
        // before the guard is dropped.
        let here = PresenceGuard {
            presence: self.clone(),
            who,
            runtime: Handle::try_current().ok(),
        };
        let who = &here.who;
        let mut state = self.0.state();
        let present = state.present.entry(who.clone()).or_default();
        present.guards += 1;
        let is_new = !present.is_here;
        present.is_here = true;
        if is_new {
            // Report the change while holding the lock so that the changes are reported in the order
            // in which they occur.
            match &self.0.reports {
                Some(reports) => reports.outbox.set(who, true),
                None => self.0.publish(&PresenceEvent::Joined {
                    who: who.clone(),
                    count: state.present.len(),
                }),
            }
        }
        drop(state);
        here
    }

    /// Returns the number of members present. If several servers share the presence, this includes
    /// the members of all servers (see [Several servers](#several-servers)).
    pub fn count(&self) -> usize {
        self.0.current_state().present.len()
    }

    /// Returns the members present, in no particular order. If several servers share the presence,
    /// this includes the members of all servers (see [Several servers](#several-servers)).
    ///
    /// The result includes all changes that occurred before the last call of
    /// [`changes`](Self::changes) and all changes that subscribers have already received. An endpoint
    /// can therefore subscribe, send the members, and then send the changes.
    pub fn members(&self) -> Vec<K> {
        self.0.current_state().present.keys().cloned().collect()
    }

    /// Subscribes to the join and leave events, starting at `cursor`. See [`Topic::subscribe`].
    pub fn changes(&self, cursor: impl Into<Cursor>) -> Subscription<PresenceEvent<K>> {
        if self.0.room.is_none() {
            return self.0.changes.subscribe(cursor);
        }
        let Cursor {
            from,
            after_gap,
            is_resumed,
            ..
        } = cursor.into();
        let reader = Arc::clone(&self.0.changes.backend).subscribe(from, after_gap);
        // Without the presence, the room would be dropped, and the next member would join a new one.
        let reader = Keeping::new(reader, Arc::clone(&self.0) as _);
        Subscription::new(Box::new(reader), is_resumed)
    }
}

impl<K> Inner<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Inner<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Locks the state after applying all events that have arrived.
    fn current_state(&self) -> MutexGuard<'_, State<K>> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(everywhere) = &mut state.everywhere {
            everywhere.catch_up(&mut state.present);
        }
        guard
    }

    /// Applies all events that have arrived. Returns whether the members of all nodes must be read
    /// from the engine again. `has_lost` means that the engine has lost members, so they must be.
    fn is_stale(&self, has_lost: bool) -> bool {
        let mut state = self.current_state();
        let Some(everywhere) = &mut state.everywhere else {
            return false;
        };
        everywhere.is_stale |= has_lost;
        everywhere.is_stale
    }

    /// Replaces the members of all nodes with those in the list.
    fn set_everywhere(&self, list: MemberList) {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(everywhere) = &mut state.everywhere {
            everywhere.set(&mut state.present, list);
            everywhere.catch_up(&mut state.present);
        }
    }

    fn publish(&self, change: &PresenceEvent<K>) {
        if let Err(error) = self.changes.try_publish(change) {
            tracing::error!(%error, "failed to publish a presence change");
        }
    }

    /// Removes one of a member's guards. Returns the number to pass to [`leave`](Self::leave) if
    /// this was the member's last guard.
    fn drop_guard(&self, who: &K) -> Option<u64> {
        let mut state = self.state();
        let State { present, left, .. } = &mut *state;
        let present = present.get_mut(who)?;
        present.guards -= 1;
        if present.guards > 0 {
            return None;
        }
        *left += 1;
        present.left = *left;
        Some(*left)
    }

    /// Removes a member, unless it has joined again since [`drop_guard`](Self::drop_guard) returned
    /// `left`.
    fn leave(&self, who: K, left: u64) {
        let mut state = self.state();
        let is_gone = state
            .present
            .get(&who)
            .is_some_and(|present| present.is_here && present.guards == 0 && present.left == left);
        if !is_gone {
            return;
        }
        if let Some(present) = state.present.get_mut(&who) {
            present.is_here = false;
            if !present.is_stored {
                state.present.remove(&who);
            }
        }
        match &self.reports {
            Some(reports) => reports.outbox.set(&who, false),
            None => {
                let count = state.present.len();
                self.publish(&PresenceEvent::Left { who, count });
            }
        }
    }
}

impl<K> Drop for Reports<K> {
    fn drop(&mut self) {
        (self.close)(&self.outbox);
    }
}

impl<K> Clone for Presence<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Presence<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("count", &self.0.state().present.len())
            .field("grace", &self.0.grace)
            .finish_non_exhaustive()
    }
}
