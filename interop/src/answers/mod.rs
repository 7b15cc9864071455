//! Answers in the formats of other protocols. Each format has an endpoint, written as a user of the
//! framework would write it. The first path segment selects the case, which determines what happens
//! in the middle of an answer.

mod a2a;
mod ag_ui;
mod ai_sdk;
mod anthropic;
mod mcp;
mod openai;
mod openai_responses;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::request::Parts,
};
use serde::Deserialize;
use sse_runtime::{SseRouterExt as _, Topic, event::Payload, topic::PublishError};
use tokio::{sync::Notify, time::sleep};

/// The text of every answer, split into the pieces that are sent.
pub(crate) const PIECES: [&str; 3] = ["Server", "-Sent", " Events"];

/// The index of the event before which an answer is interrupted. In every format, the events before
/// it contain exactly the first piece of the text.
const MIDDLE: usize = 3;

/// A pause that is several times as long as the keep-alive interval of 100 ms.
const QUIET: Duration = Duration::from_millis(350);

/// The error message of an answer that fails.
pub(crate) const FAILURE: &str = "the parrot is asleep";

/// The variants of an answer, which can be complete, delayed, failed, or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    Plain,
    KeepAlive,
    LateStart,
    Topic,
    Error,
    MaxDuration,
    Shutdown,
}

impl Case {
    /// All cases. `Shutdown` is last, since it stops the server.
    pub(crate) const ALL: [Self; 7] = [
        Self::Plain,
        Self::KeepAlive,
        Self::LateStart,
        Self::Topic,
        Self::Error,
        Self::MaxDuration,
        Self::Shutdown,
    ];

    /// Returns the first path segment.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::KeepAlive => "keep_alive",
            Self::LateStart => "late_start",
            Self::Topic => "topic",
            Self::Error => "error",
            Self::MaxDuration => "max_duration",
            Self::Shutdown => "shutdown",
        }
    }

    /// Returns the title of the row in the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "a complete response",
            Self::KeepAlive => "keep-alives after an id and `retry`",
            Self::LateStart => "`retry` and keep-alives before a late first event",
            Self::Topic => "a response from a finished topic",
            Self::Error => "a mid-stream error becomes an API error",
            Self::MaxDuration => "a response cut off by `max_duration` is reported as an error",
            Self::Shutdown => "a response cut off by a shutdown is reported as an error",
        }
    }
}

/// Notified when an answer waits for the server to shut down.
pub(crate) type Waiting = Arc<Notify>;

/// An extractor for a request's case.
struct Script {
    case: Case,
    waiting: Waiting,
}

impl FromRequestParts<Waiting> for Script {
    type Rejection = PathRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        waiting: &Waiting,
    ) -> Result<Self, PathRejection> {
        let Path(case) = Path::from_request_parts(parts, waiting).await?;
        Ok(Self {
            case,
            waiting: Arc::clone(waiting),
        })
    }
}

/// The failure of an answer, which each format converts into its own error.
struct Failed;

impl Script {
    /// Waits or fails before the event at this index, as the case requires.
    async fn before(&self, index: usize) -> Result<(), Failed> {
        match (self.case, index) {
            (Case::LateStart, 0) | (Case::KeepAlive, MIDDLE) => sleep(QUIET).await,
            (Case::Error, MIDDLE) => return Err(Failed),
            (Case::MaxDuration, MIDDLE) => std::future::pending::<()>().await,
            (Case::Shutdown, MIDDLE) => {
                self.waiting.notify_one();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        Ok(())
    }

    fn reads_topic(&self) -> bool {
        self.case == Case::Topic
    }
}

/// Creates a finished topic with these events.
async fn finished_topic<T: Payload<Kind> + Clone + Send + Sync + 'static, Kind>(
    events: Vec<T>,
) -> Result<Topic<T>, PublishError> {
    let topic = Topic::in_memory(events.len());
    for event in &events {
        topic.publish(event).await?;
    }
    topic.finish().await.expect("an in-memory topic");
    Ok(topic)
}

pub(crate) fn app(waiting: Waiting) -> Router {
    let answers = Router::new()
        .sse(anthropic::messages)
        .sse(openai::completions)
        .sse(openai_responses::responses)
        .sse(ai_sdk::chat)
        .sse(ag_ui::agent)
        .sse(mcp::mcp)
        .merge(a2a::app());
    Router::new().nest("/{case}", answers).with_state(waiting)
}
