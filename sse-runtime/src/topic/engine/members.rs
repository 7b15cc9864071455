//! [`Members`]: stores the members of a presence that several nodes share.

use std::{fmt, time::Duration};

use super::{BoxFuture, Keep, Tail, Unreachable};

/// Stores the members of each presence, and the nodes at which they are present. A member is
/// present as long as it is present at one or more nodes.
///
/// A presence publishes its changes to a topic, whose name identifies the presence. If a member
/// joins its first node or leaves its last one, the engine appends the event to this topic in the
/// same atomic step. The event contains the number of members that are then present. See
/// [`EventTemplate`].
///
/// The nodes have leases and the members do not, so a node renews a single lease for all of its
/// members. If a lease expires, the other nodes remove the node from all members. A node whose
/// lease has been removed uses a new id, so the removal of the old id cannot affect it.
pub trait Members: Send + Sync {
    /// Renews a node's lease and applies the node's changes. Ignores changes that are already in
    /// effect.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached or rejects the update. The changes may or
    /// may not have been applied.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the changes may or may not be applied.
    fn update<'a>(
        &'a self,
        topic: &'a str,
        update: MembersUpdate<'a>,
    ) -> BoxFuture<'a, Result<NodeLease, Unreachable>>;

    /// Removes nodes whose leases have expired from some of the members. To remove them from all
    /// members, call this method with the returned value until the result is `None`.
    ///
    /// A node that has renewed its lease in the meantime is not removed. Several nodes may sweep at
    /// the same time, and a sweep that was not completed can be repeated.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn sweep<'a>(
        &'a self,
        topic: &'a str,
        sweep: Sweep,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Option<Sweep>, Unreachable>>;

    /// Returns the members that are present at one or more nodes.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn list<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<MemberList, Unreachable>>;
}

/// A node's update of the members of a presence.
#[derive(Clone, Copy)]
pub struct MembersUpdate<'a> {
    /// The node's id, which is random and does not contain whitespace.
    pub node: &'a str,
    /// Whether to remove the node's lease afterwards. The node must not have any members left.
    pub is_last: bool,
    /// The number of this update, which is greater than the number of the node's previous update.
    /// The engine rejects updates that arrive out of order, because an update that was delayed
    /// would otherwise undo a later one.
    pub number: u64,
    /// The number of the node's last update that the engine has confirmed. If this is 0, the engine
    /// creates the lease. Otherwise, the lease is lost if the engine does not have that update.
    pub confirmed: u64,
    /// The duration of the lease.
    pub ttl: Duration,
    /// The members that have joined (`true`) or left (`false`) this node, as JSON on a single line.
    pub changes: &'a [(String, bool)],
    /// The limits on the events that the engine keeps in the presence's topic.
    pub keep: Keep,
}

/// The members themselves may be personal data, so only their number is shown.
impl fmt::Debug for MembersUpdate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MembersUpdate")
            .field("node", &self.node)
            .field("number", &self.number)
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

/// The state of a node's lease after an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeLease {
    /// The lease is valid, and the changes have been applied.
    Valid {
        /// The other nodes whose leases have expired.
        expired: Vec<String>,
    },
    /// The engine does not know the node, has lost an update, or has already received a later one,
    /// so no change has been applied. The node must report all of its members under a new id.
    Lost,
}

/// The removal of nodes from all members, in several steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The nodes to remove.
    pub nodes: Vec<String>,
    /// The engine's cursor, or `None` for the first step.
    pub cursor: Option<String>,
}

/// The members that are present.
#[derive(Clone, Debug)]
pub struct MemberList {
    /// The newest position in the presence's topic when the list was read, or `None` if the topic
    /// does not exist.
    pub tail: Option<Tail>,
    /// The members as JSON.
    pub members: Vec<Vec<u8>>,
}

/// A template for the body of the event that an engine appends if a member joins or leaves. The
/// body consists of the byte 1, the length of the frame in bytes as a big-endian `u32`, the frame
/// and the value.
///
/// In both parts, the engine replaces [`MEMBER`](Self::MEMBER) with the member's JSON and
/// [`COUNT`](Self::COUNT) with the number of members present. Neither of these two characters can
/// occur in JSON.
#[derive(Clone, Copy, Debug)]
pub struct EventTemplate {
    /// The event's frame.
    pub frame: &'static str,
    /// The event's value as JSON.
    pub value: &'static str,
}

impl EventTemplate {
    /// The placeholder for the member.
    pub const MEMBER: char = '\0';

    /// The placeholder for the number of members.
    pub const COUNT: char = '\u{1}';

    /// The event of a member that has joined.
    pub const JOINED: Self = Self {
        frame: "event: joined\ndata: {\"who\":\0,\"count\":\u{1}}\n\n",
        value: "{\"Joined\":{\"who\":\0,\"count\":\u{1}}}",
    };

    /// The event of a member that has left.
    pub const LEFT: Self = Self {
        frame: "event: left\ndata: {\"who\":\0,\"count\":\u{1}}\n\n",
        value: "{\"Left\":{\"who\":\0,\"count\":\u{1}}}",
    };
}
