//! [`Feed`]: how an engine reports new records.

use std::{fmt, sync::Weak};

use super::{Epoch, Place, Stored, node::Inner};

/// The live feed of an engine's records, to which the engine pushes each record.
///
/// The methods do not block, apart from short locks, and may be called from any thread.
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

    /// Reports that the connection to the engine was lost and has been restored. The feed of every
    /// watched topic must already have been started again.
    pub fn reconnected(&self) {
        if let Some(node) = self.0.upgrade() {
            node.check_all();
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}
