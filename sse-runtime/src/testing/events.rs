//! The events of a stream, one by one.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, HttpBody as _};
use tokio::sync::mpsc;

use super::{
    decode::{Decoder, Frame, ReceivedEvent},
    patience::or_give_up,
};

/// The events of a stream. The generator runs while one is awaited, and not otherwise.
///
/// It keeps what an `EventSource` keeps: [`last_event_id`](Self::last_event_id) and [`retry`](Self::retry).
#[derive(Debug)]
#[must_use = "a stream runs only while its events are awaited"]
pub struct Events {
    body: Body,
    decoder: Decoder,
    received: VecDeque<Frame>,
    /// The id of the event that was handed out last.
    seen: String,
    /// The method and the URI of the request.
    asked: String,
    gone: mpsc::Receiver<()>,
}

/// The stream ended as an error: the connection broke off in the middle, where a clean end would have been an end.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off: {0}")]
pub struct BrokenOff(#[source] axum::Error);

impl Events {
    pub(super) fn new(body: Body, asked: String, gone: mpsc::Receiver<()>) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
            received: VecDeque::new(),
            seen: String::new(),
            asked,
            gone,
        }
    }

    /// The next event, comments skipped; `None` at the stream's clean end.
    ///
    /// # Errors
    ///
    /// [`BrokenOff`], where the stream ends as an error.
    ///
    /// # Panics
    ///
    /// Panics if no event comes within 30 s, or within a week of tokio's paused clock, and the stream does not end either.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: what has been received waits for the next call.
    pub async fn next(&mut self) -> Result<Option<ReceivedEvent>, BrokenOff> {
        let asked = self.asked.clone();
        or_give_up(format!("an event of {asked}"), self.receive_event()).await
    }

    async fn receive_event(&mut self) -> Result<Option<ReceivedEvent>, BrokenOff> {
        loop {
            match self.receive_frame().await? {
                Some(Frame::Event(event)) => return Ok(Some(event)),
                Some(Frame::Comment(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next event or comment, so that keep-alives can be seen; `None` at the stream's clean end.
    ///
    /// # Errors
    ///
    /// [`BrokenOff`], where the stream ends as an error.
    ///
    /// # Cancel safety
    ///
    /// As [`next`](Self::next).
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, BrokenOff> {
        let asked = self.asked.clone();
        or_give_up(format!("a frame of {asked}"), self.receive_frame()).await
    }

    async fn receive_frame(&mut self) -> Result<Option<Frame>, BrokenOff> {
        loop {
            if let Some(frame) = self.received.pop_front() {
                if let Frame::Event(event) = &frame {
                    self.seen.clone_from(&event.id);
                }
                return Ok(Some(frame));
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.decode(bytes, &mut self.received);
                    }
                }
                Some(Err(error)) => return Err(BrokenOff(error)),
                None => return Ok(None),
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    ///
    /// Where the stream ends or breaks off instead.
    pub async fn expect_event(&mut self) -> ReceivedEvent {
        match self.next().await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("expected an event, but the stream has ended"),
            Err(error) => panic!("expected an event, but {error}"),
        }
    }

    /// Reads up to the clean end.
    ///
    /// # Panics
    ///
    /// Where an event comes, or the stream breaks off instead.
    pub async fn expect_end(&mut self) {
        match self.next().await {
            Ok(None) => {}
            Ok(Some(event)) => panic!("expected the end of the stream, found {event:?}"),
            Err(error) => panic!("expected the end of the stream, but {error}"),
        }
    }

    /// The id that a client would now send as `Last-Event-ID`, that has seen what was handed out here and no more; empty,
    /// where none was set.
    pub fn last_event_id(&self) -> &str {
        if self.received.is_empty() {
            self.decoder.last_event_id()
        } else {
            &self.seen
        }
    }

    /// The reconnection time, if the stream has set one.
    pub fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }

    /// Leaves, as a client does that closes the connection, and returns when the generator is gone with all that it
    /// owned, the tasks of its [`Connection`](crate::Connection) have ended, and its close hooks have run; after the end
    /// of a stream as well. A task that it had spawned and let go of is not its own any more.
    pub async fn leave(mut self) {
        drop(self.body);
        // Nothing is ever sent: this returns when nobody is left who could.
        let what = format!("the generator of {} to be dropped", self.asked);
        or_give_up(what, self.gone.recv()).await;
    }
}
