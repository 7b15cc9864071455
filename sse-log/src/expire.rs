//! Removes topics whose events have all become too old.

use redb::{Database, ReadTransaction, ReadableTable as _};

use crate::{
    append::{Failed, now},
    tables::{KEYS, RECORDS, TOPICS, TopicState, damaged, decode_record},
};

/// The maximum number of records that one transaction removes. Publishers wait until the transaction
/// ends.
const STEP: u64 = 5_000;

/// Returns the names of the topics that have expired and are not in use.
pub(crate) fn find(
    transaction: &ReadTransaction,
    is_in_use: impl Fn(&str) -> bool,
) -> Result<Vec<String>, redb::Error> {
    let now = now();
    let mut expired = Vec::new();
    for entry in transaction.open_table(TOPICS)?.iter()? {
        let (name, value) = entry?;
        let topic = TopicState::decode(value.value())?;
        if topic.expires_at <= now && !is_in_use(name.value()) {
            expired.push(name.value().to_owned());
        }
    }
    Ok(expired)
}

/// Removes a topic if it has expired. A call removes at most [`STEP`] records, oldest first. Returns
/// `false` if it must be called again to remove the rest.
pub(crate) fn remove(database: &Database, name: &str) -> Result<bool, Failed> {
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
        for number in first..=topic.newest.min(first + STEP - 1) {
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
