//! [`relay`], and the streams that it returns.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::task::coop;
use tokio_stream::Stream;

use super::{
    abort_on_error::AbortOnError,
    error::RelayError,
    relayed_event::RelayedEvent,
    rewrite::Rewrite,
    splitter::{Piece, Splitter, Take},
};
use crate::{
    event::id::EventId,
    generator::{
        first_ok::FirstOk, handoff::Handoff, outgoing::Stop, part::PushBatch, yielder::Yielder,
    },
};

/// The next piece and its last event ID, an error, or `None` if the upstream has ended.
type Taken = Option<Result<(Piece, Option<EventId>), RelayError>>;

/// The default value of [`Relay::max_event_size`].
const MAX_EVENT_SIZE: usize = 8 * 1024 * 1024;

/// The bytes of an upstream's response, for [`relay`]. This trait is implemented for every stream of
/// `Result<B, E>`, where `B` converts into [`Bytes`] and `E` into a boxed [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of bytes that can be relayed",
    label = "not a stream of bytes",
    note = "pass `response.bytes_stream()` of reqwest, or `body.into_data_stream()` of an axum body; the items of other streams must be `Result`s of bytes and an error type"
)]
pub trait Upstream: sealed::Sealed {
    #[doc(hidden)]
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>>;
}

mod sealed {
    pub trait Sealed {}
}

impl<S, B, E> sealed::Sealed for S
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
}

/// A chunk of bytes, or the error of the upstream.
type Chunk = Result<Bytes, Box<dyn Error + Send + Sync>>;

#[diagnostic::do_not_recommend]
impl<S, B, E> Upstream for S
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let chunk = self.poll_next(cx);
        chunk.map(|chunk| chunk.map(|chunk| chunk.map(B::into).map_err(E::into)))
    }
}

/// Relays an event stream from another server. `upstream` is a stream of the response's bytes, such
/// as reqwest's `bytes_stream` or the `into_data_stream` of an axum body.
///
/// Dropping the relay drops the upstream's stream. The [module docs](mod@crate::relay) explain what
/// is relayed and how to handle an upstream that is cut off.
///
/// ```
/// # use axum::body::Body;
/// # use sse_runtime::{Stream, sse_endpoint};
/// use sse_runtime::relay;
///
/// #[sse_endpoint("/prices")]
/// async fn prices() -> impl Stream<Item = serde_json::Value> {
///     # let response = axum::http::Response::new(Body::empty());
///     yield_all!(relay(response.into_body().into_data_stream()).abort_on_error());
/// }
/// ```
pub fn relay<S: Upstream>(upstream: S) -> Relay<S> {
    Relay {
        upstream: Some(Box::pin(upstream)),
        poll_chunk: S::poll_chunk,
        splitter: Splitter::new(MAX_EVENT_SIZE),
        rewrite: Rewrite::default(),
        held_id: None,
        unread_error: None,
    }
}

/// The stream returned by [`relay`]. It yields the upstream's events one by one, while `yield_all!`
/// sends all events in a chunk of bytes at once.
///
/// If the relay is passed to `yield_all!` without [`map`](Self::map) or [`try_map`](Self::try_map),
/// comments and reconnection times between events are relayed too (after
/// [`first_ok`](crate::first_ok), only those that follow the first event). Otherwise, a
/// reconnection time is relayed only if it is part of an event, and comments may be discarded.
#[must_use = "streams do nothing unless polled"]
pub struct Relay<S> {
    /// `None` once the upstream has ended.
    upstream: Option<Pin<Box<S>>>,
    /// Polls the upstream. `S` is unbounded everywhere else, so the compiler reports an upstream of
    /// the wrong type once, at the call of [`relay`].
    poll_chunk: fn(Pin<&mut S>, &mut Context<'_>) -> Poll<Option<Chunk>>,
    splitter: Splitter,
    rewrite: Rewrite,
    /// An id that the upstream has sent without an event. It is added to the next event, because
    /// clients apply it to that event too.
    held_id: Option<(Bytes, Option<EventId>)>,
    /// An error that `poll_push` has found but not returned. The next poll returns it.
    unread_error: Option<RelayError>,
}

impl<S> Relay<S> {
    /// Replaces the upstream's ids. Events are numbered, starting at 1. Without this method, the
    /// upstream's ids are kept.
    ///
    /// Use this method if the upstream's id has no meaning in the next request, for example because
    /// a client that reconnects may reach another upstream.
    pub fn reissue_ids(mut self) -> Self {
        self.rewrite.next_id = Some(1);
        self
    }

    /// Leaves out the upstream's comments, which are often keep-alives. The endpoint sends its own
    /// keep-alives in either case.
    pub fn skip_comments(mut self) -> Self {
        self.rewrite.skips_comments = true;
        self
    }

    /// Sets the maximum size of an event in bytes, including its field names and line breaks. The
    /// default is 8 MiB. The relay buffers an event until it is complete, so this also limits the
    /// memory that a stream occupies. A larger event ends the relay with
    /// [`RelayError::TooLarge`].
    pub fn max_event_size(mut self, bytes: usize) -> Self {
        self.splitter.max_event_size = bytes;
        self
    }

    /// Aborts the response if the upstream is cut off, or if it sends an event that is too large. The
    /// client then sees what it would see if it read from the upstream itself, and never mistakes a
    /// partial response for a complete one.
    pub fn abort_on_error(self) -> AbortOnError<Self> {
        AbortOnError::new(self)
    }

    /// Returns the next event, or `None` if the upstream has ended.
    ///
    /// # Errors
    ///
    /// Returns an error if the upstream is cut off or an event is too large. The next call then
    /// returns `None`.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<RelayedEvent, RelayError>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RelayedEvent, RelayError>>> {
        loop {
            let Poll::Ready(taken) = self.poll_taken(Take::One, cx) else {
                self.report_position();
                return Poll::Pending;
            };
            match taken {
                Some(Ok((mut piece, mut id))) if piece.events > 0 => {
                    if let (None, Some((bytes, held))) = (&piece.id, self.held_id.take()) {
                        piece.bytes = [b"id: ", &bytes[..], b"\n", &piece.bytes].concat().into();
                        id = held;
                    }
                    return Poll::Ready(Some(Ok(RelayedEvent::new(piece, id))));
                }
                Some(Ok((
                    Piece {
                        id: Some(bytes), ..
                    },
                    id,
                ))) if self.rewrite.next_id.is_none() => {
                    self.held_id = Some((bytes, id));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
            // A chunk may contain many pieces without an event.
            ready!(coop::poll_proceed(cx)).made_progress();
        }
    }

    /// Reports an id that the upstream has sent without an event, such as the position at which a
    /// topic is read. Without it, a client that reconnects before the next event could not resume.
    fn report_position(&self) {
        if let Some((_, Some(id))) = &self.held_id {
            Handoff::with_current(|handoff| handoff.lock().ids.relayed_to(id));
        }
    }

    fn poll_taken(&mut self, take: Take, cx: &mut Context<'_>) -> Poll<Taken> {
        if let Some(error) = self.unread_error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match self.splitter.take(take) {
                Ok(Some(mut piece)) => {
                    let id = self.rewrite.apply(&mut piece);
                    if !piece.bytes.is_empty() {
                        return Poll::Ready(Some(Ok((piece, id))));
                    }
                    // Without its comments, the piece is empty. Others may follow in the buffer.
                    ready!(coop::poll_proceed(cx)).made_progress();
                    continue;
                }
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
            let Some(upstream) = &mut self.upstream else {
                return Poll::Ready(None);
            };
            let turn = ready!(coop::poll_proceed(cx));
            match ready!((self.poll_chunk)(upstream.as_mut(), cx)) {
                Some(Ok(chunk)) => self.splitter.add(chunk),
                Some(Err(source)) => return self.fail(RelayError::CutOff { source }),
                // An event that has not been completed is discarded.
                None => self.upstream = None,
            }
            turn.made_progress();
        }
    }

    fn fail<T>(&mut self, error: RelayError) -> Poll<Option<Result<T, RelayError>>> {
        self.upstream = None;
        self.splitter = Splitter::new(self.splitter.max_event_size);
        Poll::Ready(Some(Err(error)))
    }
}

impl<T, S> PushBatch<T> for Relay<S> {
    fn poll_push(
        mut self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        let (mut piece, mut id) = match ready!(self.poll_taken(Take::All, cx)) {
            Some(Ok(taken)) => taken,
            Some(Err(error)) => {
                self.unread_error = Some(error);
                return Poll::Ready(None);
            }
            None => return Poll::Ready(None),
        };
        if piece.events == 0 {
            // The client applies the last id that it has received.
            if piece.id.is_some() {
                self.held_id = None;
            }
        } else if let Some((bytes, held)) = self.held_id.take() {
            piece.bytes = [b"id: ", &bytes[..], b"\n", &piece.bytes].concat().into();
            id = id.or(held);
        }
        let stop = yielder.handoff.write(|outgoing| {
            outgoing.frames.share(&piece.bytes);
            outgoing.wrote_together(piece.events, id);
            Ok(())
        });
        Poll::Ready(Some(stop == Stop::UntilTaken))
    }
}

impl<T, S> PushBatch<T> for FirstOk<Relay<S>> {
    fn poll_push(
        mut self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        match self.has_first() {
            true => Poll::Ready(None),
            false => self.rest().poll_push(yielder, cx),
        }
    }
}

impl<S> Stream for Relay<S> {
    type Item = Result<RelayedEvent, RelayError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl<S> fmt::Debug for Relay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}
