//! [`PublishError`]: why an event was not published.

use crate::encode::EncodeError;

/// An event was not published. Nobody has got it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Its `Serialize` failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// [`Topic::finish`](super::Topic::finish) was called.
    #[error("the topic is finished, and takes no more events; publish to a new one")]
    Finished,
    /// The event has an id or an end of its own, or no data.
    #[error(
        "the event has {what} of its own, which its topic gives; leave that to the topic, or yield the event in the endpoint"
    )]
    NotForTopics {
        /// What it has.
        what: &'static str,
    },
}
