//! A model of a topic. The model is simple enough to be obviously correct.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Wake, Waker},
    time::Duration,
};

use sse_runtime::{
    EventId, Start, Topic,
    topic::{Cursor, GapReason, Subscription},
};
use support::Store;
use tokio::time::Instant;

use super::{Item, poll_once};

/// A waker that records that it was woken.
#[derive(Debug, Default)]
pub(super) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Overflow {
    Skip,
    Latest,
    LatestBy,
    Disconnect,
}

/// All published events. The topic still holds the events after `behind_oldest`.
pub(super) struct Model {
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) age: Option<Duration>,
    pub(super) overflow: Overflow,
    pub(super) epoch: String,
    pub(super) published: Vec<Published>,
    pub(super) behind_oldest: u64,
    pub(super) finished: bool,
}

pub(super) struct Published {
    pub(super) id: EventId,
    pub(super) key: u8,
    pub(super) len: usize,
    /// The number of bytes needed to hold the event.
    pub(super) cost: usize,
    pub(super) at: Instant,
}

/// A reader of the topic, along with the reader's state in the model.
pub(super) struct Reader {
    pub(super) subscription: Subscription<Item>,
    pub(super) woken: Arc<Woken>,
    pub(super) is_waiting: bool,
    /// The sequence number of the last event that the reader took from the topic.
    pub(super) behind: u64,
    /// The events that the reader has taken but not yet returned.
    pub(super) taken: VecDeque<(u64, u64)>,
    /// The sequence number of the last event returned. A client would resume after this event.
    pub(super) seen: u64,
    /// The number of events after `seen` that have already been reported as missed.
    pub(super) told: u64,
    /// A gap not yet reported.
    pub(super) gap: Option<(GapReason, u64)>,
    /// The position at which the reader continues after a gap, if the test has set one.
    pub(super) after_gap: Option<Start>,
    pub(super) has_read: bool,
    pub(super) resumes: bool,
    pub(super) has_ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Event(u64),
    Gap(GapReason, Option<u64>, u64),
    Nothing,
    End,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Publish {
        size: usize,
        key: u8,
    },
    Subscribe {
        from: From,
        after_gap: Option<Start>,
    },
    Read {
        reader: usize,
        times: usize,
    },
    Reconnect {
        reader: usize,
    },
    Leave {
        reader: usize,
    },
    Wait {
        millis: u64,
    },
    Finish,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Now,
    First,
    Latest(usize),
    /// A position, in thousandths of a range that covers all valid sequence numbers and a few
    /// invalid ones.
    Number(u64),
    OtherEpoch,
    Garbage,
}

impl Model {
    pub(super) fn last(&self) -> u64 {
        self.published.len() as u64
    }

    pub(super) fn of(&self, number: u64) -> &Published {
        &self.published[usize::try_from(number).unwrap() - 1]
    }

    pub(super) fn held(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.behind_oldest + 1..=self.last()
    }

    pub(super) fn evict(&mut self) {
        loop {
            let held = self.last() - self.behind_oldest;
            // The newest event for each key is kept.
            let mut all: BTreeSet<u64> = self.held().collect();
            if let Overflow::LatestBy = self.overflow {
                let newest: BTreeMap<u8, u64> = (1..=self.last())
                    .map(|number| (self.of(number).key, number))
                    .collect();
                all.extend(newest.into_values());
            }
            let bytes: usize = all.iter().map(|number| self.of(*number).cost).sum();
            let is_old = |at: Instant| self.age.is_some_and(|age| at.elapsed() > age);
            let evicts = held > self.events as u64
                || (bytes > self.bytes && held > 1)
                || (held > 0 && is_old(self.of(self.behind_oldest + 1).at));
            if !evicts {
                return;
            }
            self.behind_oldest += 1;
        }
    }

    pub(super) fn publish(&mut self, id: EventId, key: u8, json: usize, cost: usize) {
        self.published.push(Published {
            key,
            len: "id: \ndata: \n\n".len() + id.to_string().len() + json,
            id,
            cost,
            at: Instant::now(),
        });
        self.evict();
    }

    /// Returns the expected result of the next read.
    pub(super) fn read(&mut self, reader: &mut Reader) -> Seen {
        if let Some((number, told)) = reader.taken.pop_front() {
            reader.seen = number;
            reader.told = told;
            return Seen::Event(number);
        }
        if reader.has_ended {
            return Seen::End;
        }
        let is_first = !std::mem::replace(&mut reader.has_read, true);
        if let Some((reason, position)) = reader.gap.take() {
            reader.seen = position;
            return Seen::Gap(reason, None, position);
        }
        self.evict();
        if reader.behind < self.behind_oldest || reader.told > 0 {
            return self.skip(reader, is_first && reader.resumes);
        }
        self.take(reader);
        if !reader.taken.is_empty() {
            return self.read(reader);
        }
        if self.finished {
            reader.has_ended = true;
            return Seen::End;
        }
        Seen::Nothing
    }

    /// Returns the expected result of an overtaken reader's next read: a gap, the end, or a kept
    /// event.
    fn skip(&mut self, reader: &mut Reader, was_away: bool) -> Seen {
        // A client that is catching up continues to do so.
        let after_gap = reader.after_gap.filter(|_| reader.told == 0);
        let (next_start, kept) = match self.overflow {
            Overflow::Disconnect if !was_away => {
                reader.has_ended = true;
                return Seen::End;
            }
            _ if after_gap.is_some() => (self.after_gap(after_gap), VecDeque::new()),
            Overflow::Skip | Overflow::Disconnect => (self.behind_oldest, VecDeque::new()),
            Overflow::Latest => {
                let newest = (self.last() - 1).max(self.behind_oldest);
                (newest, VecDeque::new())
            }
            Overflow::LatestBy => {
                let mut newest = BTreeMap::new();
                for number in reader.behind + 1..=self.last() {
                    newest.insert(self.of(number).key, number);
                }
                let mut newest: Vec<_> = newest.into_values().collect();
                newest.sort_unstable();
                (self.last(), newest.into())
            }
        };
        let superseded = next_start - reader.behind - kept.len() as u64;
        let missed = superseded - std::mem::take(&mut reader.told);
        let told = match self.overflow {
            Overflow::LatestBy if after_gap.is_none() => {
                reader.told = superseded;
                reader.behind
            }
            _ => next_start,
        };
        reader.behind = next_start;
        let count = kept.len() as u64;
        let after = |(given, number)| (number, next_start - number - (count - given));
        reader.taken = (1..).zip(kept).map(after).collect();
        if missed == 0 {
            return self.read(reader);
        }
        reader.seen = told;
        let reason = match was_away {
            true => GapReason::TooOld,
            false => GapReason::Overtaken,
        };
        Seen::Gap(reason, Some(missed), told)
    }

    /// Takes the reader's next batch from the topic.
    fn take(&self, reader: &mut Reader) {
        let mut bytes = 0;
        for number in (reader.behind + 1..=self.last()).take(256) {
            let len = self.of(number).len;
            bytes += len;
            let is_large = len >= 4 * 1024;
            if !reader.taken.is_empty() && (is_large || bytes > 32 * 1024) {
                break;
            }
            reader.taken.push_back((number, 0));
            reader.behind = number;
            if is_large {
                break;
            }
        }
    }

    /// Returns the position at which a reader continues after a gap.
    fn after_gap(&self, start: Option<Start>) -> u64 {
        match start {
            None | Some(Start::First) => self.behind_oldest,
            Some(Start::Now) => self.last(),
            Some(Start::Latest(count)) => {
                let before = self.last().saturating_sub(count as u64);
                before.max(self.behind_oldest)
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        topic: &Topic<Item>,
        from: From,
        after_gap: Option<Start>,
    ) -> Reader {
        self.evict();
        let (oldest, last) = (self.behind_oldest, self.last());
        let continues_at = self.after_gap(after_gap);
        let id = |text: String| Cursor::from(EventId::new(text).unwrap());
        let topic = Subscriber { topic, after_gap };
        let (subscription, behind, gap) = match from {
            From::Now => (topic.subscribe(Start::Now), last, None),
            From::First => (topic.subscribe(Start::First), oldest, None),
            From::Latest(count) => {
                let behind = last.saturating_sub(count as u64).max(oldest);
                (topic.subscribe(Start::Latest(count)), behind, None)
            }
            From::Number(thousandths) => {
                let number = (last + 3) * thousandths / 1000;
                // The topic has sent an id for each number from 1 to `last`. Any other id is made up.
                let sent = match (1..=last).contains(&number) {
                    true => self.of(number).id.clone().into(),
                    false => id(format!("{}-{number}", self.epoch)),
                };
                let subscription = topic.subscribe(sent);
                match number > last {
                    true => (
                        subscription,
                        continues_at,
                        Some((GapReason::Unknown, continues_at)),
                    ),
                    false => (subscription, number, None),
                }
            }
            From::OtherEpoch => {
                let gap = Some((GapReason::OtherEpoch, continues_at));
                let subscription = topic.subscribe(id(format!("zzzzzzzzzzzu-{last}")));
                (subscription, continues_at, gap)
            }
            From::Garbage => {
                let gap = Some((GapReason::Unknown, continues_at));
                (topic.subscribe(id("7".to_owned())), continues_at, gap)
            }
        };
        Reader {
            subscription,
            woken: Arc::default(),
            is_waiting: false,
            behind,
            taken: VecDeque::new(),
            seen: behind,
            told: 0,
            gap,
            after_gap,
            has_read: false,
            resumes: matches!(from, From::Number(_) | From::OtherEpoch | From::Garbage),
            has_ended: false,
        }
    }
}

/// Subscribes readers that continue at `after_gap` after a gap.
pub(super) struct Subscriber<'a> {
    pub(super) topic: &'a Topic<Item>,
    pub(super) after_gap: Option<Start>,
}

impl Subscriber<'_> {
    pub(super) fn subscribe(&self, cursor: impl Into<Cursor>) -> Subscription<Item> {
        let cursor = cursor.into();
        self.topic.subscribe(match self.after_gap {
            Some(start) => cursor.after_gap(start),
            None => cursor,
        })
    }
}

impl Reader {
    pub(super) fn read(&mut self, store: &Store) -> Seen {
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.woken));
        let seen = match poll_once(self.subscription.recv(), &waker) {
            Poll::Pending => Seen::Nothing,
            Poll::Ready(None) => Seen::End,
            Poll::Ready(Some(Ok(update))) => {
                assert_eq!(
                    store.number(&update.id().to_string()),
                    update.number,
                    "the ID belongs to a different event"
                );
                Seen::Event(update.number)
            }
            Poll::Ready(Some(Err(gap))) => {
                let position = store.number(&gap.position().to_string());
                Seen::Gap(gap.reason(), gap.missed(), position)
            }
        };
        self.is_waiting = seen == Seen::Nothing;
        seen
    }

    /// Asserts that the reader has been woken if it was waiting.
    pub(super) fn assert_woken(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            assert!(
                self.woken.0.load(Ordering::Relaxed),
                "the waiting reader was not woken"
            );
        }
    }
}
