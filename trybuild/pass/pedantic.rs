//! User code that passes all of clippy's `pedantic` lints. `cargo clippy --all-targets` checks this file because
//! `Cargo.toml` declares it as an example.
#![deny(
    warnings,
    clippy::all,
    clippy::pedantic,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications
)]

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Event, LastEventId, SseError, SseEvent, SseRouterExt, Stream, first_ok, sse_endpoint,
};

/// An event in a room.
#[derive(Debug, Clone, PartialEq, SseEvent, Deserialize)]
#[sse(rename_all = "kebab-case")]
#[serde(rename_all = "camelCase")]
pub enum RoomEvent {
    /// A user sent a message.
    Said {
        /// The message number.
        #[sse(id)]
        seq: u64,
        /// The message text.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// A user sent a picture.
    #[sse(event = "pic")]
    Picture(Picture),
    /// HTML to insert as is.
    #[sse(text)]
    Html(String),
    /// The room was closed.
    Finished,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    url: String,
}

/// A generic event that borrows its fields.
#[derive(Debug, SseEvent)]
pub struct Measured<'a, T: fmt::Debug> {
    /// The measured value.
    pub value: &'a T,
    /// The instrument's name.
    pub by: Cow<'a, str>,
}

/// The errors that a room can return.
#[derive(Debug, SseError)]
pub enum RoomError {
    /// The room does not exist.
    #[sse(status = 404)]
    NoRoom {
        /// The requested room.
        room: u64,
    },
    /// The room receives too many requests.
    #[sse(status = 429)]
    Busy {
        /// How long the client should wait.
        #[sse(retry_after)]
        after: Duration,
    },
    /// A disk error, which is not shown to clients.
    Disk(std::io::Error),
}

impl From<std::io::Error> for RoomError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// The query parameters of a request.
#[derive(Debug, Deserialize)]
pub struct Who {
    name: Option<String>,
}

/// The body of a request.
#[derive(Debug, Deserialize)]
pub struct Question {
    text: String,
}

/// Yields plain values.
#[sse_endpoint("/plain")]
pub async fn plain() -> impl Stream<Item = u64> {
    for tick in 0..3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        yield_!(tick);
    }
}

/// Can fail during the stream.
#[sse_endpoint("/lines/{room}", keep_alive = "5s", flush = "ready", retry = "3s")]
pub async fn lines(
    Path(room): Path<u64>,
    last: LastEventId<u64>,
) -> impl Stream<Item = Result<RoomEvent, RoomError>> {
    let seen = last.ok().unwrap_or_default();
    if room == 0 {
        return Err(RoomError::NoRoom { room });
    }
    let text = std::str::from_utf8(b"text").map_err(std::io::Error::other)?;
    yield_!(
        Event::json(RoomEvent::Said {
            seq: seen + 1,
            text: Some(text.to_owned())
        })
        .retry(Duration::from_secs(1))
    );
    yield_all!(tokio_stream::iter([RoomEvent::Finished]));
}

/// Can fail before the stream starts.
#[sse_endpoint("/room/{room}")]
pub async fn room(
    Path(room): Path<u64>,
    Query(who): Query<Who>,
) -> Result<impl Stream<Item = String>, StatusCode> {
    let name = who.name.ok_or(StatusCode::UNAUTHORIZED)?;
    yield_!(format!("{name} in {room}"));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(1)) => yield_!("late".into()),
        () = std::future::pending() => return,
    }
}

/// Can fail before or during the stream, and has eight arguments.
#[sse_endpoint("/ask/{room}", method = POST, on_shutdown = "finish")]
#[allow(clippy::too_many_arguments)]
pub async fn ask(
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Path(room): Path<u64>,
    Query(who): Query<Who>,
    State(name): State<&'static str>,
    _last: LastEventId,
    Json(question): Json<Question>,
) -> Result<impl Stream<Item = Result<RoomEvent, RoomError>>, RoomError> {
    if headers.is_empty() {
        return Err(RoomError::Busy {
            after: Duration::from_secs(1),
        });
    }
    let answers = tokio_stream::iter([Ok::<_, std::io::Error>(RoomEvent::Finished)]);
    let answers = first_ok(answers).await?;
    yield_!(RoomEvent::Html(format!(
        "{name}: {method} {uri} {room} {who:?} {}",
        question.text
    )));
    yield_all!(answers);
}

fn main() {
    let _: Router = Router::new()
        .sse(plain)
        .sse(lines)
        .sse(room)
        .sse(ask)
        .with_state("parrot");
    let _ = serde_json::to_string(&Measured {
        value: &1,
        by: "me".into(),
    });
}
