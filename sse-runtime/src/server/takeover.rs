//! The takeover: an HTTP/1 connection that carries an event stream is no longer hyper's, but ours.
//!
//! Once the app has answered with an event stream, hyper has nothing left to do for as long as that lasts, which may be
//! hours. It would hold 16 KiB of buffers for it, look at the connection's state in each turn, and gather frames for a
//! `writev`, which costs more than the `send` of one buffer. So the answer is taken out of hyper's hands before it has
//! seen it: the service stays pending, hyper's connection is taken apart, and [`TakenOver`] writes the head and drives
//! the body on the socket. After a clean end the socket goes back to hyper, for the next request.
//!
//! ```text
//! hyper: request -> Service -> Answer -> event stream? --no--> hyper sends it
//!                                             |
//!                                            yes -> Slot -> Connection::into_parts -> TakenOver -> end -> hyper anew, or closed
//! ```
//!
//! # What it relies on
//!
//! - hyper calls the service for a request only when all that it has answered before is with the kernel, so that there is
//!   nothing in its write buffer when it is taken apart (`try_keep_alive`, behind a flush that has finished). hyper does not
//!   promise this, so a test pins it (`tests/takeover.rs`). It would not hold with `pipeline_flush`, which must stay off.
//! - `into_parts` gives back all that hyper has read and not parsed. What was read of a request's body is lost with it:
//!   only a request whose body has been read to its end, or that has none, is taken over
//!   ([`Course::has_arrived`](crate::server::body_timeout::Course::has_arrived)).
//! - The body is the one that came out of the router, with all layers around it; it is dropped when the client leaves, as
//!   hyper would drop it. Whatever it knows of the connection, it knows by the [`Wire`](crate::lifecycle::wire::Wire) in its request, whose flushes
//!   are counted here as well.
//! - A [`Socket`] gives up a client that takes nothing, and is what TLS is spoken on as well: nothing here knows of either.
//!
//! # What it must never do
//!
//! - Count a flush before all that was written is with the kernel. The body is polled also while its last frame is on its
//!   way, as hyper does, since its time may be over; the generator in it waits for the flush.
//! - Take more than one frame from a body whose last one is on its way: backpressure begins there.
//! - Hold what has been sent, or a buffer for what is to be: between two frames a quiet stream costs its state alone.
//! - Read without a bound, or stop looking whether the client is there.
//! - End a body that failed with the last chunk.
//!
//! # What stays with hyper
//!
//! HTTP/2; everything that is not a `200` with `text/event-stream` and a body of unknown length; `HEAD`; requests that expect
//! `100-continue`, or could be upgraded; those whose body is chunked, or was not read to its end; and all of it, where
//! [`Server::takeover`](crate::Server::takeover) says so.

use std::{
    cell::RefCell,
    error::Error,
    fmt::Write as _,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, Method, Request, StatusCode, Version, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use hyper::{ext::ReasonPhrase, upgrade::OnUpgrade};
use tokio::{io::AsyncWrite, time::timeout};

use crate::{
    lifecycle::shutdown::Shutdown,
    poll::epoch::Turns,
    server::socket::{Socket, Transport},
    stream::request_context::asks_to_close,
};

/// A request whose answer can be taken over, if it is an event stream.
#[derive(Debug)]
pub(crate) struct Asked {
    slot: Slot,
    is_http10: bool,
    keeps_alive: bool,
}

/// Where an event stream waits to be taken over: one for each connection of hyper's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<EventStream>>>);

impl Slot {
    pub(crate) fn take(&self) -> Option<EventStream> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<EventStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// `None` where hyper has to stay, whatever the answer is.
    pub(crate) fn new<B>(request: &Request<B>, slot: &Slot) -> Option<Self> {
        let is_http10 = request.version() == Version::HTTP_10;
        let headers = request.headers();
        // Behind both a `transfer-encoding` and a `content-length`, which may be an attack, hyper closes the connection, and
        // tells nobody that it will.
        if request.method() == Method::HEAD
            || headers.contains_key(header::EXPECT)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || request.extensions().get::<OnUpgrade>().is_some()
        {
            return None;
        }
        Some(Self {
            slot: slot.clone(),
            is_http10,
            // The end of such a stream is that of its connection: there is no other in HTTP/1.0.
            keeps_alive: !is_http10 && !asks_to_close(headers),
        })
    }

    /// Takes the answer to be taken over, or gives it back.
    pub(crate) fn take(self, response: Response, shutdown: &Shutdown) -> Option<Response> {
        if !is_event_stream(&response) {
            return Some(response);
        }
        let (parts, body) = response.into_parts();
        let keeps_alive =
            self.keeps_alive && !asks_to_close(&parts.headers) && !shutdown.has_begun();
        let stream = EventStream {
            head: head(&parts.headers, self.is_http10, keeps_alive),
            body,
            is_chunked: !self.is_http10,
            keeps_alive,
        };
        *self.slot.lock() = Some(stream);
        None
    }
}

/// Whether a response is one that is taken over: by what it is, and not by who made it.
fn is_event_stream(response: &Response) -> bool {
    let headers = response.headers();
    let is_of_its_type = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    });
    let is_framed = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
    ]
    .iter()
    .any(|name| headers.contains_key(name));
    is_of_its_type
        && !is_framed
        && response.status() == StatusCode::OK
        && response.extensions().get::<ReasonPhrase>().is_none()
        && response.body().size_hint().exact().is_none()
}

/// The head, as hyper would write it: what the types of names and values hold has no line break in it.
fn head(headers: &HeaderMap, is_http10: bool, keeps_alive: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(256);
    let version = if is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    head.extend_from_slice(version.as_bytes());
    head.extend_from_slice(b" 200 OK\r\n");
    for (name, value) in headers {
        // `keep-alive` would be a promise that is not kept.
        if name == header::CONNECTION && !keeps_alive {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !is_http10 {
        if !keeps_alive {
            head.extend_from_slice(b"connection: close\r\n");
        }
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if !headers.contains_key(header::DATE) {
        let now = httpdate::HttpDate::from(SystemTime::now());
        // A buffer that grows takes everything.
        let _ = write!(head, "date: {now}\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.freeze()
}

/// An answer that is an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    head: Bytes,
    body: Body,
    is_chunked: bool,
    keeps_alive: bool,
}

/// An event stream on the socket that was hyper's.
#[derive(Debug)]
pub(crate) struct TakenOver<Io: Transport> {
    // Dropped first: the generator's destructors run before the client is told, by the end of its connection.
    body: Body,
    socket: Socket<Io>,
    /// What has come out of the body, and waits for what came before.
    next: Option<Next>,
    outgoing: Outgoing,
    keeps_alive: bool,
    /// Each time that it is polled is one.
    turns: Turns,
}

/// What comes behind the end of a stream.
pub(crate) enum Behind<Io: Transport> {
    /// The next request.
    Next(Socket<Io>),
    /// Nothing, once it is closed.
    Nothing(Closing),
}

/// In a box, since it has a timer, and most streams never come to this.
pub(crate) type Closing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

#[derive(Debug)]
enum Next {
    Data(Bytes),
    End,
}

impl<Io: Transport> TakenOver<Io> {
    /// `socket` is as hyper has left it, with what it has read of the next request given back.
    pub(crate) fn new(stream: EventStream, socket: Socket<Io>) -> Self {
        let EventStream {
            head,
            body,
            is_chunked,
            keeps_alive,
        } = stream;
        Self {
            body,
            socket,
            next: None,
            outgoing: Outgoing {
                head,
                data: Bytes::new(),
                is_chunked,
                is_last: false,
                written: 0,
            },
            keeps_alive,
            turns: Turns::new(),
        }
    }

    /// Ends the generator, and leaves the connection as it is.
    pub(crate) fn end_body(&mut self) {
        self.body = Body::empty();
    }

    /// What becomes of the connection behind its end.
    pub(crate) fn end(self, shutdown: &Shutdown) -> Behind<Io> {
        let Self {
            body,
            socket,
            keeps_alive,
            ..
        } = self;
        drop(body);
        let is_stopping = shutdown.has_begun();
        if keeps_alive && !socket.is_flooded() && !is_stopping {
            return Behind::Next(socket);
        }
        let linger = if is_stopping {
            LINGER_IN_SHUTDOWN
        } else {
            LINGER
        };
        Behind::Nothing(Box::pin(close(socket, linger)))
    }

    /// Sends it to its end.
    ///
    /// # Errors
    ///
    /// Where the client has left, or takes nothing, and where the body fails. To drop it then breaks the connection off.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<dyn Error + Send + Sync>>> {
        self.socket.poll_watch(cx)?;
        let _turn = self.turns.enter(cx);
        loop {
            // Also while its last frame is not written: it may be told to end, which waits for no client.
            let asked = self.poll_body(cx)?;
            self.outgoing.fill(&mut self.next);
            // Also where there is nothing to write: a layer may have swallowed a frame, whose stream waits for the flush
            // behind it.
            let is_last = self.outgoing.is_last;
            ready!(self.poll_flush(cx))?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
            ready!(asked);
        }
    }

    /// Asks the body for what comes next, unless that is there already.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.next.is_none() {
            let next = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // There is no `trailer` in the head, so nobody waits for trailers.
                Some(frame) => Next::Data(frame?.into_data().unwrap_or_default()),
                None => Next::End,
            };
            self.next = Some(next);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once all is with the kernel, and whoever waits for that has been told.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outgoing.poll_write(Pin::new(&mut self.socket), cx))?;
        ready!(self.socket.poll_sent(cx))?;
        self.outgoing.clear();
        Poll::Ready(Ok(()))
    }
}

/// What is to be written, and how much of it has been.
#[derive(Debug)]
struct Outgoing {
    head: Bytes,
    data: Bytes,
    is_chunked: bool,
    /// The body has ended: the last chunk follows.
    is_last: bool,
    written: usize,
}

/// Up to this size what is written is copied together, which costs less than to hand it to the system in pieces.
const COPIED: usize = 24 * 1024;

thread_local! {
    /// Where it is copied together: once for the thread, since nothing is left in it.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Outgoing {
    /// Takes what comes next, once nothing is left of what came before, or nothing but the head.
    fn fill(&mut self, next: &mut Option<Next>) {
        if self.data.is_empty() && !self.is_last {
            match next.take() {
                Some(Next::Data(data)) => self.data = data,
                Some(Next::End) => self.is_last = true,
                None => {}
            }
        }
    }

    fn poll_write(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() && self.data.is_empty() && !self.is_last {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut size = SizeLine::default();
            let parts = self.parts(&mut size);
            let len: usize = parts.iter().map(|part| part.len()).sum();
            if self.written == len {
                return Poll::Ready(Ok(()));
            }
            let written = if len - self.written <= COPIED {
                TOGETHER.with_borrow_mut(|together| {
                    together.clear();
                    // Of what is far larger it is the end that is left.
                    let mut written = self.written;
                    for part in parts {
                        let left = &part[written.min(part.len())..];
                        written -= part.len() - left.len();
                        together.extend_from_slice(left);
                    }
                    socket.as_mut().poll_write(cx, together)
                })
            } else {
                let mut parts = parts.map(IoSlice::new);
                let mut left = &mut parts[..];
                IoSlice::advance_slices(&mut left, self.written);
                socket.as_mut().poll_write_vectored(cx, left)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
            if self.written == len {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn clear(&mut self) {
        self.head = Bytes::new();
        self.data = Bytes::new();
        self.is_last = false;
        self.written = 0;
    }

    /// What the wire gets: the head, a chunk, the last chunk, each where there is one.
    fn parts<'a>(&'a self, size: &'a mut SizeLine) -> [&'a [u8]; 5] {
        let is_chunk = self.is_chunked && !self.data.is_empty();
        let size = if is_chunk {
            size.of(self.data.len())
        } else {
            b""
        };
        let end: &[u8] = if is_chunk { b"\r\n" } else { b"" };
        let last: &[u8] = if self.is_last && self.is_chunked {
            b"0\r\n\r\n"
        } else {
            b""
        };
        [&self.head, size, &self.data, end, last]
    }
}

/// The line before a chunk: its size in hexadecimal digits. (`write!` would be a tenth of what an event costs.)
#[derive(Debug, Default)]
struct SizeLine([u8; 18]);

impl SizeLine {
    fn of(&mut self, mut len: usize) -> &[u8] {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let (digits, end) = self.0.split_at_mut(16);
        end.copy_from_slice(b"\r\n");
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = DIGITS[len % 16];
            len /= 16;
            if len == 0 {
                return &self.0[first..];
            }
        }
    }
}

/// How long a client has to close its side, after the end of its last response.
const LINGER: Duration = Duration::from_secs(2);

/// How long where the server stops: a client that keeps connections for later may not look at this one before.
const LINGER_IN_SHUTDOWN: Duration = Duration::from_millis(250);

/// Closes a connection that has come to its end.
///
/// The system answers what comes for a socket that is gone, or was not read, with a reset, and a reset destroys what the
/// client has not read yet: the end of the stream. So our side is closed alone, and what still comes is thrown away until
/// the client has closed its own.
async fn close<Io: Transport>(mut socket: Socket<Io>, linger: Duration) -> io::Result<()> {
    let closing = async {
        poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await?;
        poll_fn(|cx| socket.poll_discard(cx)).await
    };
    timeout(linger, closing).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes a few bytes at a time.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = buf.len().min(self.room);
            self.taken.extend_from_slice(&buf[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn of_a_large_event_no_more_is_copied_than_is_left() {
        let data: Bytes = (0..1_000_000).map(|byte| (byte % 251) as u8).collect();
        let mut outgoing = Outgoing {
            head: Bytes::from_static(b"head\r\n\r\n"),
            data: data.clone(),
            is_chunked: true,
            is_last: true,
            written: 0,
        };
        let mut narrow = Narrow {
            room: 999,
            taken: Vec::new(),
        };
        let mut cx = Context::from_waker(Waker::noop());
        let written = outgoing.poll_write(Pin::new(&mut narrow), &mut cx);
        assert!(matches!(written, Poll::Ready(Ok(()))), "{written:?}");
        let whole = [&b"head\r\n\r\nF4240\r\n"[..], &data, b"\r\n0\r\n\r\n"].concat();
        assert!(narrow.taken == whole, "what was written is not the frame");
        let held = TOGETHER.with_borrow(Vec::capacity);
        assert!(held <= 2 * COPIED, "the thread keeps {held} bytes");
    }

    #[test]
    fn a_size_is_written_in_hexadecimal_digits() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4096, 0xABCDEF, usize::MAX] {
            let expected = format!("{len:X}\r\n");
            assert_eq!(SizeLine::default().of(len), expected.as_bytes());
        }
    }
}
