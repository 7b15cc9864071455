//! [`Position`]: where in a topic somebody stands, and the id that says so.

use std::fmt::{self, Write as _};

/// The start of an id that holds the positions in several topics.
pub(crate) const MERGED_PREFIX: &str = "m1:";

/// What tells one life of a topic from another: the ids of a process that was restarted are not those of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch([u8; EPOCH]);

impl Epoch {
    /// That of all runs that are gone. A client that was told so returns with an id of this epoch.
    pub(crate) const GONE: Self = Self([b'0'; EPOCH]);

    /// One that no other topic has, but by a chance of one in 2⁶⁰.
    pub(crate) fn new() -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        Self(std::array::from_fn(|_| {
            DIGITS[fastrand::usize(..DIGITS.len())]
        }))
    }
}

/// Behind the event of this number; behind 0 is before the first. An id is copied for each event that each reader gets, so
/// there is nothing in it that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    /// How many of the events after it the client was told that it will not get: it left among the
    /// newest of each key. Mostly 0, and then not written.
    told: u32,
    pub(crate) number: u64,
}

/// How many digits a number and what was told have at most.
const DIGITS: usize = 20;

impl Position {
    /// How long an id is at most, in bytes.
    pub(crate) const LONGEST: usize = EPOCH + "-".len() + DIGITS;

    pub(crate) fn new(epoch: Epoch, number: u64) -> Self {
        Self {
            epoch,
            told: 0,
            number,
        }
    }

    /// The position of a client that has been informed that it will miss `told` of the events after it.
    /// If the count would make the id too long, which takes a billion events, it is left out, and those
    /// events are reported once more.
    pub(crate) fn with_told(epoch: Epoch, number: u64, told: u64) -> Self {
        let digits = |number: u64| number.checked_ilog10().unwrap_or_default() as usize + 1;
        let fits = digits(number) + "-".len() + digits(told) <= DIGITS;
        Self {
            epoch,
            told: u32::try_from(told).ok().filter(|_| fits).unwrap_or(0),
            number,
        }
    }
}

/// How many digits an epoch has.
const EPOCH: usize = 12;

/// As a client sends it back: whether it can be one of ours has still to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedId<'a> {
    pub(crate) epoch: &'a str,
    pub(crate) number: u64,
    pub(crate) told: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            number,
            told,
        } = self;
        for digit in epoch.0 {
            f.write_char(digit.into())?;
        }
        if *told > 0 {
            write!(f, ".{told}")?;
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
    /// `None`, where no topic has written this.
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let (epoch, number) = id.split_once('-')?;
        let number = parse(number)?;
        let (epoch, told) = match epoch.split_once('.') {
            None => (epoch, 0),
            Some((epoch, told)) => {
                let told = parse(told).filter(|told| *told > 0)?;
                (epoch, u32::try_from(told).ok()?)
            }
        };
        let is_ours =
            epoch.len() == EPOCH && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_ours.then_some(Self {
            epoch,
            number,
            told,
        })
    }
}

/// A number as it was written: `+7` and `007` would parse as well.
fn parse(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let epoch = Epoch::new();
        for (number, told, read) in [
            (42, 0, 0),
            (42, 7, 7),
            (999_999_999, u32::MAX.into(), u32::MAX),
            (u64::MAX, 0, 0),
            // Too long, or too many.
            (u64::MAX, 1, 0),
            (1, 1 << 32, 0),
        ] {
            let id = Position::with_told(epoch, number, told).to_string();
            assert!(id.len() <= Position::LONGEST);
            let sent = ParsedId::parse(&id).unwrap();
            assert!(epoch.is(sent.epoch));
            assert_eq!((sent.number, sent.told), (number, read));
        }
    }

    #[test]
    fn nothing_else_is() {
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
