//! [`Decoder`]: a standard-compliant parser for event streams. Unlike existing parser crates, this
//! parser also returns comments.
//!
//! Source: [WHATWG HTML, sections 9.2.5 and
//! 9.2.6](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
//! `tests/tests/stream/wire.rs` compares this parser with two independent ones.

use std::{collections::VecDeque, time::Duration};

use serde::de::DeserializeOwned;

use crate::event::{decode, sse_event::SseEvent};

/// A frame of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event that a client dispatches.
    Event(ReceivedEvent),
    /// A comment, without the leading colon and the space that follows it.
    Comment(String),
}

/// An event as dispatched by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// The event name, or `message` if the event has no name.
    pub event: String,
    /// The data, with its lines joined by LF.
    pub data: String,
    /// The last event ID as of this event. An event without an id keeps the previous id.
    pub id: String,
    /// The reconnection time sent with this event.
    pub retry: Option<Duration>,
}

impl ReceivedEvent {
    /// Parses the data as JSON.
    ///
    /// # Panics
    ///
    /// Panics if the data cannot be parsed as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_str(&self.data) {
            Ok(value) => value,
            Err(error) => panic!("failed to parse {:?}: {error}", self.data),
        }
    }

    /// Decodes the event into a type that derives [`SseEvent`](crate::SseEvent) and serde's
    /// `Deserialize`, as [`event::decode`](crate::event::decode) does.
    ///
    /// ```
    /// # use sse_runtime::{SseEvent, Stream, SseRouterExt, sse_endpoint, testing::Client};
    /// #[derive(Debug, PartialEq, SseEvent, serde::Deserialize)]
    /// enum ChatEvent {
    ///     Token { text: String },
    ///     Finished,
    /// }
    ///
    /// #[sse_endpoint("/chat")]
    /// async fn chat() -> impl Stream<Item = ChatEvent> {
    ///     yield_!(ChatEvent::Token { text: "hi".to_owned() });
    ///     yield_!(ChatEvent::Finished);
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let client = Client::new(axum::Router::new().sse(chat));
    /// let mut events = client.get("/chat").await.events();
    /// let token = events.expect_event().await.decode::<ChatEvent>();
    /// assert_eq!(token, ChatEvent::Token { text: "hi".to_owned() });
    /// # }
    /// ```
    ///
    /// `T` must own its data. If a stream's error is a variant without a name, the endpoint's
    /// `error_event` key determines the name of the error event. That name does not match any
    /// variant, so use [`json`](Self::json) to parse such an error.
    ///
    /// # Panics
    ///
    /// Panics if `T` has no event with this name, or if the data does not match `T`.
    pub fn decode<T: SseEvent + DeserializeOwned>(&self) -> T {
        match decode(&self.event, &self.data) {
            Ok(value) => value,
            Err(error) => {
                let source = std::error::Error::source(&error);
                let source = source.map(|source| format!(": {source}"));
                panic!(
                    "the event {:?} with the data {:?} is not a valid {}: {error}{}",
                    self.event,
                    self.data,
                    std::any::type_name::<T>(),
                    source.unwrap_or_default()
                )
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    /// Whether the last byte was a CR. If so, an LF that follows is part of the same line break.
    after_cr: bool,
    /// Whether a line has been read. Only the first line can begin with a byte order mark.
    has_read_line: bool,
    event: String,
    data: Option<String>,
    id: String,
    event_retry: Option<Duration>,
    last_event_id: String,
    retry: Option<Duration>,
}

impl Decoder {
    pub(super) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    pub(super) fn decode(&mut self, bytes: &[u8], frames: &mut VecDeque<Frame>) {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&String::from_utf8_lossy(&line), frames);
                }
                byte => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self, mut line: &str, frames: &mut VecDeque<Frame>) {
        if !std::mem::replace(&mut self.has_read_line, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            frames.extend(self.dispatch().map(Frame::Event));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => frames.push_back(Frame::Comment(value.to_owned())),
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.event_retry = value.parse().ok().map(Duration::from_millis);
                self.retry = self.event_retry;
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<ReceivedEvent> {
        self.id.clone_into(&mut self.last_event_id);
        let event = std::mem::take(&mut self.event);
        let retry = self.event_retry.take();
        Some(ReceivedEvent {
            data: self.data.take()?,
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            id: self.last_event_id.clone(),
            retry,
        })
    }
}
