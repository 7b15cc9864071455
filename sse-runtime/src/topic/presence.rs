//! [`Presence`]: tracks which members are present.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{runtime::Handle, time::sleep};

use super::{Cursor, Subscription, Topic};
use crate::SseEvent;

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
/// reconnects. All clones refer to the same presence.
pub struct Presence<K>(Arc<Inner<K>>);

struct Inner<K> {
    grace: Duration,
    changes: Topic<PresenceEvent<K>>,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    present: HashMap<K, Present>,
    /// The number of times that members have left so far.
    left: u64,
}

#[derive(Debug, Default)]
struct Present {
    guards: usize,
    /// The value of `State::left` when the member last left. The member may have joined again since
    /// then.
    left: u64,
}

/// A change in presence, sent as a `joined` or `left` event with the data `{"who":…,"count":…}`.
#[derive(Clone, Debug, PartialEq, Eq, SseEvent)]
#[sse(crate = crate)]
#[non_exhaustive]
pub enum PresenceEvent<K> {
    /// A member that was not present has joined.
    Joined {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
    /// A member left and did not return within the grace time.
    Left {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
}

/// The number of changes retained for reconnecting clients.
const CHANGES: usize = 1024;

impl<K> Presence<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Creates a presence without members. A member that returns within the `grace` time is not
    /// considered to have left.
    pub fn new(grace: Duration) -> Self {
        Self(Arc::new(Inner {
            grace,
            changes: Topic::in_memory(CHANGES),
            state: Mutex::new(State {
                present: HashMap::new(),
                left: 0,
            }),
        }))
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
        let is_new = !state.present.contains_key(who);
        state.present.entry(who.clone()).or_default().guards += 1;
        if is_new {
            let count = state.present.len();
            // Publish while holding the lock so that the events are published in the order in which
            // the count changes.
            self.0.publish(&PresenceEvent::Joined {
                who: who.clone(),
                count,
            });
        }
        drop(state);
        here
    }

    /// Returns the number of members present.
    pub fn count(&self) -> usize {
        self.0.state().present.len()
    }

    /// Returns the members present, in no particular order.
    pub fn members(&self) -> Vec<K> {
        self.0.state().present.keys().cloned().collect()
    }

    /// Subscribes to the join and leave events, starting at `cursor`. See [`Topic::subscribe`].
    pub fn changes(&self, cursor: impl Into<Cursor>) -> Subscription<PresenceEvent<K>> {
        self.0.changes.subscribe(cursor)
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
    fn publish(&self, change: &PresenceEvent<K>) {
        if let Err(error) = self.changes.try_publish(change) {
            tracing::error!(%error, "failed to publish a presence change");
        }
    }

    /// Removes one of a member's guards. Returns the number to pass to [`leave`](Self::leave) if
    /// this was the member's last guard.
    fn drop_guard(&self, who: &K) -> Option<u64> {
        let mut state = self.state();
        let State { present, left } = &mut *state;
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
            .is_some_and(|present| present.guards == 0 && present.left == left);
        if is_gone {
            state.present.remove(&who);
            let count = state.present.len();
            self.publish(&PresenceEvent::Left { who, count });
        }
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

/// Keeps a member present until the guard is dropped. See [`Presence::join`].
#[must_use = "a member leaves when its guard is dropped"]
pub struct PresenceGuard<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    presence: Presence<K>,
    who: K,
    runtime: Option<Handle>,
}

impl<K> Drop for PresenceGuard<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let inner = &self.presence.0;
        let Some(left) = inner.drop_guard(&self.who) else {
            return;
        };
        let who = self.who.clone();
        let Some(runtime) = self.runtime.as_ref().filter(|_| !inner.grace.is_zero()) else {
            inner.leave(who, left);
            return;
        };
        let leaving = Leaving {
            inner: Arc::clone(inner),
            who,
            left,
        };
        runtime.spawn(async move {
            sleep(leaving.inner.grace).await;
            // If the runtime shuts down before the grace time has passed, it drops this task along
            // with `leaving`, which still removes the member.
            drop(leaving);
        });
    }
}

/// A pending leave. Removes the member when dropped, unless the member has joined again.
struct Leaving<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    inner: Arc<Inner<K>>,
    who: K,
    left: u64,
}

impl<K> Drop for Leaving<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.inner.leave(self.who.clone(), self.left);
    }
}

impl<K> fmt::Debug for PresenceGuard<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PresenceGuard")
            .field(&self.presence)
            .finish()
    }
}
