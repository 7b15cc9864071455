//! [`RunLeases`]: determines which of several processes executes a run.

use std::{fmt, time::Duration};

use super::{BoxFuture, Unreachable};

/// Stores which process owns the run of a topic.
///
/// Each run has one owner, which renews its lease at regular intervals. If the lease expires,
/// another owner may take over the run. The engine compares the owner of each append with the
/// stored owner in the same atomic step in which it stores the record. Therefore, a process that
/// was suspended cannot append to a run that was taken over in the meantime.
///
/// Owners are random and are compared only for equality. An increasing number would not be safe,
/// because the number could repeat if the engine loses its newest data in a failover.
pub trait RunLeases: Send + Sync {
    /// Returns the time after which a lease expires unless it is renewed.
    fn ttl(&self) -> Duration;

    /// Claims the run of a topic.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine did not confirm the claim. The claim may nevertheless have
    /// been accepted. Use [`release`](Self::release) to withdraw it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the claim may or may not be accepted.
    fn claim<'a>(
        &'a self,
        topic: &'a str,
        claim: Claim,
    ) -> BoxFuture<'a, Result<Claimed, Unreachable>>;

    /// Renews the lease of an owner. If the engine has lost the lease, creates it again.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached or rejects the renewal.
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

    /// Skips the first `skipped` topics whose leases have expired, in the order of their expiry,
    /// and returns some of the others. Returns an empty list if there are no others, or if the
    /// owners still need time to renew their leases after an outage.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn expired(&self, skipped: usize) -> BoxFuture<'_, Result<Vec<String>, Unreachable>>;

    /// Records that these topics currently have readers. Ignores topics whose runs have no owner.
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

/// A claim to be the owner of a topic's run.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The new owner.
    pub owner: RunOwner,
    /// Whether the claim starts a run if the topic has none.
    pub starts: bool,
    /// Whether a topic that has records but no owner is treated as a lost run. If so, the engine
    /// first creates a lease without an owner, to give an owner that is still alive time to renew
    /// the lease.
    pub adopts: bool,
    /// Whether the new owner continues a run whose lease has expired. Otherwise, the new owner ends
    /// the run. A run that can be continued must have been lost for longer before another owner may
    /// end it.
    pub resumes: bool,
}

/// The result of a [`Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim was accepted. The topic had neither an owner nor records.
    New,
    /// The claim was accepted. The lease of the previous owner had expired.
    TakenOver,
    /// The claim was rejected, because the lease of another owner is valid. If the engine has lost
    /// the lease of a run that has records, it also rejects the claim, so that the owner has time
    /// to renew the lease.
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
