//! [`Events`]: reads a stream's events one by one.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::Location,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use tokio::{sync::mpsc, task::yield_now};

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
    /// The request's method, URI and JSON body.
    origin: String,
    dropped: mpsc::Receiver<()>,
    /// The error found by [`until_waiting`](Self::until_waiting), until it is returned.
    failed: Option<StreamCut>,
}

/// Records whether the generator has been woken.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The place in a test that called a method.
type At = &'static Location<'static>;

/// The response was cut off before it was complete.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut off: {0}")]
pub struct StreamCut(#[source] axum::Error);

impl Events {
    pub(super) fn new(body: Body, origin: String, dropped: mpsc::Receiver<()>) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
            received: VecDeque::new(),
            last_returned_id: String::new(),
            origin,
            dropped,
            failed: None,
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
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's `next` is not asynchronous"
    )]
    #[track_caller]
    pub fn next(
        &mut self,
    ) -> impl Future<Output = Result<Option<ReceivedEvent>, StreamCut>> + Send {
        self.next_at(Location::caller())
    }

    async fn next_at(&mut self, at: At) -> Result<Option<ReceivedEvent>, StreamCut> {
        let what = format!("an event from {}", self.origin);
        or_give_up(&what, at, self.receive_event()).await
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
    #[track_caller]
    pub fn next_frame(&mut self) -> impl Future<Output = Result<Option<Frame>, StreamCut>> + Send {
        let at = Location::caller();
        async move {
            let what = format!("a frame from {}", self.origin);
            or_give_up(&what, at, self.receive_frame()).await
        }
    }

    async fn receive_frame(&mut self) -> Result<Option<Frame>, StreamCut> {
        loop {
            if let Some(frame) = self.received.pop_front() {
                if let Frame::Event(event) = &frame {
                    self.last_returned_id.clone_from(&event.id);
                }
                return Ok(Some(frame));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            match poll_fn(|cx| self.poll_body(cx)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Polls the body for more data and decodes it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), StreamCut>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.decoder.decode(bytes, &mut self.received);
                }
                Some(Ok(()))
            }
            Some(Err(error)) => Some(Err(StreamCut(error))),
            None => None,
        })
    }

    /// Runs the generator until it waits for something other than its client, or until the stream
    /// ends. The events that it yields are kept for the next calls. Use this method to make sure
    /// that the generator has subscribed to its sources before the test publishes something.
    ///
    /// The statements up to the first wait have already run when the response arrives, so a
    /// generator that begins by subscribing needs no call to this method. If the generator never
    /// waits, for example because it yields in an endless loop, this method never returns.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn until_waiting(&mut self) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            woken.0.store(false, Ordering::Relaxed);
            loop {
                match self.poll_body(&mut Context::from_waker(&waker)) {
                    Poll::Ready(Some(Ok(()))) => {}
                    Poll::Ready(Some(Err(error))) => {
                        self.failed = Some(error);
                        return;
                    }
                    Poll::Ready(None) => return,
                    Poll::Pending => break,
                }
            }
            // A generator that has used up the task's budget or yields to the runtime is not
            // waiting. It is woken by the time this task runs again.
            yield_now().await;
            if !woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Returns the next event.
    ///
    /// # Panics
    ///
    /// Panics if the stream ends or is cut off before the next event, or under the same conditions
    /// as [`next`](Self::next).
    #[track_caller]
    pub fn expect_event(&mut self) -> impl Future<Output = ReceivedEvent> + Send {
        self.expect_event_at(Location::caller())
    }

    async fn expect_event_at(&mut self, at: At) -> ReceivedEvent {
        match self.next_at(at).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!(
                "expected an event from {}, but the stream has ended (at {at})",
                self.origin
            ),
            Err(error) => panic!(
                "expected an event from {}, but {error} (at {at})",
                self.origin
            ),
        }
    }

    /// Returns the next `count` events.
    ///
    /// # Panics
    ///
    /// Panics if the stream ends or is cut off earlier, or under the same conditions as
    /// [`next`](Self::next).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the events that it has already read are lost.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> impl Future<Output = Vec<ReceivedEvent>> + Send {
        let at = Location::caller();
        async move {
            let mut events = Vec::with_capacity(count);
            for _ in 0..count {
                events.push(self.expect_event_at(at).await);
            }
            events
        }
    }

    /// Reads all remaining events, until the stream ends cleanly.
    ///
    /// # Panics
    ///
    /// Panics if the stream is cut off, or under the same conditions as [`next`](Self::next).
    #[track_caller]
    pub fn collect(mut self) -> impl Future<Output = Vec<ReceivedEvent>> + Send {
        let at = Location::caller();
        async move {
            let mut events = Vec::new();
            loop {
                match self.next_at(at).await {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => return events,
                    Err(error) => panic!(
                        "expected {} to end after {events:?}, but {error} (at {at})",
                        self.origin
                    ),
                }
            }
        }
    }

    /// Waits for the stream to end cleanly.
    ///
    /// # Panics
    ///
    /// Panics if an event arrives or the stream is cut off instead, or under the same conditions as
    /// [`next`](Self::next).
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            let origin = self.origin.clone();
            match self.next_at(at).await {
                Ok(None) => {}
                Ok(Some(event)) => {
                    panic!("expected {origin} to end, found {event:?} (at {at})")
                }
                Err(error) => panic!("expected {origin} to end, but {error} (at {at})"),
            }
        }
    }

    /// Waits until the stream is cut off.
    ///
    /// # Panics
    ///
    /// Panics if an event arrives or the stream ends cleanly instead, or under the same conditions
    /// as [`next`](Self::next).
    #[track_caller]
    pub fn expect_cut(&mut self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            let origin = self.origin.clone();
            match self.next_at(at).await {
                Err(StreamCut(_)) => {}
                Ok(Some(event)) => {
                    panic!("expected {origin} to be cut off, found {event:?} (at {at})")
                }
                Ok(None) => panic!("expected {origin} to be cut off, but it has ended (at {at})"),
            }
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
    #[track_caller]
    pub fn disconnect(mut self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            drop(self.body);
            // Nothing is ever sent on this channel, so `recv` does not return until all senders
            // have been dropped.
            let what = format!("the generator of {} to be dropped", self.origin);
            or_give_up(&what, at, self.dropped.recv()).await;
        }
    }
}
