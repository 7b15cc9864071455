//! [`RunLeases`]: determines which of several processes executes a run.

use std::{fmt, time::Duration};

use super::{BoxFuture, Unreachable};

/// Stores which process owns the run of a topic.
///
/// Each run has one owner, which renews its lease at regular intervals. If the lease expires,
/// another owner may take the run over. The engine compares the owner of each append with the
/// stored one in the same atomic step in which it stores the record. A process that was suspended
/// can therefore not append to a run that was taken over in the meantime.
///
/// An owner is compared for equality only. If the engine loses its newest data in a failover, a
/// number that must grow could go backwards, whereas a random owner never occurs twice.
pub trait RunLeases: Send + Sync {
    /// Returns the time after which a lease expires unless it is renewed.
    fn ttl(&self) -> Duration;

    /// Claims the run of a topic.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine did not confirm the claim. It may nevertheless have been
    /// accepted. Use [`release`](Self::release) to withdraw it.
    fn claim<'a>(
        &'a self,
        topic: &'a str,
        claim: Claim,
    ) -> BoxFuture<'a, Result<Claimed, Unreachable>>;

    /// Renews the lease of an owner. If the engine has lost the lease, creates it again.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn renew<'a>(
        &'a self,
        topic: &'a str,
        owner: RunOwner,
        is_resumable: bool,
    ) -> BoxFuture<'a, Result<Renewed, Unreachable>>;

    /// Withdraws a claim. Does nothing if the topic has another owner.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn release<'a>(
        &'a self,
        topic: &'a str,
        owner: RunOwner,
    ) -> BoxFuture<'a, Result<(), Unreachable>>;

    /// Returns some of the topics whose leases have expired, in the order of their expiry, without the
    /// first `skipped` of them. Returns an empty list only if there are no more.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn expired(&self, skipped: usize) -> BoxFuture<'_, Result<Vec<String>, Unreachable>>;

    /// Records that these topics have readers at present. Ignores topics without an owner.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn report_readers<'a>(&'a self, topics: &'a [String])
    -> BoxFuture<'a, Result<(), Unreachable>>;
}

/// The owner of a run: a random value that identifies both the run and the process executing it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunOwner([u8; 16]);

impl RunOwner {
    /// Creates a random owner.
    pub fn random() -> Self {
        Self(fastrand::u128(..).to_be_bytes())
    }

    /// Returns the owner's bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for RunOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunOwner({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A claim to the run of a topic.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The new owner.
    pub owner: RunOwner,
    /// Whether the claim starts a run if the topic has none.
    pub starts: bool,
    /// Whether a topic that has records but no owner is treated as a lost run. The engine then creates a
    /// lease without an owner, so that an owner that is alive can renew it.
    pub adopts: bool,
    /// Whether the new owner continues a run whose lease has expired. Otherwise, the new owner ends
    /// the run. A run that can be continued is given more time before another owner may end it.
    pub resumes: bool,
}

/// The result of a [`Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim was accepted. The topic had neither an owner nor records.
    New,
    /// The claim was accepted. The topic has records, but the lease of its previous owner has
    /// expired, or the topic had no owner.
    TakenOver,
    /// The topic has another owner.
    Held,
    /// The topic has ended.
    Ended,
    /// The topic has neither an owner nor records, and the claim does not start a run.
    NoRun,
}

/// The result of renewing a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lease has been renewed.
    Held {
        /// The time since another process last reported readers, if any has.
        read: Option<Duration>,
    },
    /// The topic has another owner.
    Lost,
    /// The topic has ended.
    Ended,
}
