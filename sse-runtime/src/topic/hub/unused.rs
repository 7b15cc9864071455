//! Keeps track of unused topics and drops them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    Inner,
    state::{Slot, State},
};
use crate::topic::lease::Freed;

/// Topic names, ordered by when the topics became unused.
pub(super) type Unused = BTreeMap<UnusedKey, String>;

/// The time at which a topic became unused, and a number that breaks ties.
pub(super) type UnusedKey = (Instant, u64);

impl<T: Send + Sync + 'static> State<T> {
    /// Records the topics that have become unused.
    fn note_unused(&mut self, freed: &Freed) {
        for usage in freed.take() {
            let Some(since) = usage.unused_since() else {
                continue;
            };
            let Some(slot) = self.topics.get_mut(&usage.name) else {
                continue;
            };
            if !Arc::ptr_eq(&slot.usage, &usage) {
                continue;
            }
            if let Some(unused) = slot.unused.take() {
                self.finished.remove(&unused);
                self.unfinished.remove(&unused);
            }
            let key = (since, self.next);
            self.next += 1;
            slot.unused = Some(key);
            let unused = match slot.topic.is_finished() {
                true => &mut self.finished,
                false => &mut self.unfinished,
            };
            unused.insert(key, usage.name.clone());
        }
    }

    /// Removes a topic recorded as unused, unless it is in use again.
    fn take_unused(&mut self, name: &str) -> Option<Slot<T>> {
        let slot = self.topics.get_mut(name)?;
        if let Some(unused) = slot.unused.take() {
            self.finished.remove(&unused);
            self.unfinished.remove(&unused);
        }
        slot.usage.unused_since()?;
        self.topics.remove(name)
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    /// Removes at least `topics` unused topics that hold at least `bytes` bytes in total. Finished
    /// topics are removed before unfinished ones, and within each group, topics that have been
    /// unused the longest are removed first. The topics named in `except` are kept. Returns `None`
    /// if there are not enough unused topics. The caller must drop the removed topics after
    /// releasing the lock, because the destructors of their values may use the hub.
    pub(super) fn make_room(
        &self,
        state: &mut State<T>,
        except: &[&str],
        topics: usize,
        bytes: usize,
    ) -> Option<Vec<Slot<T>>> {
        if self.limits.idle == Duration::MAX {
            return None;
        }
        state.note_unused(self.freed());
        let mut names = Vec::new();
        let mut freed = 0;
        for name in state.finished.values().chain(state.unfinished.values()) {
            if names.len() >= topics && freed >= bytes {
                break;
            }
            if !except.contains(&name.as_str()) {
                freed += state
                    .topics
                    .get(name)
                    .map_or(0, |slot| slot.topic.held_bytes());
                names.push(name.clone());
            }
        }
        if names.len() < topics || freed < bytes {
            return None;
        }
        let old = names.iter().filter_map(|name| state.take_unused(name));
        Some(old.collect())
    }

    /// Removes topics that have been unused for at least the idle time. If the remaining topics
    /// still hold too many bytes, more unused topics are removed. The caller must drop the removed
    /// topics after releasing the lock, because the destructors of their values may use the hub.
    #[must_use = "the topics must be dropped after the lock is released"]
    fn sweep(&self, state: &mut State<T>) -> Vec<Slot<T>> {
        let now = Instant::now();
        state.note_unused(self.freed());
        let is_old = |((since, _), _): &(&UnusedKey, &String)| {
            now.duration_since(*since) >= self.limits.idle
        };
        let finished = state.finished.iter().take_while(is_old);
        let unfinished = state.unfinished.iter().take_while(is_old);
        let names: Vec<_> = finished
            .chain(unfinished)
            .map(|(_, name)| name.clone())
            .collect();
        let mut old: Vec<_> = names
            .iter()
            .filter_map(|name| state.take_unused(name))
            .collect();
        let gone: usize = old.iter().map(|slot| slot.topic.held_bytes()).sum();
        let mut excess = self.freed().excess().saturating_sub(gone);
        while excess > 0 && self.limits.idle < Duration::MAX {
            let next = state
                .finished
                .values()
                .chain(state.unfinished.values())
                .next();
            let Some(name) = next.cloned() else { break };
            if let Some(slot) = state.take_unused(&name) {
                excess = excess.saturating_sub(slot.topic.held_bytes().max(1));
                old.push(slot);
            }
        }
        old
    }

    /// Starts a task that sweeps the hub for as long as the hub has topics, unless such a task is
    /// already running.
    pub(super) fn keep_swept(&self, weak: &Weak<Self>, state: &mut State<T>) {
        if state.is_swept {
            return;
        }
        // Outside of a runtime, no task can be spawned, and unused topics are dropped only when the
        // hub is full.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        state.is_swept = true;
        let every = (self.limits.idle / 4).max(Duration::from_millis(10));
        let freed = Arc::clone(self.freed());
        let mut sweeping = Sweeping {
            hub: Weak::clone(weak),
            is_done: false,
        };
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = sleep(every) => {}
                    () = freed.is_over.notified() => {}
                }
                let Some(inner) = sweeping.hub.upgrade() else {
                    return;
                };
                let mut state = inner.state();
                let old = inner.sweep(&mut state);
                let is_empty = state.topics.is_empty();
                state.is_swept = !is_empty;
                sweeping.is_done = is_empty;
                drop(state);
                drop(old);
                if is_empty {
                    return;
                }
            }
        });
    }
}

/// A guard owned by the task that sweeps a hub. If the task is cancelled, for example because the
/// runtime shuts down, dropping the guard allows another task to be started when the next topic is
/// created.
struct Sweeping<T: Send + Sync + 'static> {
    hub: Weak<Inner<T>>,
    is_done: bool,
}

impl<T: Send + Sync + 'static> Drop for Sweeping<T> {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(hub) = self.hub.upgrade()
        {
            hub.state().is_swept = false;
        }
    }
}
