//! Removes topics whose events have all become too old.

use std::ops::Bound;

use redb::{Database, ReadTransaction, ReadableTable as _};

use crate::{
    append::{Failed, now},
    tables::{KEYS, RECORDS, TOPICS, TopicState, damaged, decode_record},
};

/// The maximum number of records that one transaction removes. Publishers wait until the transaction
/// ends.
pub(crate) const STEP: u64 = 5_000;

/// The maximum number of topics that a call to [`find`] examines.
const SCAN: usize = 10_000;

/// Examines the topics after the one named `after`, in the order of their names. Returns the names of
/// those that have expired, and the name after which to continue if there may be more topics.
pub(crate) fn find(
    transaction: &ReadTransaction,
    after: Option<&str>,
) -> Result<(Vec<String>, Option<String>), redb::Error> {
    let now = now();
    let mut expired = Vec::new();
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let topics = transaction.open_table(TOPICS)?;
    for (index, entry) in topics.range::<&str>((start, Bound::Unbounded))?.enumerate() {
        let (name, value) = entry?;
        let topic = TopicState::decode(value.value())?;
        if topic.expires_at <= now {
            expired.push(name.value().to_owned());
        }
        if index + 1 == SCAN {
            return Ok((expired, Some(name.value().to_owned())));
        }
    }
    Ok((expired, None))
}

/// Removes a topic if it has expired. A call removes at most `step` records, oldest first. Returns
/// `false` if it must be called again to remove the rest.
pub(crate) fn remove(database: &Database, name: &str, step: u64) -> Result<bool, Failed> {
    let transaction = database.begin_write()?;
    let is_removed = {
        let mut topics = transaction.open_table(TOPICS)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut keys = transaction.open_table(KEYS)?;
        let stored = topics.get(name)?;
        let stored = stored.map(|value| TopicState::decode(value.value()));
        let Some(mut topic) = stored.transpose()? else {
            return Ok(true);
        };
        if topic.expires_at > now() {
            // Another event has been published in the meantime.
            return Ok(true);
        }
        let first = topic.first;
        for number in first..=topic.newest.min(first + step - 1) {
            let removed = records.remove((topic.id, number))?;
            let removed = removed.ok_or_else(|| damaged("a record is missing"))?;
            let (header, body) = decode_record(topic.id, number, removed.value())?;
            keys.remove((topic.id, header.key.to_bytes()))?;
            topic.bytes = topic.bytes.saturating_sub(body.len() as u64);
            topic.first = number + 1;
        }
        let is_removed = topic.count() == 0;
        match is_removed {
            true => drop(topics.remove(name)?),
            false => drop(topics.insert(name, &*topic.encode())?),
        }
        is_removed
    };
    transaction.commit().map_err(|error| Failed {
        error: error.into(),
        is_commit: true,
    })?;
    Ok(is_removed)
}
