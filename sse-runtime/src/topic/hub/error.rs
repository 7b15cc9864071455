//! [`HubError`]: the error returned by a hub that cannot provide a topic.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::event::try_later::TryLater;

/// The error returned by a [`Hub`](crate::Hub) that cannot provide a topic.
///
/// [`Full`](Self::Full) is converted into a `429` response with a random `Retry-After` of 5 to 14
/// seconds, and [`Unavailable`](Self::Unavailable) into a `503` response with a random `Retry-After`
/// of 2 to 7 seconds. If the client is an `EventSource`, it receives a `200` response with a `close`
/// event instead, as [over a `StreamLimit`](crate::StreamLimit#over-the-limit). The event's reason
/// is `too_many_topics` or `unavailable`. [`StoredRun`](Self::StoredRun) and
/// [`OtherType`](Self::OtherType) are logged and converted into a `500` response. Any other error is
/// converted into a `400` response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The hub has reached its maximum number of topics or bytes, and no unused topic can be
    /// dropped.
    #[error("the hub is full; raise `max_topics`, or lower `idle` to drop unused topics sooner")]
    Full,
    /// The combined id, which contains the position in every topic, would be too long.
    #[error(
        "too many topics: their combined event id would exceed 4,000 bytes; subscribe to fewer"
    )]
    TooManyNames,
    /// A name is longer than 1,024 bytes.
    #[error("topic names are limited to 1,024 bytes; use a hash instead of a longer name")]
    NameTooLong,
    /// A name contains a NUL or a line break, which is not allowed if an engine stores the hub's
    /// topics.
    #[error("names of stored topics cannot contain NUL or line breaks; encode the name")]
    InvalidName,
    /// [`spawn_again`](crate::Hub::spawn_again) was called for a run that has ended and whose
    /// events are stored by an engine.
    #[error("the run is stored and cannot be started again; choose another name for a new run")]
    StoredRun,
    /// Another hub has the topic open with another type of value.
    #[error("another hub has the topic open with another type of value; use another prefix")]
    OtherType,
    /// The engine that stores the hub's topics did not respond in time. The cause is logged.
    #[error("the engine that stores the hub's topics is not available; try again later")]
    Unavailable,
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        match self {
            Self::Full => {
                warn_once_a_second(self);
                let later = TryLater {
                    reason: "too_many_topics",
                    after: Duration::from_millis(fastrand::u64(5_000..15_000)),
                };
                later.into_response(StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Unavailable => {
                TryLater::soon("unavailable").into_response(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::StoredRun | Self::OtherType => {
                tracing::error!(error = %self, "failed to open a hub's topic");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::TooManyNames | Self::NameTooLong | Self::InvalidName => {
                StatusCode::BAD_REQUEST.into_response()
            }
        }
    }
}

/// Logs, at most once per second, that requests for topics were rejected. Logging every rejected
/// request would put more load on a server already at its limit.
fn warn_once_a_second(error: HubError) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    static SINCE: AtomicUsize = AtomicUsize::new(0);
    let rejected = SINCE.fetch_add(1, Ordering::Relaxed) + 1;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
        return;
    }
    *last = Some(Instant::now());
    drop(last);
    SINCE.store(0, Ordering::Relaxed);
    tracing::warn!(%error, rejected, "rejected requests for new topics");
}
