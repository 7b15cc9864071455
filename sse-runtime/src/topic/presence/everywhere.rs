//! [`Everywhere`]: follows a presence's topic, so that this node knows the members of all nodes.

use std::{
    collections::HashMap,
    hash::Hash,
    task::{Context, Poll, Waker},
};

use super::{Present, event::PresenceEvent};
use crate::topic::{
    backend::{Delivery, Read, Reader},
    engine::{MemberList, Tail},
};

/// Applies the events of a presence's topic to a list of members that was read from the engine.
///
/// The list reflects all events up to the position at which the engine read it, so these events are
/// skipped. If an event is missing, the list must be read again. Until then, no events are applied,
/// because the later events must be applied to the new list.
pub(super) struct Everywhere<K> {
    changes: Box<dyn Reader<PresenceEvent<K>>>,
    /// The position at which the list was read.
    listed: Option<Tail>,
    /// Whether the list must be read again.
    pub(super) is_stale: bool,
    decode: fn(&[u8]) -> serde_json::Result<K>,
}

impl<K: Hash + Eq + Clone> Everywhere<K> {
    /// Creates an empty list. `changes` must start before the list is read from the engine.
    pub(super) fn new(
        changes: Box<dyn Reader<PresenceEvent<K>>>,
        decode: fn(&[u8]) -> serde_json::Result<K>,
    ) -> Self {
        Self {
            changes,
            listed: None,
            is_stale: true,
            decode,
        }
    }

    /// Replaces the members with those in the list.
    pub(super) fn set(&mut self, present: &mut HashMap<K, Present>, list: MemberList) {
        for member in present.values_mut() {
            member.is_stored = false;
        }
        for json in list.members {
            match (self.decode)(&json) {
                Ok(who) => present.entry(who).or_default().is_stored = true,
                Err(error) => tracing::warn!(%error, "failed to decode a member of a presence"),
            }
        }
        present.retain(|_, member| member.is_here || member.is_stored);
        self.listed = list.tail;
        self.is_stale = false;
    }

    /// Applies the events that have arrived.
    pub(super) fn catch_up(&mut self, present: &mut HashMap<K, Present>) {
        // This call does not need to be woken, because the presence's task has its own reader.
        let mut cx = Context::from_waker(Waker::noop());
        while !self.is_stale {
            match self.changes.poll_read(&mut cx) {
                Poll::Ready(Read::Event { delivery, .. }) => self.apply(present, &delivery),
                Poll::Ready(Read::Events { batch, .. }) => {
                    for delivery in batch.deliveries() {
                        self.apply(present, delivery);
                    }
                }
                Poll::Ready(Read::Gap(_) | Read::Lagged) => self.is_stale = true,
                Poll::Ready(Read::End | Read::Failed(_)) | Poll::Pending => return,
            }
        }
    }

    fn apply(&mut self, present: &mut HashMap<K, Present>, delivery: &Delivery<PresenceEvent<K>>) {
        let position = delivery.entry.position();
        let is_listed =
            |tail: Tail| position.epoch == tail.epoch && position.number() <= tail.newest.number;
        // If an event of a batch cannot be decoded, the rest of the batch is skipped. All events of
        // the batch are older than the list that will be read.
        if self.is_stale || self.listed.is_some_and(is_listed) {
            return;
        }
        match &delivery.entry.value {
            Some(PresenceEvent::Joined { who, .. }) => {
                present.entry(who.clone()).or_default().is_stored = true;
            }
            Some(PresenceEvent::Left { who, .. }) => {
                if let Some(member) = present.get_mut(who) {
                    member.is_stored = false;
                    if !member.is_here {
                        present.remove(who);
                    }
                }
            }
            None => self.is_stale = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::topic::{Start, Topic, backend::StartAt, engine::Place};

    type Change = PresenceEvent<String>;

    fn joined(who: &str) -> Change {
        Change::Joined {
            who: who.to_owned(),
            count: 0,
        }
    }

    fn left(who: &str) -> Change {
        Change::Left {
            who: who.to_owned(),
            count: 0,
        }
    }

    /// A list that was read when `number` was the newest event.
    fn list(topic: &Topic<Change>, number: u64, members: &[&str]) -> MemberList {
        let epoch = topic.subscribe(Start::Now).position().as_position().epoch;
        let newest = Place { number, mark: None };
        let json = |who: &&str| serde_json::to_vec(who).unwrap();
        MemberList {
            tail: Some(Tail { epoch, newest }),
            members: members.iter().map(json).collect(),
        }
    }

    #[test]
    fn events_are_applied_only_after_the_list() {
        let topic: Topic<Change> = Topic::in_memory(3);
        let reader = || Arc::clone(&topic.backend).subscribe(StartAt::Start(Start::Now), None);
        let mut everywhere = Everywhere::new(reader(), |json| serde_json::from_slice(json));
        let mut present = HashMap::new();
        let mut expect = |everywhere: &mut Everywhere<String>, expected: &[&str], list| {
            if let Some(list) = list {
                everywhere.set(&mut present, list);
            }
            everywhere.catch_up(&mut present);
            let mut members: Vec<_> = present.keys().cloned().collect();
            members.sort_unstable();
            assert_eq!(members, expected);
        };
        // An event that arrives while the list is being read must wait for it.
        topic.try_publish(&joined("ada")).unwrap();
        expect(&mut everywhere, &[], None);
        // The list already reflects the next event as well, with which Ada leaves.
        let first = list(&topic, 2, &["cyd"]);
        expect(&mut everywhere, &["cyd"], Some(first));
        topic.try_publish(&left("ada")).unwrap();
        topic.try_publish(&joined("bob")).unwrap();
        expect(&mut everywhere, &["bob", "cyd"], None);
        topic.try_publish(&left("cyd")).unwrap();
        expect(&mut everywhere, &["bob"], None);
        // The reader misses an event, so the later events wait for another list.
        for who in ["dan", "eve", "fay", "gus"] {
            topic.try_publish(&joined(who)).unwrap();
        }
        expect(&mut everywhere, &["bob"], None);
        assert!(everywhere.is_stale);
        let second = list(&topic, 7, &["dan", "eve", "fay"]);
        expect(&mut everywhere, &["dan", "eve", "fay", "gus"], Some(second));
    }
}
