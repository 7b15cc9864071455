//! Reads records and newest positions.

use std::time::Duration;

use bytes::Bytes;
use redb::ReadTransaction;
use sse_runtime::topic::engine::{Page, Record, Stored, Tail};

use crate::{
    append::{now, place_at},
    tables::{Header, RECORDS, TOPICS, TopicState, damaged, decode_record},
};

/// Returns the newest position of a topic, or `None` if the topic does not exist.
pub(crate) fn tail(transaction: &ReadTransaction, name: &str) -> Result<Option<Tail>, redb::Error> {
    let topic = topic(transaction, name)?;
    Ok(topic.map(|topic| Tail {
        epoch: topic.epoch,
        newest: topic.place(),
    }))
}

/// Reads a page of the records after number `after`. Returns `None` if the topic does not exist.
pub(crate) fn page(
    transaction: &ReadTransaction,
    name: &str,
    after: u64,
    bytes: usize,
) -> Result<Option<Page>, redb::Error> {
    let Some(topic) = topic(transaction, name)? else {
        return Ok(None);
    };
    let records = transaction.open_table(RECORDS)?;
    let first = after.min(topic.newest).saturating_add(1).max(topic.first);
    let mut page = Page {
        tail: Tail {
            epoch: topic.epoch,
            newest: topic.place(),
        },
        before: place_at(&records, &topic, first - 1)?,
        records: Vec::new(),
    };
    let now = now();
    let mut number = first;
    let mut is_full = false;
    // The bodies of a page share an allocation.
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    for entry in records.range((topic.id, first)..=(topic.id, topic.newest))? {
        let (key, value) = entry?;
        if key.value() != (topic.id, number) {
            break;
        }
        let (header, body) = decode_record(topic.id, number, value.value())?;
        headers.push((header, body.len()));
        bodies.extend_from_slice(body);
        number += 1;
        is_full = bodies.len() >= bytes;
        if is_full {
            break;
        }
    }
    if number != topic.newest + 1 && !is_full {
        return Err(damaged("a record is missing"));
    }
    let mut bodies = Bytes::from(bodies);
    let stored = |(number, (header, len)): (u64, (Header, usize))| Stored {
        number,
        mark: header.mark(),
        record: Record {
            key: header.key,
            kind: header.kind,
            body: bodies.split_to(len),
        },
        age: Duration::from_millis(now.saturating_sub(header.stamp)),
    };
    page.records = (first..).zip(headers).map(stored).collect();
    Ok(Some(page))
}

/// Returns an estimate of the number of bytes that the records of all topics occupy in the file.
pub(crate) fn live_bytes(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    /// The bytes that a record occupies in addition to its body. They include the record's header,
    /// its entry in the `keys` table, and its share of the B-tree's branch pages.
    const OVERHEAD: u64 = 128;
    let mut bytes = 0;
    for entry in redb::ReadableTable::iter(&transaction.open_table(TOPICS)?)? {
        let (_, value) = entry?;
        let topic = TopicState::decode(value.value())?;
        bytes += topic.bytes + (topic.count() + 1) * OVERHEAD;
    }
    Ok(bytes)
}

fn topic(transaction: &ReadTransaction, name: &str) -> Result<Option<TopicState>, redb::Error> {
    let topics = transaction.open_table(TOPICS)?;
    let stored = topics.get(name)?;
    stored
        .map(|value| TopicState::decode(value.value()))
        .transpose()
}
