//! [`Topic`]: a sequence of events. Each event is encoded once, sent to many clients, and replayed
//! to clients that reconnect.

pub(crate) mod backend;
mod batch;
mod builder;
mod cursor;
#[doc(hidden)]
pub mod engine;
mod hub;
mod key;
mod lease;
pub(crate) mod merged;
mod metrics;
mod open_error;
mod presence;
mod publish;
mod ring;
mod run_result;
mod subscription;
mod topic;
pub use crate::event::gap::{Gap, GapReason};
pub use builder::TopicBuilder;
pub use cursor::{Cursor, Start};
pub use engine::Node;
pub use hub::{Hub, builder::HubBuilder, error::HubError, resume_error::ResumeError};
pub use key::Key;
pub use open_error::OpenError;
pub use presence::{Presence, PresenceError, PresenceEvent, PresenceGuard, PresenceRooms};
pub use publish::{Publish, PublishError};
pub use run_result::RunResult;
pub use subscription::{Filter, Map, Subscription, Update};
pub use topic::Topic;
