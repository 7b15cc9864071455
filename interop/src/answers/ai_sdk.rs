//! The UI message stream of Vercel's AI SDK, which sends chunks as unnamed events, followed by
//! `[DONE]`.

use serde::Serialize;
use sse_runtime::{Event, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Chunk {
    Start,
    TextStart {
        id: &'static str,
    },
    TextDelta {
        id: &'static str,
        delta: &'static str,
    },
    TextEnd {
        id: &'static str,
    },
    Finish,
}

/// The chunk that reports an error.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error", rename_all = "camelCase")]
pub(super) struct ErrorChunk {
    error_text: &'static str,
}

impl From<Failed> for ErrorChunk {
    fn from(_: Failed) -> Self {
        Self {
            error_text: FAILURE,
        }
    }
}

fn answer() -> Vec<Chunk> {
    let id = "text-1";
    let mut chunks = vec![Chunk::Start, Chunk::TextStart { id }];
    chunks.extend(PIECES.map(|delta| Chunk::TextDelta { id, delta }));
    chunks.extend([Chunk::TextEnd { id }, Chunk::Finish]);
    chunks
}

#[sse_endpoint(
    "/api/chat",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
pub(super) async fn chat(script: Script) -> impl Stream<Item = Result<Chunk, ErrorChunk>> {
    if script.reads_topic() {
        yield_all!(
            finished_topic(answer())
                .await
                .map_err(|_| Failed)?
                .subscribe(Start::First)
        );
    } else {
        for (index, chunk) in answer().iter().enumerate() {
            script.before(index).await?;
            yield_!(Event::json(chunk).id(index));
        }
    }
    yield_!(Event::text("[DONE]"));
}
