//! [`Presence`]: who is there.

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

/// Who is there: a count, and a topic of who joined and who left.
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
/// Somebody who is there twice, in two tabs, has joined once. Somebody who comes back within the grace time, a browser that
/// reconnects, has neither left nor joined. Clones are the same presence.
pub struct Presence<K>(Arc<Inner<K>>);

struct Inner<K> {
    grace: Duration,
    changes: Topic<PresenceEvent<K>>,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    present: HashMap<K, Present>,
    /// Of the guard that was dropped last.
    left: u64,
}

#[derive(Debug, Default)]
struct Present {
    guards: usize,
    /// The moment of the last leaving, that others may have come after.
    left: u64,
}

/// Somebody has joined or left: events `joined` and `left`, with `{"who":…,"count":…}` as their data.
#[derive(Clone, Debug, PartialEq, Eq, SseEvent)]
#[sse(crate = crate)]
#[non_exhaustive]
pub enum PresenceEvent<K> {
    /// Somebody who was not there.
    Joined {
        /// Who it is.
        who: K,
        /// How many are there now.
        count: usize,
    },
    /// Somebody who did not come back within the grace time.
    Left {
        /// Who it is.
        who: K,
        /// How many are there now.
        count: usize,
    },
}

/// How many changes are held for those who come back.
const CHANGES: usize = 1024;

impl<K> Presence<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Nobody is there yet. Whoever leaves and comes back within the `grace` time has not left.
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

    /// Somebody is there, until the guard is dropped, and the grace time is over. `who` has to be the same after a reconnect: a
    /// user, a session; [`Connection::id`](crate::Connection::id) is not.
    ///
    /// Outside of a tokio runtime there is no grace time.
    pub fn join(&self, who: K) -> PresenceGuard<K> {
        // Before the lock, so that it is dropped behind it, where something of the user's panics in here.
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
            // Under the lock, so that the counts are in order.
            self.0.publish(&PresenceEvent::Joined {
                who: who.clone(),
                count,
            });
        }
        drop(state);
        here
    }

    /// How many are there.
    pub fn count(&self) -> usize {
        self.0.state().present.len()
    }

    /// Who is there.
    pub fn members(&self) -> Vec<K> {
        self.0.state().present.keys().cloned().collect()
    }

    /// Who joins and who leaves from `cursor` on, as [`Topic::subscribe`] has it.
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
            tracing::error!(%error, "a change of presence cannot be told");
        }
    }

    /// One guard less. If it was the last of its kind, the moment of it.
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

    /// Somebody has left, unless somebody has come back since the moment `left`.
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

/// Somebody is there, until this is dropped, see [`Presence::join`].
#[must_use = "whoever joins has left when this is dropped"]
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
            // Also where the runtime ends before the grace time does.
            drop(leaving);
        });
    }
}

/// Somebody leaves when this is dropped, unless somebody has come back.
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
        f.debug_tuple("Here").field(&self.presence).finish()
    }
}
