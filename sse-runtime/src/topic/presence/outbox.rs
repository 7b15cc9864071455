//! [`Outbox`]: the changes of this node's members that the engine has not confirmed yet.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The maximum number of changes per update, which limits the time that the engine needs for one.
const CHANGES: usize = 200;

/// The changes to report to the engine. This is the difference between two sets of members, not a
/// queue, so it stays small even if the engine cannot be reached for a long time.
pub(super) struct Outbox<K> {
    state: Mutex<State<K>>,
    /// Notified if there are changes to report, or if the node's lease must be checked.
    pub(super) changed: Notify,
    /// Notified if the engine may have lost members.
    pub(super) lost: Notify,
}

struct State<K> {
    /// The members that the engine has stored for this node.
    stored: HashSet<K>,
    /// The last update's changes, until the engine has confirmed them. They may or may not be in
    /// effect, so they are sent again until they are confirmed.
    sending: HashMap<K, bool>,
    /// The newer changes. `true` means that the member has joined, and `false` that it has left.
    changes: HashMap<K, bool>,
    /// Whether the presence has been dropped.
    is_closed: bool,
}

impl<K: Hash + Eq + Clone> Outbox<K> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                stored: HashSet::new(),
                sending: HashMap::new(),
                changes: HashMap::new(),
                is_closed: false,
            }),
            changed: Notify::new(),
            lost: Notify::new(),
        }
    }

    /// Sets whether a member is present at this node.
    pub(super) fn set(&self, who: &K, is_present: bool) {
        self.state().set(who, is_present);
        self.changed.notify_one();
    }

    /// Returns the changes of the next update. If the last update was not confirmed, returns its
    /// members again, with their newest state.
    pub(super) fn next(&self) -> Vec<(K, bool)> {
        let mut state = self.state();
        let State {
            sending, changes, ..
        } = &mut *state;
        if sending.is_empty() {
            let next: Vec<K> = changes.keys().take(CHANGES).cloned().collect();
            sending.extend(next.iter().filter_map(|who| changes.remove_entry(who)));
        } else {
            for (who, is_present) in &mut *sending {
                if let Some(newer) = changes.remove(who) {
                    *is_present = newer;
                }
            }
        }
        let next = sending.iter();
        next.map(|(who, is_present)| (who.clone(), *is_present))
            .collect()
    }

    /// Records that the engine has confirmed the last update. Returns whether there are more changes.
    pub(super) fn confirm(&self) -> bool {
        let mut state = self.state();
        let State {
            stored, sending, ..
        } = &mut *state;
        for (who, is_present) in sending.drain() {
            match is_present {
                true => stored.insert(who),
                false => stored.remove(&who),
            };
        }
        !state.changes.is_empty()
    }

    /// Records that the engine has lost this node's members, so that all of them are reported again.
    pub(super) fn lose(&self) {
        let mut state = self.state();
        let present = state.present();
        state.stored.clear();
        state.sending.clear();
        state.changes = present.into_iter().map(|who| (who, true)).collect();
    }

    /// Records that the presence has been dropped, so no members are present at this node.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        for who in state.present() {
            state.set(&who, false);
        }
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn set(&mut self, who: &K, is_present: bool) {
        let is_known = match self.sending.get(who) {
            Some(sent) => *sent == is_present,
            None => self.stored.contains(who) == is_present,
        };
        if is_known {
            self.changes.remove(who);
        } else {
            self.changes.insert(who.clone(), is_present);
        }
    }

    /// Returns the members that are present at this node.
    fn present(&self) -> HashSet<K> {
        let mut present = self.stored.clone();
        for (who, is_present) in self.sending.iter().chain(&self.changes) {
            match is_present {
                true => present.insert(who.clone()),
                false => present.remove(who),
            };
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random calls, with an engine that loses requests, replies and data.
    #[test]
    fn engine_learns_the_newest_state() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let outbox = Outbox::new();
            let (mut here, mut engine) = (HashSet::new(), HashSet::new());
            let apply = |engine: &mut HashSet<u8>, changes: Vec<(u8, bool)>| {
                for (who, is_present) in changes {
                    match is_present {
                        true => engine.insert(who),
                        false => engine.remove(&who),
                    };
                }
            };
            for _ in 0..200 {
                let who = random.u8(..10);
                match random.u8(..8) {
                    0..3 => {
                        outbox.set(&who, true);
                        here.insert(who);
                    }
                    3..6 => {
                        outbox.set(&who, false);
                        here.remove(&who);
                    }
                    6 => {
                        let changes = outbox.next();
                        // A member may change while the update is being sent.
                        outbox.set(&who, false);
                        here.remove(&who);
                        match random.u8(..3) {
                            0 => {}
                            1 => apply(&mut engine, changes),
                            _ => {
                                apply(&mut engine, changes);
                                outbox.confirm();
                            }
                        }
                    }
                    _ if random.u8(..10) == 0 => {
                        engine.clear();
                        outbox.lose();
                    }
                    _ => {}
                }
            }
            if random.bool() {
                outbox.close();
                here.clear();
            }
            loop {
                apply(&mut engine, outbox.next());
                if !outbox.confirm() {
                    break;
                }
            }
            assert_eq!(engine, here);
        }
    }

    #[test]
    fn opposite_changes_cancel_each_other() {
        let outbox = Outbox::new();
        for who in 0..10_000 {
            outbox.set(&who, true);
            outbox.set(&who, false);
        }
        assert_eq!(outbox.next(), []);
    }
}
