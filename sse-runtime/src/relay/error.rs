//! [`RelayError`]: the error that ends a relayed stream.

use std::error::Error;

/// The error that ends a relayed stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The upstream's stream returned an error, for example because its connection was closed in the
    /// middle of the response.
    #[error("the upstream's event stream was cut off")]
    #[non_exhaustive]
    CutOff {
        /// The error returned by the upstream's stream.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An event is larger than the limit.
    #[error(
        "an event from the upstream is larger than {limit} bytes; raise the limit with `max_event_size`"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}
