//! [`Feed`]: the handle with which an engine reports new records.

use std::{fmt, sync::Weak};

use super::{Epoch, Place, Stored, node::Inner};

/// The feed to which an engine pushes its new records.
///
/// The methods may be called from any thread. They do not block, except to acquire locks that are
/// held briefly.
#[derive(Clone)]
pub struct Feed(pub(super) Weak<Inner>);

impl Feed {
    /// Reports a record of a watched topic. `previous` is the place of the record before it.
    pub fn record(&self, topic: &str, epoch: Epoch, previous: Place, stored: Stored) {
        if let Some(follower) = self.0.upgrade().and_then(|node| node.follower(topic)) {
            follower.receive(epoch, previous, stored);
        }
    }

    /// Reports that the feed may have skipped records of a topic.
    pub fn skipped(&self, topic: &str) {
        if let Some(follower) = self.0.upgrade().and_then(|node| node.follower(topic)) {
            follower.suspect();
        }
    }

    /// Reports that the connection to the engine was lost.
    pub fn disconnected(&self) {
        if let Some(node) = self.0.upgrade() {
            node.instruments.disconnected();
        }
    }

    /// Reports that the connection to the engine was lost and has been restored. Before the call,
    /// the engine must already be delivering the records of every watched topic again.
    pub fn reconnected(&self) {
        if let Some(node) = self.0.upgrade() {
            node.instruments.reconnected();
            node.check_all();
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}
