//! [`Key`]: identifies an event that may be published more than once.

use std::fmt;

use crate::event::position::Mark;

/// Identifies an event, so that the event is stored only once even if it is published several
/// times. See [`Topic::publish_with_key`](crate::Topic::publish_with_key).
///
/// A key consists of 16 bytes. It can be created from a `u128`, from a byte array or, with the
/// `uuid` feature, from a UUID. Different events of a topic must have different keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// Creates a random key.
    pub fn random() -> Self {
        Self::from(fastrand::u128(..))
    }

    /// Returns the key's bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the mark of the record with this key that was stored at this time, in milliseconds of
    /// the engine's clock. If the engine loses the record and it is appended again, it gets another
    /// mark. Otherwise, a lost record before it would go unnoticed.
    #[doc(hidden)]
    pub fn mark(self, stored_at: u64) -> Mark {
        // Hash the key with FNV-1a, because the caller's keys may be sequence numbers, whose bits
        // are mostly zero.
        let time = stored_at.to_be_bytes();
        let bytes = self.0.iter().chain(&time);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded in")]
        Mark::new((hash ^ hash >> 32) as u32)
    }
}

impl From<u128> for Key {
    fn from(key: u128) -> Self {
        Self(key.to_be_bytes())
    }
}

impl From<[u8; 16]> for Key {
    fn from(key: [u8; 16]) -> Self {
        Self(key)
    }
}

#[cfg(feature = "uuid")]
#[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
impl From<uuid::Uuid> for Key {
    fn from(key: uuid::Uuid) -> Self {
        Self(key.into_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
