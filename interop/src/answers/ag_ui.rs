//! AG-UI, which sends unnamed events that are distinguished by their `type`.

use serde::Serialize;
use sse_runtime::{Event, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "type",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase"
)]
pub(super) enum AgentEvent {
    RunStarted {
        thread_id: &'static str,
        run_id: &'static str,
    },
    TextMessageStart {
        message_id: &'static str,
        role: &'static str,
    },
    TextMessageContent {
        message_id: &'static str,
        delta: &'static str,
    },
    TextMessageEnd {
        message_id: &'static str,
    },
    RunFinished {
        thread_id: &'static str,
        run_id: &'static str,
    },
}

/// The event that reports an error.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "RUN_ERROR")]
pub(super) struct RunError {
    message: &'static str,
}

impl From<Failed> for RunError {
    fn from(_: Failed) -> Self {
        Self { message: FAILURE }
    }
}

fn answer() -> Vec<AgentEvent> {
    let (thread_id, run_id, message_id) = ("thread-1", "run-1", "message-1");
    let mut events = vec![
        AgentEvent::RunStarted { thread_id, run_id },
        AgentEvent::TextMessageStart {
            message_id,
            role: "assistant",
        },
    ];
    events.extend(PIECES.map(|delta| AgentEvent::TextMessageContent { message_id, delta }));
    events.extend([
        AgentEvent::TextMessageEnd { message_id },
        AgentEvent::RunFinished { thread_id, run_id },
    ]);
    events
}

#[sse_endpoint(
    "/agent",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
pub(super) async fn agent(script: Script) -> impl Stream<Item = Result<AgentEvent, RunError>> {
    if script.reads_topic() {
        yield_all!(
            finished_topic(answer())
                .await
                .map_err(|_| Failed)?
                .subscribe(Start::First)
        );
        return;
    }
    for (index, event) in answer().iter().enumerate() {
        script.before(index).await?;
        yield_!(Event::json(event).id(index));
    }
}
