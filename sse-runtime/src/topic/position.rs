//! [`Position`]: where in a topic somebody stands, and the id that says so.

use std::fmt::{self, Write as _};

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
    pub(crate) number: u64,
}

impl Position {
    /// How long an id is at most, in bytes.
    pub(crate) const LONGEST: usize = EPOCH + "-".len() + 20;
}

/// How many digits an epoch has.
const EPOCH: usize = 12;

/// As a client sends it back: whether it can be one of ours has still to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent<'a> {
    pub(crate) epoch: &'a str,
    pub(crate) number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, number } = self;
        for digit in epoch.0 {
            f.write_char(digit.into())?;
        }
        write!(f, "-{number}")
    }
}

impl Epoch {
    pub(crate) fn is(&self, sent: &str) -> bool {
        self.0 == *sent.as_bytes()
    }
}

impl<'a> Sent<'a> {
    /// `None`, where no topic has written this.
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let (epoch, digits) = id.split_once('-')?;
        let number: u64 = digits.parse().ok()?;
        // `+7` and `007` parse, and are not what was written.
        let is_ours = number.to_string() == digits
            && epoch.len() == EPOCH
            && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_ours.then_some(Self { epoch, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let epoch = Epoch::new();
        let position = Position { epoch, number: 42 };
        let id = position.to_string();
        let sent = Sent::parse(&id).unwrap();
        assert!(epoch.is(sent.epoch));
        assert_eq!(sent.number, 42);
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
            "0123456789ab-18446744073709551616",
            "0123456789a-7",
            "0123456789é-7",
        ] {
            assert_eq!(Sent::parse(id), None, "{id:?}");
        }
    }
}
