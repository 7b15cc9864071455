//! [`PresenceGuard`]: keeps a member present.

use std::{fmt, hash::Hash, sync::Arc};

use serde::Serialize;
use tokio::{runtime::Handle, time::sleep};

use super::{Inner, Presence};

/// Keeps a member present until the guard is dropped. See [`Presence::join`].
#[must_use = "a member leaves when its guard is dropped"]
pub struct PresenceGuard<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    pub(super) presence: Presence<K>,
    pub(super) who: K,
    pub(super) runtime: Option<Handle>,
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
