//! [`Position`]: a reader's position in a topic, and the id that encodes it.

use std::{
    fmt::{self, Write as _},
    num::NonZeroU32,
};

/// The prefix of an id that contains positions in several topics.
pub(crate) const MERGED_PREFIX: &str = "m1:";

/// The digits used in epochs and marks. They are case-sensitive.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn value_of(digit: u8) -> Option<u32> {
    let value = BASE32.iter().position(|known| *known == digit)?;
    u32::try_from(value).ok()
}

/// Identifies one of a topic's successive lifetimes. The epoch lets a topic recognize ids that were
/// issued before the process was restarted or before the engine lost the topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH]);

impl Epoch {
    /// The number of digits in an epoch.
    pub const LEN: usize = EPOCH;

    /// Creates a random epoch. The probability that another topic has the same epoch is 2⁻⁶⁰.
    pub fn random() -> Self {
        Self(std::array::from_fn(|_| {
            BASE32[fastrand::usize(..BASE32.len())]
        }))
    }

    /// Creates an epoch from stored bytes. Returns `None` if they are not an epoch.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let is_valid = bytes.iter().all(|byte| BASE32.contains(byte));
        is_valid.then_some(Self(bytes))
    }

    /// Returns the epoch's bytes, from which [`from_bytes`](Self::from_bytes) recreates it.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Creates an epoch from a number. Returns `None` if the number has more than 60 bits.
    pub fn from_number(number: u64) -> Option<Self> {
        if number >> (5 * Self::LEN) != 0 {
            return None;
        }
        let digit = |index| BASE32[(number >> (5 * (Self::LEN - 1 - index)) & 31) as usize];
        Some(Self(std::array::from_fn(digit)))
    }

    /// Returns the epoch as a number of at most 60 bits, from which
    /// [`from_number`](Self::from_number) recreates it.
    pub fn to_number(self) -> u64 {
        let values = self.0.iter().map(|digit| match value_of(*digit) {
            Some(value) => u64::from(value),
            None => unreachable!("an epoch contains only digits"),
        });
        values.fold(0, |number, value| number << 5 | value)
    }

    /// The epoch shared by all runs that no longer exist. A client that requests one of these runs
    /// receives a gap whose id belongs to this epoch. When the client reconnects, it sends that id
    /// back.
    pub(crate) const GONE: Self = Self([b'0'; EPOCH]);
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Thirty random bits that identify an event in an engine's log. If an engine loses its newest
/// events and then stores other events under the same numbers, their marks differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(NonZeroU32);

/// The number of digits in a mark.
const MARK: usize = 6;

impl Mark {
    const BITS: u32 = 30;

    /// Creates a mark from the lowest 30 bits of `bits`.
    pub(crate) fn new(bits: u32) -> Self {
        // The bit above the mark makes the number nonzero, so an `Option<Mark>` is as small as a
        // `Mark`.
        const ABOVE: NonZeroU32 = NonZeroU32::new(1 << Mark::BITS).unwrap();
        Self(ABOVE | (bits & ((1 << Self::BITS) - 1)))
    }

    fn parse(digits: &str) -> Option<Self> {
        if digits.len() != MARK {
            return None;
        }
        let mut bits = 0;
        for digit in digits.bytes() {
            bits = bits << 5 | value_of(digit)?;
        }
        Some(Self::new(bits))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..MARK).rev().try_for_each(|place| {
            let digit = self.0.get() >> (5 * place) & 31;
            f.write_char(BASE32[digit as usize].into())
        })
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reader's position in a topic, immediately after the event with the given number. If the number
/// is 0, the position is before the first event. A position is copied every time a reader receives
/// an event. It therefore contains no shared state, such as a reference count that all readers
/// would have to update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    /// The number of later events that a `gap` event has already reported to the client as missed.
    /// It is nonzero only in ids sent while the client is catching up on the latest event for each
    /// key, and prevents the same events from being counted again if the client disconnects and
    /// reconnects. If it is 0, it is omitted from the id.
    reported: u32,
    /// The high and low halves of the event's number. Because they need less alignment than a
    /// `u64`, an [`EventId`](crate::EventId) is 8 bytes smaller.
    number: [u32; 2],
    /// The event's mark, or `None` if the topic is in memory or the number is 0.
    pub(crate) mark: Option<Mark>,
}

/// The maximum combined length of `number`, `reported` and the separator before `reported` in an
/// id.
const DIGITS: usize = 20;

impl Position {
    /// The maximum length of an id without a mark, in bytes.
    pub(crate) const LONGEST: usize = EPOCH + "-".len() + DIGITS;

    /// The maximum length of an id, in bytes.
    pub(crate) const LONGEST_WITH_MARK: usize = Self::LONGEST + ".".len() + MARK;

    pub(crate) fn new(epoch: Epoch, number: u64) -> Self {
        Self::with_mark(epoch, number, None)
    }

    pub(crate) fn with_mark(epoch: Epoch, number: u64, mark: Option<Mark>) -> Self {
        Self {
            epoch,
            reported: 0,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the number is split into halves"
            )]
            number: [(number >> 32) as u32, number as u32],
            mark,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        let [high, low] = self.number;
        u64::from(high) << 32 | u64::from(low)
    }

    /// Returns this position with a note that `reported` later events have already been reported to
    /// the client as missed.
    ///
    /// The count is omitted if it would make the id too long, which can happen only if it is at
    /// least a billion. In that case, the events are reported again when the client reconnects.
    pub(crate) fn with_reported(self, reported: u64) -> Self {
        let digits = |number: u64| number.checked_ilog10().unwrap_or_default() as usize + 1;
        let fits = digits(self.number()) + "-".len() + digits(reported) <= DIGITS;
        Self {
            reported: u32::try_from(reported).ok().filter(|_| fits).unwrap_or(0),
            ..self
        }
    }
}

/// The number of digits in an epoch.
const EPOCH: usize = 12;

/// A position sent back by a client and not yet checked against the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedId<'a> {
    pub(crate) epoch: &'a str,
    pub(crate) number: u64,
    pub(crate) reported: u32,
    pub(crate) mark: Option<Mark>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            reported,
            mark,
            ..
        } = self;
        // An epoch consists of ASCII digits and letters.
        f.write_str(std::str::from_utf8(&epoch.0).unwrap_or_default())?;
        if *reported > 0 {
            write!(f, ".{reported}")?;
        }
        write!(f, "-{}", self.number())?;
        match mark {
            Some(mark) => write!(f, ".{mark}"),
            None => Ok(()),
        }
    }
}

impl Epoch {
    pub(crate) fn is(&self, sent: &str) -> bool {
        self.0 == *sent.as_bytes()
    }
}

impl<'a> ParsedId<'a> {
    /// Parses an id. Returns `None` if the text is not a position that a topic could have written.
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let (epoch, number) = id.split_once('-')?;
        let (number, mark) = match number.split_once('.') {
            None => (number, None),
            Some((number, mark)) => (number, Some(Mark::parse(mark)?)),
        };
        let number = parse(number)?;
        let (epoch, reported) = match epoch.split_once('.') {
            None => (epoch, 0),
            Some((epoch, reported)) => {
                let reported = parse(reported).filter(|reported| *reported > 0)?;
                (epoch, u32::try_from(reported).ok()?)
            }
        };
        let is_ours =
            epoch.len() == EPOCH && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_ours.then_some(Self {
            epoch,
            number,
            reported,
            mark,
        })
    }
}

/// Parses a number. Accepts only the canonical form, unlike `str::parse`, which also accepts `+7`
/// and `007`.
fn parse(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_survives_the_conversion_to_a_number() {
        for _ in 0..1_000 {
            let epoch = Epoch::random();
            let number = epoch.to_number();
            assert!(number < 1 << 60);
            assert_eq!(Epoch::from_number(number), Some(epoch));
        }
        assert_eq!(Epoch::from_number(77).unwrap().to_bytes(), *b"00000000002d");
        assert_eq!(Epoch::from_number(1 << 60), None);
    }

    #[test]
    fn parse_reads_every_position_that_is_written() {
        let epoch = Epoch::random();
        for (number, count, read) in [
            (42, 0, 0),
            (42, 7, 7),
            (999_999_999, u32::MAX.into(), u32::MAX),
            (u64::MAX, 0, 0),
            // The count is omitted because it would make the id too long or does not fit into a
            // `u32`.
            (u64::MAX, 1, 0),
            (1, 1 << 32, 0),
        ] {
            for mark in [None, Some(Mark::new(0)), Some(Mark::new(u32::MAX))] {
                let position = Position::with_mark(epoch, number, mark).with_reported(count);
                let id = position.to_string();
                let longest = match mark {
                    None => Position::LONGEST,
                    Some(_) => Position::LONGEST_WITH_MARK,
                };
                assert!(id.len() <= longest);
                let sent = ParsedId::parse(&id).unwrap();
                assert!(epoch.is(sent.epoch));
                assert_eq!((sent.number, sent.reported), (number, read));
                assert_eq!(sent.mark, mark);
            }
        }
    }

    #[test]
    fn parse_rejects_text_that_is_not_a_position() {
        for id in [
            "",
            "-",
            "7",
            "0123456789ab",
            "0123456789ab-",
            "0123456789ab-x",
            "0123456789ab-+7",
            "0123456789ab-07",
            "0123456789ab--7",
            "0123456789ab.-7",
            "0123456789ab.0-7",
            "0123456789ab.07-7",
            "0123456789ab.7.7-7",
            "0123456789ab-7-7",
            "0123456789ab-18446744073709551616",
            "0123456789ab-7.",
            "0123456789ab-7.00000",
            "0123456789ab-7.0000000",
            "0123456789ab-7.00000l",
            "0123456789ab-7.000000.000000",
            "0123456789a-7",
            "0123456789é-7",
        ] {
            assert_eq!(ParsedId::parse(id), None, "{id:?}");
        }
    }
}
