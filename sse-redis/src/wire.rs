//! Decodes the replies of the scripts and the messages of the feed.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use sse_runtime::topic::engine::{
    Appended, Claimed, Epoch, Key, Kind, Mark, Page, Place, Record, Renewed, Stored, Tail,
};

/// Returns an epoch for a new log, which becomes the first half of the ids in its stream. The epoch
/// is never 0, because `0-0` is not a valid id.
pub(crate) fn new_epoch() -> u64 {
    loop {
        let number = Epoch::random().to_number();
        if number > 0 {
            return number;
        }
    }
}

/// Parses the id of a record.
fn parse_id(id: &[u8]) -> Option<(Epoch, u64)> {
    let (epoch, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((
        Epoch::from_number(epoch.parse().ok()?)?,
        number.parse().ok()?,
    ))
}

/// Returns the mark of the record with this stamp, which consists of the record's key and time.
fn mark_of(stamp: &[u8]) -> Option<Mark> {
    let (key, time) = stamp.split_first_chunk::<16>()?;
    let time = std::str::from_utf8(time).ok()?.parse().ok()?;
    Some(Key::from(*key).mark(time))
}

/// Returns the place of the record with this number and stamp. The stamp is empty if it is unknown.
fn place(number: u64, stamp: &[u8]) -> Place {
    Place {
        number,
        mark: mark_of(stamp).filter(|_| number > 0),
    }
}

pub(crate) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

pub(crate) fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => (*number).try_into().ok(),
        _ => std::str::from_utf8(bytes(value)?).ok()?.parse().ok(),
    }
}

/// A reply of the script `append`.
pub(crate) enum AppendReply {
    /// The record is stored. The second field is the number of entries that another program had
    /// added and that the script has removed.
    Stored(Appended, u64),
    Ended,
    Fenced,
}

pub(crate) fn append_reply(reply: &Value) -> Option<AppendReply> {
    let (status, id, previous, foreign, stamp) = match array(reply)? {
        [status] => {
            return match bytes(status)? {
                b"ended" => Some(AppendReply::Ended),
                b"fenced" => Some(AppendReply::Fenced),
                _ => None,
            };
        }
        [status, id, previous, foreign, stamp] => (status, id, previous, foreign, stamp),
        _ => return None,
    };
    let (epoch, at) = parse_id(bytes(id)?)?;
    let is_new = bytes(status)? == b"new";
    let appended = Appended {
        epoch,
        previous: place(at.checked_sub(1)?, bytes(previous)?),
        number: at,
        mark: mark_of(bytes(stamp)?)?,
        is_new,
    };
    let removed = if is_new { number(foreign)? } else { 0 };
    Some(AppendReply::Stored(appended, removed))
}

/// Decodes a reply of the script `claim`. The result is `Some(None)` if the lease has expired, but the
/// script was not allowed to take the run over.
#[allow(clippy::option_option)]
pub(crate) fn claim_reply(reply: &Value) -> Option<Option<Claimed>> {
    Some(Some(match bytes(reply)? {
        b"new" => Claimed::New,
        b"taken over" => Claimed::TakenOver,
        b"held" => Claimed::Held,
        b"ended" => Claimed::Ended,
        b"no run" => Claimed::NoRun,
        b"expired" => return Some(None),
        _ => return None,
    }))
}

/// Decodes a reply of the script `renew`.
pub(crate) fn renew_reply(reply: &Value) -> Option<Renewed> {
    Some(match array(reply)? {
        [status, read] if bytes(status)? == b"held" => Renewed::Held {
            read: number(read).map(Duration::from_millis),
        },
        [status] if bytes(status)? == b"lost" => Renewed::Lost,
        [status] if bytes(status)? == b"ended" => Renewed::Ended,
        _ => return None,
    })
}

/// Decodes a reply of the script `expired`.
pub(crate) fn expired_reply(reply: &Value) -> Option<Vec<String>> {
    // The name of every topic is valid UTF-8, so any other name was added by another program.
    let topic = |topic| Some(String::from_utf8_lossy(bytes(topic)?).into_owned());
    array(reply)?.iter().map(topic).collect()
}

pub(crate) fn tail(id: &Value, key: &Value) -> Option<Tail> {
    let (epoch, number) = parse_id(bytes(id)?)?;
    let newest = place(number, bytes(key)?);
    Some(Tail { epoch, newest })
}

/// Decodes a reply of the script `tails`.
pub(crate) fn tails_reply(reply: &Value) -> Option<Vec<Option<Tail>>> {
    let tail = |reply: &Value| match array(reply)? {
        [] => Some(None),
        [id, key] => tail(id, key).map(Some),
        _ => None,
    };
    array(reply)?.iter().map(tail).collect()
}

/// Decodes a reply of the script `read`. Also returns the number of entries that another program has
/// added.
pub(crate) fn read_reply(reply: Value, after: u64) -> Option<(Page, u64)> {
    let Value::Array(fields) = reply else {
        return None;
    };
    let [now, id, key, foreign, Value::Array(entries)] = <[Value; 5]>::try_from(fields).ok()?
    else {
        return None;
    };
    let (now, tail) = (number(&now)?, tail(&id, &key)?);
    // If the log contains nothing after number `after`, the place before the page is the newest
    // one.
    let mut before = if after >= tail.newest.number {
        tail.newest
    } else {
        place(after, &[])
    };
    let mut records: Vec<Stored> = Vec::with_capacity(entries.len());
    for entry in entries {
        let stored = match stored(entry, now)? {
            Entry::Start => continue,
            Entry::Record(stored) => stored,
        };
        if stored.number <= after {
            before = stored.place();
            continue;
        }
        let newest = records.last().map_or(before.number, |last| last.number);
        if stored.number != newest + 1 {
            // The records before this one have been removed. If the page already contains records,
            // another program has removed these records from the middle of the log. The page then
            // ends here, and the next page begins after the missing records.
            if !records.is_empty() {
                break;
            }
            before = place(stored.number - 1, &[]);
        }
        records.push(stored);
    }
    let page = Page {
        tail,
        before,
        records,
    };
    Some((page, number(&foreign)?))
}

/// An entry of a log.
enum Entry {
    /// The start of a log that was created before it had any records.
    Start,
    Record(Stored),
}

fn stored(entry: Value, now: u64) -> Option<Entry> {
    let Value::Array(entry) = entry else {
        return None;
    };
    let [id, Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else {
        return None;
    };
    let (_, at) = parse_id(bytes(&id)?)?;
    let Ok([_, key, _, time, _, _, kind, body]) = <[Value; 8]>::try_from(fields) else {
        return (at == 0).then_some(Entry::Start);
    };
    let Value::BulkString(body) = body else {
        return None;
    };
    let key: [u8; 16] = bytes(&key)?.try_into().ok()?;
    let (key, time) = (Key::from(key), number(&time)?);
    Some(Entry::Record(Stored {
        number: at,
        mark: key.mark(time),
        record: Record {
            key,
            kind: kind_of(bytes(&kind)?.first().copied()?)?,
            body: body.into(),
        },
        age: Duration::from_millis(now.saturating_sub(time)),
    }))
}

fn kind_of(letter: u8) -> Option<Kind> {
    match letter {
        b'b' => Some(Kind::Event),
        b'e' => Some(Kind::End),
        _ => None,
    }
}

/// A message of the feed.
#[derive(Debug)]
pub(crate) enum Message {
    /// A record, with its epoch and the place before it.
    Record(Epoch, Place, Stored),
    /// A record was stored that is too large for a message.
    Look,
    /// A message that is ignored. It is published as a write for `WAIT`, so that the replicas also
    /// confirm a record that was stored earlier.
    Nothing,
}

/// Decodes a message. Returns `None` if it was sent by a newer version or by another program.
pub(crate) fn message(payload: &[u8]) -> Option<Message> {
    let (kind, rest) = match payload {
        [b'1', b'?', ..] => return Some(Message::Look),
        [b'1', b'.', ..] => return Some(Message::Nothing),
        [b'1', kind, rest @ ..] => (kind_of(*kind)?, rest),
        _ => return None,
    };
    let (stamp, rest) = split_stamp(rest)?;
    let (previous, rest) = split_stamp(rest)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (epoch, number) = parse_id(&rest[..end])?;
    let (key, _) = stamp.split_first_chunk::<16>()?;
    let stored = Stored {
        number,
        mark: mark_of(stamp)?,
        record: Record {
            key: (*key).into(),
            kind,
            body: Bytes::copy_from_slice(&rest[end + 1..]),
        },
        age: Duration::ZERO,
    };
    let previous = place(number.checked_sub(1)?, previous);
    Some(Message::Record(epoch, previous, stored))
}

/// Splits off a stamp and the space after it. The key in a stamp may contain any bytes.
fn split_stamp(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = bytes.get(16..)?;
    let end = 16 + digits.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_epoch_is_not_zero() {
        assert_ne!(new_epoch(), 0);
    }

    #[test]
    fn message_of_another_program_is_rejected() {
        for payload in [
            &b""[..],
            b"1",
            b"2?",
            b"hello",
            b"1b",
            b"1b0123456789abcdef",
        ] {
            assert!(message(payload).is_none(), "{payload:?}");
        }
        let mut payload = b"1b".to_vec();
        for stamp in [b"                5 ", b"77777777777777776 "] {
            payload.extend(stamp);
        }
        payload.extend(b"77-9\nbody\n");
        let Some(Message::Record(epoch, previous, stored)) = message(&payload) else {
            panic!();
        };
        assert_eq!(epoch.to_number(), 77);
        assert_eq!(stored.mark, Key::from([b' '; 16]).mark(5));
        let mark = Key::from([b'7'; 16]).mark(6);
        assert_eq!((previous.number, previous.mark), (8, Some(mark)));
        assert_eq!((stored.number, &*stored.record.body), (9, &b"body\n"[..]));
        assert!(matches!(message(b"1?"), Some(Message::Look)));
        assert!(matches!(message(b"1."), Some(Message::Nothing)));
    }
}
