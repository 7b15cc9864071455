//! Applies a batch of requests in one transaction.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redb::{Database, ReadableDatabase as _, ReadableTable, Table, WriteTransaction};
use sse_runtime::topic::engine::{Appended, Keep, Kind, Place, Record};

use crate::{
    request::Request,
    tables::{
        KEYS, META, RECORDS, TOPICS, TOPICS_KEY, TopicState, damaged, decode_record, encode_record,
    },
};

/// The maximum number of records that a single append removes. After a topic's limits are lowered,
/// this spreads the removal over several appends.
const TRIM: usize = 1_000;

/// The result of a request.
pub(crate) enum Outcome {
    /// The record was stored, or the topic was created. Contains `None` if the request was to
    /// create a topic.
    Stored(Option<Appended>),
    /// A record with this key was already stored.
    Known(Appended),
    Ended,
    TooLarge,
}

/// The error returned if a batch could not be committed.
pub(crate) struct Failed {
    pub(crate) error: redb::Error,
    /// Whether the commit returned the error. Otherwise, no part of the batch is stored.
    pub(crate) is_commit: bool,
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            is_commit: false,
        }
    }
}

/// Applies all requests and commits them. When the call returns, the transaction is on the disk.
pub(crate) fn apply(
    database: &Database,
    batch: &[Request],
    max_event_bytes: usize,
) -> Result<Vec<Outcome>, Failed> {
    let now = now();
    let transaction = database.begin_write()?;
    let mut batch_state = Batch {
        records: transaction.open_table(RECORDS)?,
        keys: transaction.open_table(KEYS)?,
        topics: Topics::open(&transaction, now)?,
        now,
        max_event_bytes,
    };
    let outcomes = batch
        .iter()
        .map(|request| batch_state.apply(request))
        .collect::<Result<Vec<_>, _>>()?;
    let is_changed = batch_state.topics.store()?;
    drop(batch_state);
    if is_changed {
        transaction.commit().map_err(|error| Failed {
            error: error.into(),
            is_commit: true,
        })?;
    } else {
        transaction.abort()?;
    }
    Ok(outcomes)
}

/// Returns the current time, in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

struct Batch<'a> {
    records: Table<'a, (u64, u64), &'static [u8]>,
    keys: Table<'a, (u64, [u8; 16]), u64>,
    topics: Topics<'a>,
    now: u64,
    max_event_bytes: usize,
}

impl Batch<'_> {
    fn apply(&mut self, request: &Request) -> Result<Outcome, redb::Error> {
        let name = request.topic();
        let mut topic = self.topics.get_or_create(name)?;
        let Request::Append { record, keep, .. } = request else {
            return Ok(Outcome::Stored(None));
        };
        let Record { key, kind, body } = record;
        let known = self.keys.get((topic.id, key.to_bytes()))?;
        if let Some(known) = known.map(|number| number.value()) {
            let known = find_record(&self.records, &topic, known)?;
            return Ok(Outcome::Known(known));
        }
        if topic.has_ended {
            return Ok(Outcome::Ended);
        }
        if body.len() > self.max_event_bytes {
            return Ok(Outcome::TooLarge);
        }
        let previous = topic.place();
        let number = topic.newest + 1;
        let value = encode_record(topic.id, number, self.now, record);
        self.records.insert((topic.id, number), &*value)?;
        self.keys.insert((topic.id, key.to_bytes()), number)?;
        topic.newest = number;
        topic.newest_key = *key;
        topic.newest_stamp = self.now;
        topic.has_ended = *kind == Kind::End;
        topic.bytes += body.len() as u64;
        topic.expires_at = keep.age.map_or(u64::MAX, |age| {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            self.now.saturating_add(age)
        });
        self.trim(&mut topic, *keep)?;
        self.topics.set(name, topic);
        Ok(Outcome::Stored(Some(Appended {
            epoch: topic.epoch,
            previous,
            number,
            mark: key.mark(self.now),
            is_new: true,
        })))
    }

    /// Removes the oldest records that exceed the limits, except the newest of these records. The
    /// newest event and the end of the topic are always kept.
    fn trim(&mut self, topic: &mut TopicState, keep: Keep) -> Result<(), redb::Error> {
        for _ in 0..TRIM {
            let is_newest = topic.count() <= 2 + u64::from(topic.has_ended);
            // The oldest record is removed only if the record after it exceeds the limits as well.
            if is_newest || !self.exceeds(topic, keep)? {
                return Ok(());
            }
            let oldest = topic.first;
            let removed = self.records.remove((topic.id, oldest))?;
            let removed = removed.ok_or_else(|| damaged("a record is missing"))?;
            let (header, body) = decode_record(topic.id, oldest, removed.value())?;
            self.keys.remove((topic.id, header.key.to_bytes()))?;
            topic.bytes = topic.bytes.saturating_sub(body.len() as u64);
            topic.first += 1;
        }
        Ok(())
    }

    /// Returns whether the records other than the oldest exceed the limits.
    fn exceeds(&self, topic: &TopicState, keep: Keep) -> Result<bool, redb::Error> {
        let events = topic.count() - u64::from(topic.has_ended) - 1;
        if events > keep.events.max(1) as u64 {
            return Ok(true);
        }
        if topic.bytes > keep.bytes as u64 {
            let value = self.records.get((topic.id, topic.first))?;
            let value = value.ok_or_else(|| damaged("a record is missing"))?;
            let (_, body) = decode_record(topic.id, topic.first, value.value())?;
            if topic.bytes.saturating_sub(body.len() as u64) > keep.bytes as u64 {
                return Ok(true);
            }
        }
        let Some(age) = keep.age else {
            return Ok(false);
        };
        let second = topic.first + 1;
        let value = self.records.get((topic.id, second))?;
        let value = value.ok_or_else(|| damaged("a record is missing"))?;
        let (header, _) = decode_record(topic.id, second, value.value())?;
        Ok(Duration::from_millis(self.now.saturating_sub(header.stamp)) > age)
    }
}

/// The topics that a batch uses.
struct Topics<'a> {
    table: Table<'a, &'static str, &'static [u8]>,
    meta: Table<'a, &'static str, u64>,
    /// The topics used so far, and whether each has changed.
    used: HashMap<Arc<str>, (TopicState, bool)>,
    now: u64,
}

impl<'a> Topics<'a> {
    fn open(transaction: &'a WriteTransaction, now: u64) -> Result<Self, redb::Error> {
        Ok(Self {
            table: transaction.open_table(TOPICS)?,
            meta: transaction.open_table(META)?,
            used: HashMap::new(),
            now,
        })
    }

    fn get_or_create(&mut self, name: &Arc<str>) -> Result<TopicState, redb::Error> {
        if let Some((topic, _)) = self.used.get(name) {
            return Ok(*topic);
        }
        let stored = self.table.get(&**name)?;
        let stored = stored.map(|value| TopicState::decode(value.value()));
        let used = match stored.transpose()? {
            Some(topic) => (topic, false),
            None => {
                let count = self.meta.get(TOPICS_KEY)?;
                let id = count.map_or(0, |count| count.value()) + 1;
                self.meta.insert(TOPICS_KEY, id)?;
                (TopicState::new(id, self.now), true)
            }
        };
        self.used.insert(Arc::clone(name), used);
        Ok(used.0)
    }

    fn set(&mut self, name: &Arc<str>, topic: TopicState) {
        self.used.insert(Arc::clone(name), (topic, true));
    }

    /// Stores the topics that have changed. Returns whether any topic has changed.
    fn store(&mut self) -> Result<bool, redb::Error> {
        let mut is_changed = false;
        for (name, (topic, _)) in self.used.iter().filter(|(_, (_, changed))| *changed) {
            self.table.insert(&**name, &*topic.encode())?;
            is_changed = true;
        }
        Ok(is_changed)
    }
}

/// Returns the place with this number. The place has a mark only if its record is still stored.
pub(crate) fn place_at(
    records: &impl ReadableTable<(u64, u64), &'static [u8]>,
    topic: &TopicState,
    number: u64,
) -> Result<Place, redb::Error> {
    if number == 0 {
        return Ok(Place::START);
    }
    let stored = records.get((topic.id, number))?;
    let header = stored.map(|value| decode_record(topic.id, number, value.value()).map(|r| r.0));
    Ok(Place {
        number,
        mark: header.transpose()?.map(|header| header.mark()),
    })
}

/// Returns the position of a record that is already stored.
fn find_record(
    records: &impl ReadableTable<(u64, u64), &'static [u8]>,
    topic: &TopicState,
    number: u64,
) -> Result<Appended, redb::Error> {
    let place = place_at(records, topic, number)?;
    Ok(Appended {
        epoch: topic.epoch,
        previous: place_at(records, topic, number.saturating_sub(1))?,
        number,
        mark: place.mark.ok_or_else(|| damaged("a record is missing"))?,
        is_new: false,
    })
}

/// Looks up the records of a batch that may or may not have been committed. The result contains
/// `None` for each record that was not stored.
pub(crate) fn find(
    database: &Database,
    batch: &[Request],
) -> Result<Vec<Option<Appended>>, redb::Error> {
    let transaction = database.begin_read()?;
    let topics = transaction.open_table(TOPICS)?;
    let keys = transaction.open_table(KEYS)?;
    let records = transaction.open_table(RECORDS)?;
    let find = |request: &Request| {
        let Request::Append { topic, record, .. } = request else {
            return Ok(None);
        };
        let Some(state) = topics.get(&**topic)? else {
            return Ok(None);
        };
        let state = TopicState::decode(state.value())?;
        let Some(number) = keys.get((state.id, record.key.to_bytes()))? else {
            return Ok(None);
        };
        let number = number.value();
        find_record(&records, &state, number).map(Some)
    };
    batch.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use redb::backends::InMemoryBackend;
    use sse_runtime::topic::engine::{Key, Page};
    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::{open, read};

    const KEEP: Keep = Keep {
        events: usize::MAX,
        bytes: usize::MAX,
        age: None,
    };

    fn open() -> Database {
        let (_, database) = open::open_backend(Box::new(InMemoryBackend::new())).unwrap();
        database
    }

    fn request(key: u128, kind: Kind, keep: Keep) -> Request {
        Request::Append {
            topic: "topic".into(),
            record: Record {
                key: Key::from(key),
                kind,
                body: Bytes::from_static(b"body"),
            },
            keep,
            reply: oneshot::channel().0,
            _room: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        }
    }

    fn event(key: u128) -> Request {
        request(key, Kind::Event, KEEP)
    }

    fn append(database: &Database, batch: &[Request]) -> Vec<Outcome> {
        match apply(database, batch, 100) {
            Ok(outcomes) => outcomes,
            Err(failed) => panic!("{}", failed.error),
        }
    }

    fn page(database: &Database, after: u64, bytes: usize) -> Page {
        let transaction = database.begin_read().unwrap();
        let page = read::page(&transaction, "topic", after, bytes);
        page.unwrap().unwrap()
    }

    /// Returns the place of a stored record, and checks the record's key.
    fn place(database: &Database, number: u64, key: u128) -> Place {
        let page = page(database, number - 1, 1);
        let stored = &page.records[0];
        assert_eq!(stored.record.key, Key::from(key));
        assert_eq!(stored.number, number);
        stored.place()
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.records.iter().map(|stored| stored.number).collect()
    }

    #[test]
    fn known_key_returns_the_place_of_its_record() {
        let database = open();
        append(&database, &[event(10), event(20), event(30)]);
        let outcomes = append(&database, &[event(30), event(10), event(40), event(40)]);
        let mut appended = outcomes.iter().map(|outcome| match outcome {
            Outcome::Known(appended) => (false, appended.previous, appended.number),
            Outcome::Stored(Some(appended)) => (true, appended.previous, appended.number),
            _ => panic!(),
        });
        assert_eq!(appended.next(), Some((false, place(&database, 2, 20), 3)));
        assert_eq!(appended.next(), Some((false, Place::START, 1)));
        assert_eq!(appended.next(), Some((true, place(&database, 3, 30), 4)));
        assert_eq!(appended.next(), Some((false, place(&database, 3, 30), 4)));
    }

    #[test]
    fn nothing_is_stored_after_the_end() {
        let database = open();
        let end = || request(1, Kind::End, KEEP);
        let outcomes = append(&database, &[event(10), end(), event(20), event(10), end()]);
        assert!(matches!(
            outcomes[..],
            [
                Outcome::Stored(_),
                Outcome::Stored(_),
                Outcome::Ended,
                Outcome::Known(_),
                Outcome::Known(_),
            ]
        ));
        assert!(matches!(
            append(&database, &[event(30)])[..],
            [Outcome::Ended]
        ));
        assert_eq!(numbers(&page(&database, 0, 100)), [1, 2]);
    }

    #[test]
    fn page_starts_after_the_oldest_record_that_is_left() {
        let database = open();
        let keep = Keep { events: 2, ..KEEP };
        for key in 1..=6 {
            append(&database, &[request(key, Kind::Event, keep)]);
        }
        for (after, before, left) in [
            (
                0,
                Place {
                    number: 3,
                    mark: None,
                },
                &[4, 5, 6][..],
            ),
            (
                3,
                Place {
                    number: 3,
                    mark: None,
                },
                &[4, 5, 6],
            ),
            (4, place(&database, 4, 4), &[5, 6]),
            (6, place(&database, 6, 6), &[]),
            (9, place(&database, 6, 6), &[]),
            (u64::MAX, place(&database, 6, 6), &[]),
        ] {
            let page = page(&database, after, 100);
            assert_eq!(page.before, before, "after {after}");
            assert_eq!(numbers(&page), left, "after {after}");
            assert_eq!(page.tail.newest, place(&database, 6, 6));
        }
        // The key of a record that was removed is forgotten.
        let again = append(&database, &[event(1)]);
        assert!(matches!(
            again[..],
            [Outcome::Stored(Some(Appended { number: 7, .. }))]
        ));
    }

    #[test]
    fn page_contains_at_least_one_record() {
        let database = open();
        append(&database, &[event(1), event(2), event(3), event(4)]);
        for (bytes, count) in [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (100, 4)] {
            let page = page(&database, 0, bytes);
            assert_eq!((page.records.len(), page.before), (count, Place::START));
        }
    }

    #[test]
    fn lowered_limit_is_applied_in_steps() {
        let database = open();
        let count = 3 * TRIM as u128;
        append(&database, &(1..=count).map(event).collect::<Vec<_>>());
        let keep = Keep { events: 10, ..KEEP };
        for left in [2 * TRIM + 1, TRIM + 2, 11, 11] {
            let key = u128::from(fastrand::u64(u64::MAX / 2..));
            append(&database, &[request(key, Kind::Event, keep)]);
            assert_eq!(page(&database, 0, usize::MAX).records.len(), left);
        }
    }
}
