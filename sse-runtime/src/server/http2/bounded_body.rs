//! [`BoundedBody`]: a response body that limits how much data hyper buffers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    http::HeaderMap,
};
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use crate::lifecycle::flow_control::{Bound, FlowControl, InHyper};

/// Maximum size, in bytes, of a piece handed to hyper. It equals HTTP/2's default maximum frame
/// size.
///
/// hyper takes a piece as soon as the client's window has room for a single byte. It then polls the
/// body for the next piece while it still holds the unsent part of the previous one. Therefore,
/// data that does not fit into the window must be counted and held back before it reaches hyper.
const PIECE: usize = 16 * 1024;

/// The size, in bytes, below which a piece counts as small. Clients that use the `h2` crate close
/// the connection if too many small pieces have piled up unread.
const SMALL: usize = 256;

/// Limit on the data held by hyper for one stream.
const UNSENT_OF_STREAM: Bound = Bound {
    pieces: 8 * 1024,
    bytes: 64 * 1024,
};

/// Limit on the data held by hyper for all of a connection's streams combined. A stream may still
/// hand a piece to hyper after this limit has been reached, as long as hyper isn't holding any of
/// that stream's pieces.
///
/// If the client keeps reading, hyper holds only the data being passed from the stream tasks to the
/// connection task, so the limit does not slow the client down. The number of pieces is also
/// limited, because even a piece of a few bytes takes up about 400 bytes in hyper.
const UNSENT_OF_CONNECTION: Bound = Bound {
    pieces: 16 * 1024,
    bytes: 1024 * 1024,
};

/// A response body that hands its data to hyper in pieces, within the limits on what hyper may
/// hold.
///
/// Once a connection has sent too many small pieces, all data that the body yields without becoming
/// pending is gathered into one piece until that piece is no longer small. If the body becomes
/// pending first, the gathered data is handed over as soon as hyper has written the previous piece.
/// No timer is involved.
#[derive(Debug)]
pub(crate) struct BoundedBody {
    body: Body,
    /// The rest of the current frame.
    rest: Bytes,
    /// The data gathered for the next piece while that piece is still small.
    gathered: BytesMut,
    /// Whether the last poll of the body returned `Pending` without adding to `gathered`.
    was_pending: bool,
    flow: FlowControl,
    /// Whether a piece has been handed to hyper.
    has_handed_over: bool,
    /// How the body ended. Reported to hyper only once it has taken all of the data.
    end: Option<BodyEnd>,
}

#[derive(Debug)]
enum BodyEnd {
    End,
    Trailers(HeaderMap),
    Failed(axum::Error),
}

type Polled = Poll<Option<Result<Frame<Piece>, axum::Error>>>;

impl BoundedBody {
    pub(crate) fn new(body: Body, flow: FlowControl) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            gathered: BytesMut::new(),
            was_pending: false,
            flow,
            has_handed_over: false,
            end: None,
        }
    }

    fn hand_over(&mut self, bytes: Bytes) -> Polled {
        self.has_handed_over = true;
        self.was_pending = false;
        // The length always fits, because a piece has at most `PIECE` bytes.
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        Poll::Ready(Some(Ok(Frame::data(Piece {
            bytes,
            in_hyper: self.flow.hand_over(len),
        }))))
    }

    fn hand_over_gathered(&mut self) -> Polled {
        let bytes = self.gathered.split().freeze();
        self.hand_over(bytes)
    }

    /// Hands over a piece of `rest`, or moves that piece to `gathered`.
    fn poll_rest(&mut self) -> Polled {
        let is_small = self.rest.len() < SMALL;
        if self.gathered.is_empty() && (!is_small || self.flow.admit_small()) {
            let bytes = self.rest.split_to(self.rest.len().min(PIECE));
            return self.hand_over(bytes);
        }
        let len = self.rest.len().min(PIECE - self.gathered.len());
        self.gathered.extend_from_slice(&self.rest.split_to(len));
        self.was_pending = false;
        if self.gathered.len() < SMALL {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    /// Hands over `gathered` if the body returns `Pending` from two polls in a row. After only one
    /// such poll, the body may merely have yielded to other tasks and may return more data on the
    /// next poll.
    fn poll_pending(&mut self, cx: &Context<'_>) -> Polled {
        if self.gathered.is_empty() {
            return Poll::Pending;
        }
        if !self.was_pending {
            self.was_pending = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.flow.poll_written(cx.waker()) {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    fn poll_end(&mut self, end: BodyEnd, cx: &Context<'_>) -> Polled {
        match end {
            BodyEnd::End => {
                self.end = Some(end);
                Poll::Ready(None)
            }
            BodyEnd::Trailers(trailers) => {
                self.end = Some(BodyEnd::End);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            BodyEnd::Failed(error) => self.poll_failed(error, cx),
        }
    }

    /// Returns the body's error once the last piece has been written. Returning it earlier would
    /// lose data, because hyper resets the stream as soon as it receives the error, and the reset
    /// discards all unsent data. If no piece has been handed over yet, the head may still be
    /// unsent. In that case, this method first hands over an empty piece. hyper writes this piece
    /// after the head, so once it has been written, the head has been written too.
    fn poll_failed(&mut self, error: axum::Error, cx: &Context<'_>) -> Polled {
        if self.has_handed_over && self.flow.poll_written(cx.waker()) {
            self.end = Some(BodyEnd::End);
            return Poll::Ready(Some(Err(error)));
        }
        self.end = Some(BodyEnd::Failed(error));
        if self.has_handed_over {
            return Poll::Pending;
        }
        self.hand_over(Bytes::new())
    }
}

/// A piece of a body, held by hyper until it has been written.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    in_hyper: InHyper,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, len: usize) {
        self.bytes.advance(len);
        if len > 0 {
            self.in_hyper.advance();
        }
    }
}

impl HttpBody for BoundedBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.rest.is_empty()
            && this.gathered.is_empty()
            && let Some(end) = this.end.take()
        {
            return this.poll_end(end, cx);
        }
        let flow = &this.flow;
        if !flow.poll_room(UNSENT_OF_STREAM, UNSENT_OF_CONNECTION, cx.waker()) {
            return Poll::Pending;
        }
        loop {
            if !this.rest.is_empty() {
                let taken = this.poll_rest();
                if taken.is_ready() {
                    return taken;
                }
            }
            if this.end.is_some() {
                return this.hand_over_gathered();
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                return this.poll_pending(cx);
            };
            let end = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => return this.hand_over_gathered(),
                Some(Ok(Ok(data))) => {
                    this.rest = data;
                    continue;
                }
                Some(Ok(Err(frame))) => {
                    BodyEnd::Trailers(frame.into_trailers().unwrap_or_default())
                }
                Some(Err(error)) => BodyEnd::Failed(error),
                None => BodyEnd::End,
            };
            if this.gathered.is_empty() {
                return this.poll_end(end, cx);
            }
            this.end = Some(end);
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.rest.is_empty() && self.gathered.is_empty();
        is_empty
            && match self.end {
                None => self.body.is_end_stream(),
                Some(BodyEnd::End) => true,
                // The body has ended, but its trailers or its error must still be returned.
                Some(BodyEnd::Trailers(_) | BodyEnd::Failed(_)) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let held = (self.rest.len() + self.gathered.len()) as u64;
        let mut hint = match self.end {
            None => self.body.size_hint(),
            Some(BodyEnd::End | BodyEnd::Trailers(_)) => SizeHint::with_exact(0),
            Some(BodyEnd::Failed(_)) => SizeHint::default(),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(hint.lower() + held);
        hint
    }
}
