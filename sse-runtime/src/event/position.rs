//! [`Position`]: a reader's position in a topic, and the id that encodes it.

use std::fmt::{self, Write as _};

/// The prefix of an id that contains positions in several topics.
pub(crate) const MERGED_PREFIX: &str = "m1:";

/// Identifies one of a topic's successive lifetimes. The epoch lets a topic recognize ids that were
/// issued before the process was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch([u8; EPOCH]);

impl Epoch {
    /// The epoch shared by all runs that no longer exist. A client that requests one of these runs
    /// receives a gap whose id belongs to this epoch. When the client reconnects, it sends that id
    /// back.
    pub(crate) const GONE: Self = Self([b'0'; EPOCH]);

    /// Creates a random epoch. The probability that another topic has the same epoch is 2⁻⁶⁰.
    pub(crate) fn new() -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        Self(std::array::from_fn(|_| {
            DIGITS[fastrand::usize(..DIGITS.len())]
        }))
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
    pub(crate) number: u64,
}

/// The maximum combined length of `number`, `reported` and the separator before `reported` in an
/// id.
const DIGITS: usize = 20;

impl Position {
    /// The maximum length of an id in bytes.
    pub(crate) const LONGEST: usize = EPOCH + "-".len() + DIGITS;

    pub(crate) fn new(epoch: Epoch, number: u64) -> Self {
        Self {
            epoch,
            reported: 0,
            number,
        }
    }

    /// Creates a position after which `reported` events have already been reported to the client as
    /// missed.
    ///
    /// The count is omitted if it would make the id too long, which can happen only if it is at
    /// least a billion. In that case, the events are reported again when the client reconnects.
    pub(crate) fn with_reported(epoch: Epoch, number: u64, reported: u64) -> Self {
        let digits = |number: u64| number.checked_ilog10().unwrap_or_default() as usize + 1;
        let fits = digits(number) + "-".len() + digits(reported) <= DIGITS;
        Self {
            epoch,
            reported: u32::try_from(reported).ok().filter(|_| fits).unwrap_or(0),
            number,
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
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            number,
            reported,
        } = self;
        for digit in epoch.0 {
            f.write_char(digit.into())?;
        }
        if *reported > 0 {
            write!(f, ".{reported}")?;
        }
        write!(f, "-{number}")
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
    fn parse_reads_every_position_that_is_written() {
        let epoch = Epoch::new();
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
            let id = Position::with_reported(epoch, number, count).to_string();
            assert!(id.len() <= Position::LONGEST);
            let sent = ParsedId::parse(&id).unwrap();
            assert!(epoch.is(sent.epoch));
            assert_eq!((sent.number, sent.reported), (number, read));
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
            "0123456789a-7",
            "0123456789é-7",
        ] {
            assert_eq!(ParsedId::parse(id), None, "{id:?}");
        }
    }
}
