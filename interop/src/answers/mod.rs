//! Answers in the formats of other protocols, written like a user of the framework would write
//! them: an endpoint for each format. The first part of the path selects the case, which decides
//! what happens in the middle of an answer.

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

/// The text of every answer, in the pieces in which it is sent.
pub(crate) const PIECES: [&str; 3] = ["Server", "-Sent", " Events"];

/// The index of the event before which an answer is interrupted. In every format, the events before
/// it hold exactly the first piece of the text.
const MIDDLE: usize = 3;

/// A pause of several times the endpoints' keep-alive, which is 100 ms.
const QUIET: Duration = Duration::from_millis(350);

/// The message of an answer that fails.
pub(crate) const FAILURE: &str = "the parrot is asleep";

/// The variants of an answer: complete, delayed, failed, or cut off.
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
    /// All cases. `Shutdown` is the last, since it stops the server.
    pub(crate) const ALL: [Self; 7] = [
        Self::Plain,
        Self::KeepAlive,
        Self::LateStart,
        Self::Topic,
        Self::Error,
        Self::MaxDuration,
        Self::Shutdown,
    ];

    /// The first part of the path.
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

    /// The title of its row in the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "an answer, to its end",
            Self::KeepAlive => "keep-alives after an id and `retry`",
            Self::LateStart => "`retry` and keep-alives before a late first event",
            Self::Topic => "an answer read from a topic that finishes",
            Self::Error => "an error in the middle is the API's error",
            Self::MaxDuration => "cut by `max_duration`: an error, not an end",
            Self::Shutdown => "cut by a shutdown: an error, not an end",
        }
    }
}

/// Notified when an answer waits for the server's shutdown.
pub(crate) type Waiting = Arc<Notify>;

/// The case of a request, as an extractor.
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

/// Creates a finished topic that holds these events.
async fn finished_topic<T: Payload<Kind> + Clone + Send + Sync + 'static, Kind>(
    events: Vec<T>,
) -> Result<Topic<T>, PublishError> {
    let topic = Topic::in_memory(events.len());
    for event in &events {
        topic.publish(event).await?;
    }
    topic.finish();
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
