//! The tables of a log, and the format of their values.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `"format"`, `"topics"` | the version of the file's format, the number of topics created so far |
//! | `topics` | name | [`TopicState`] |
//! | `records` | topic id, number | [`encode_record`] |
//! | `keys` | topic id, key | number |
//!
//! redb verifies its own checksums only when the file is opened. The values therefore have their
//! own checksums, so a bit that flips later is detected when the value is read.

use redb::TableDefinition;
use sse_runtime::topic::engine::{Epoch, Key, Kind, Mark, Place, Record};

/// The version of the file's format.
pub(crate) const FORMAT: u64 = 1;

pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const TOPICS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("topics");
pub(crate) const RECORDS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("records");
pub(crate) const KEYS: TableDefinition<'_, (u64, [u8; 16]), u64> = TableDefinition::new("keys");
/// Contains data only while the log checks whether the disk has free space again.
pub(crate) const PROBE: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("probe");

/// The key in `meta` under which the format version is stored.
pub(crate) const FORMAT_KEY: &str = "format";

/// The key in `meta` under which the number of topics created so far is stored.
pub(crate) const TOPICS_KEY: &str = "topics";

/// The state of a topic. Its records have consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) id: u64,
    pub(crate) epoch: Epoch,
    /// The number of the oldest record, or `newest + 1` if there is none.
    pub(crate) first: u64,
    /// The number of the newest record, or 0 if there is none.
    pub(crate) newest: u64,
    /// The key of the newest record.
    pub(crate) newest_key: Key,
    /// The time at which the newest record was stored, in milliseconds since 1970.
    pub(crate) newest_stamp: u64,
    pub(crate) has_ended: bool,
    /// The total size of the records' bodies.
    pub(crate) bytes: u64,
    /// The time after which the topic may be removed, in milliseconds since 1970. [`u64::MAX`] if
    /// the topic is kept forever.
    pub(crate) expires_at: u64,
}

/// How long a topic is kept if no event has ever been published to it, in milliseconds.
const KEEP_EMPTY: u64 = 60 * 60 * 1000;

impl TopicState {
    pub(crate) fn new(id: u64, now: u64) -> Self {
        Self {
            id,
            epoch: Epoch::random(),
            first: 1,
            newest: 0,
            newest_key: Key::from([0; 16]),
            newest_stamp: 0,
            has_ended: false,
            bytes: 0,
            expires_at: now.saturating_add(KEEP_EMPTY),
        }
    }

    /// Returns the place of the newest record.
    pub(crate) fn place(&self) -> Place {
        match self.newest {
            0 => Place::START,
            number => Place {
                number,
                mark: Some(self.newest_key.mark(self.newest_stamp)),
            },
        }
    }

    /// Returns the number of records.
    pub(crate) fn count(&self) -> u64 {
        (self.newest + 1).saturating_sub(self.first)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(8 + 77);
        value.extend([0; 8]);
        value.extend(self.id.to_le_bytes());
        value.extend(self.epoch.to_bytes());
        value.extend(self.first.to_le_bytes());
        value.extend(self.newest.to_le_bytes());
        value.extend(self.newest_key.to_bytes());
        value.extend(self.newest_stamp.to_le_bytes());
        value.push(self.has_ended.into());
        value.extend(self.bytes.to_le_bytes());
        value.extend(self.expires_at.to_le_bytes());
        seal(&mut value, &[]);
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, redb::Error> {
        let decode = || {
            let mut fields = unseal(value, &[])?;
            Some(Self {
                id: take_u64(&mut fields)?,
                epoch: Epoch::from_bytes(take(&mut fields)?)?,
                first: take_u64(&mut fields)?,
                newest: take_u64(&mut fields)?,
                newest_key: Key::from(take::<16>(&mut fields)?),
                newest_stamp: take_u64(&mut fields)?,
                has_ended: take::<1>(&mut fields)? != [0],
                bytes: take_u64(&mut fields)?,
                expires_at: take_u64(&mut fields)?,
            })
        };
        decode().ok_or_else(|| damaged("a topic's state is damaged"))
    }
}

/// The stored fields of a record other than its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The time at which the record was stored, in milliseconds since 1970.
    pub(crate) stamp: u64,
    pub(crate) kind: Kind,
    pub(crate) key: Key,
}

impl Header {
    /// Returns the record's mark.
    pub(crate) fn mark(&self) -> Mark {
        self.key.mark(self.stamp)
    }
}

/// Encodes a record as a checksum, followed by the time, the kind, the key and the body.
pub(crate) fn encode_record(topic: u64, number: u64, stamp: u64, record: &Record) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + 8 + 1 + 16 + record.body.len());
    value.extend([0; 8]);
    value.extend(stamp.to_le_bytes());
    value.push(match record.kind {
        Kind::Event => 0,
        Kind::End => 1,
    });
    value.extend(record.key.to_bytes());
    value.extend_from_slice(&record.body);
    seal(&mut value, &[topic, number]);
    value
}

/// Decodes a record into its header and its body.
pub(crate) fn decode_record(
    topic: u64,
    number: u64,
    value: &[u8],
) -> Result<(Header, &[u8]), redb::Error> {
    let decode = || {
        let mut fields = unseal(value, &[topic, number])?;
        let header = Header {
            stamp: take_u64(&mut fields)?,
            kind: match take::<1>(&mut fields)? {
                [0] => Kind::Event,
                [1] => Kind::End,
                _ => return None,
            },
            key: Key::from(take::<16>(&mut fields)?),
        };
        Some((header, fields))
    };
    decode().ok_or_else(|| damaged("a record is damaged"))
}

pub(crate) fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

/// Writes the checksum into the first eight bytes.
fn seal(value: &mut [u8], place: &[u64]) {
    if let Some((sum, content)) = value.split_first_chunk_mut::<8>() {
        *sum = checksum(content, place).to_le_bytes();
    }
}

/// Returns the content after the checksum, or `None` if the checksum is incorrect.
fn unseal<'a>(value: &'a [u8], place: &[u64]) -> Option<&'a [u8]> {
    let (sum, content) = value.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sum) == checksum(content, place)).then_some(content)
}

/// Computes a checksum of a value and its place. The checksum does not match if the value is found
/// in another place.
///
/// As in FNV-1a, each step is a bijection of the state, so a change within a single word always
/// changes the checksum. Each step processes eight bytes, because bodies may be large.
fn checksum(content: &[u8], place: &[u64]) -> u64 {
    let step = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 32
    };
    let hash = place.iter().copied().fold(content.len() as u64, step);
    let (words, rest) = content.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter()
        .fold(hash, |hash, byte| step(hash, (*byte).into()))
}

fn take<const N: usize>(fields: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = fields.split_first_chunk::<N>()?;
    *fields = rest;
    Some(*taken)
}

fn take_u64(fields: &mut &[u8]) -> Option<u64> {
    take(fields).map(u64::from_le_bytes)
}
