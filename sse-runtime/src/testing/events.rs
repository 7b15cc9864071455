//! [`Events`]: reads a stream's events one by one.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, HttpBody as _};
use tokio::sync::mpsc;

use super::{
    decode::{Decoder, Frame, ReceivedEvent},
    patience::or_give_up,
};

/// The events of a stream. The generator only runs while an event is being awaited.
///
/// Like an `EventSource`, this type keeps track of the [last event ID](Self::last_event_id) and the
/// [reconnection time](Self::retry).
#[derive(Debug)]
#[must_use = "a stream runs only while its events are awaited"]
pub struct Events {
    body: Body,
    decoder: Decoder,
    received: VecDeque<Frame>,
    /// The last event ID as of the most recent event returned.
    last_returned_id: String,
    /// The request's method and URI.
    request_line: String,
    dropped: mpsc::Receiver<()>,
}

/// The response was cut off before it was complete.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut off: {0}")]
pub struct StreamCut(#[source] axum::Error);

impl Events {
    pub(super) fn new(body: Body, request_line: String, dropped: mpsc::Receiver<()>) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
            received: VecDeque::new(),
            last_returned_id: String::new(),
            request_line,
            dropped,
        }
    }

    /// Returns the next event, skipping comments, or `None` if the stream has ended cleanly.
    ///
    /// # Errors
    ///
    /// Returns [`StreamCut`] if the stream is cut off.
    ///
    /// # Panics
    ///
    /// Panics if the stream neither yields an event nor ends within 30 seconds (or within a week if
    /// tokio's clock is paused).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. Data that has already been received is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<ReceivedEvent>, StreamCut> {
        let what = format!("an event from {}", self.request_line);
        or_give_up(what, self.receive_event()).await
    }

    async fn receive_event(&mut self) -> Result<Option<ReceivedEvent>, StreamCut> {
        loop {
            match self.receive_frame().await? {
                Some(Frame::Event(event)) => return Ok(Some(event)),
                Some(Frame::Comment(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next event or comment, including keep-alives, or `None` if the stream has ended
    /// cleanly.
    ///
    /// # Errors
    ///
    /// Returns [`StreamCut`] if the stream is cut off.
    ///
    /// # Panics
    ///
    /// Panics under the same conditions as [`next`](Self::next).
    ///
    /// # Cancel safety
    ///
    /// Like [`next`](Self::next), this method is cancel safe.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, StreamCut> {
        let what = format!("a frame from {}", self.request_line);
        or_give_up(what, self.receive_frame()).await
    }

    async fn receive_frame(&mut self) -> Result<Option<Frame>, StreamCut> {
        loop {
            if let Some(frame) = self.received.pop_front() {
                if let Frame::Event(event) = &frame {
                    self.last_returned_id.clone_from(&event.id);
                }
                return Ok(Some(frame));
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.decode(bytes, &mut self.received);
                    }
                }
                Some(Err(error)) => return Err(StreamCut(error)),
                None => return Ok(None),
            }
        }
    }

    /// Returns the next event.
    ///
    /// # Panics
    ///
    /// Panics if the stream ends or is cut off before the next event, or under the same conditions
    /// as [`next`](Self::next).
    pub async fn expect_event(&mut self) -> ReceivedEvent {
        match self.next().await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("expected an event, but the stream has ended"),
            Err(error) => panic!("expected an event, but {error}"),
        }
    }

    /// Waits for the stream to end cleanly.
    ///
    /// # Panics
    ///
    /// Panics if an event arrives or the stream is cut off instead, or under the same conditions as
    /// [`next`](Self::next).
    pub async fn expect_end(&mut self) {
        match self.next().await {
            Ok(None) => {}
            Ok(Some(event)) => panic!("expected the stream to end, found {event:?}"),
            Err(error) => panic!("expected the stream to end, but {error}"),
        }
    }

    /// Waits until the stream is cut off.
    ///
    /// # Panics
    ///
    /// Panics if an event arrives or the stream ends cleanly instead.
    pub async fn expect_cut(&mut self) {
        match self.next().await {
            Err(StreamCut(_)) => {}
            Ok(Some(event)) => panic!("expected the stream to be cut off, found {event:?}"),
            Ok(None) => panic!("expected the stream to be cut off, but it has ended"),
        }
    }

    /// Returns the `Last-Event-ID` that a client would send if it reconnected after the events
    /// returned so far, or an empty string if the client has no id.
    pub fn last_event_id(&self) -> &str {
        if self.received.is_empty() {
            self.decoder.last_event_id()
        } else {
            &self.last_returned_id
        }
    }

    /// Returns the reconnection time, if the stream has set one.
    pub fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }

    /// Disconnects, as if the client had closed its connection. Returns once the generator and
    /// everything it owns have been dropped, the tasks of the generator's
    /// [`Connection`](crate::Connection) have ended, and the close hooks have run. This method can
    /// also be called after the stream has ended. It does not wait for detached tasks that the
    /// generator has spawned.
    pub async fn disconnect(mut self) {
        drop(self.body);
        // Nothing is ever sent on this channel, so `recv` does not return until all senders have
        // been dropped.
        let what = format!("the generator of {} to be dropped", self.request_line);
        or_give_up(what, self.dropped.recv()).await;
    }
}
