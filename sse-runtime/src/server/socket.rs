//! [`Socket`]: a connection's I/O, used by hyper and by the [`takeover`](crate::server::takeover).
//!
//! hyper does not report when a flush has finished, does not time out a client that stops reading,
//! and does not notice a disconnect while its buffer contains bytes from the next request. All
//! reads and writes go through the socket, so it reports flushes, enforces the timeout and notices
//! disconnects on hyper's behalf.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{lifecycle::wire::Wire, poll::poll_unconstrained};

/// The transport of a [`Socket`]: a TCP stream, a Unix stream, or a TLS stream over either of them.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the kernel discard unsent data and reset the connection when the transport is dropped.
    fn forget_unsent(&self);

    /// Returns the number of bytes handed to the kernel so far, or `None` if the transport has no
    /// buffer of its own. In that case, all data from completed writes is already in the kernel.
    fn sent(&self) -> Option<u64> {
        None
    }
}

impl Transport for TcpStream {
    fn forget_unsent(&self) {
        // Setting the option fails only if the connection is already closed. In that case, there is
        // no unsent data.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

#[cfg(unix)]
impl Transport for tokio::net::UnixStream {
    // Written data is already in the peer's buffer, so none of it is unsent.
    fn forget_unsent(&self) {}
}

/// A transport that counts the bytes it has sent. TLS buffers writes, so this transport is used
/// below TLS to find out how much data has reached the kernel.
#[cfg(feature = "tls")]
#[derive(Debug)]
pub(crate) struct Metered<Io> {
    io: Io,
    sent: u64,
}

#[cfg(feature = "tls")]
impl<Io: Transport> Metered<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, sent: 0 }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = written {
            self.sent = self.sent.saturating_add(len as u64);
        }
        written
    }
}

#[cfg(feature = "tls")]
impl<Io: Transport> Transport for Metered<Io> {
    fn forget_unsent(&self) {
        self.io.forget_unsent();
    }

    fn sent(&self) -> Option<u64> {
        Some(self.sent)
    }
}

#[cfg(feature = "tls")]
impl<Io: Transport> AsyncRead for Metered<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[cfg(feature = "tls")]
impl<Io: Transport> AsyncWrite for Metered<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Maximum size, in bytes, of the pipelined requests buffered during an event stream. If hyper
/// drives the stream and the client sends more than this, a disconnect is noticed only at the next
/// write.
const AHEAD: usize = 64 * 1024;

/// Maximum number of excess bytes discarded before the connection is closed.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// A socket that counts its flushes, returns an error if the client stops reading, and notices a
/// disconnect even if the client has pipelined requests.
#[derive(Debug)]
pub(crate) struct Socket<Io: Transport> {
    io: Io,
    wire: Wire,
    /// Data read from the transport before hyper asked for it.
    ahead: BytesMut,
    /// Whether hyper is waiting for data. If so, hyper itself notices a disconnect.
    hyper_reads: bool,
    send_timeout: Duration,
    /// Whether received data is being discarded because `ahead` was full.
    is_flooded: bool,
    /// The number of bytes discarded so far.
    discarded: usize,
    /// The timer that runs while the client isn't reading. Boxed to save space, because most
    /// clients never stop reading.
    blocked: Option<Pin<Box<Sleep>>>,
    /// The value of [`Transport::sent`] after the last write.
    sent: Option<u64>,
}

impl<Io: Transport> Socket<Io> {
    /// Creates a socket that returns an error if the client does not read any data for
    /// `send_timeout`.
    pub(crate) fn new(io: Io, send_timeout: Duration) -> Self {
        Self {
            io,
            wire: Wire::default(),
            ahead: BytesMut::new(),
            hyper_reads: false,
            send_timeout,
            is_flooded: false,
            discarded: 0,
            blocked: None,
            sent: None,
        }
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Returns whether the received data begins with `prefix`. The data is buffered, so later reads
    /// return it again.
    #[cfg(feature = "http2")]
    pub(crate) async fn starts_with(&mut self, prefix: &[u8]) -> io::Result<bool> {
        loop {
            let len = self.ahead.len().min(prefix.len());
            if self.ahead[..len] != prefix[..len] {
                return Ok(false);
            }
            if len == prefix.len() {
                return Ok(true);
            }
            let mut more = [0; 16];
            let mut more = ReadBuf::new(&mut more);
            std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut more)).await?;
            if more.filled().is_empty() {
                return Ok(false);
            }
            self.ahead.extend_from_slice(more.filled());
        }
    }

    /// Returns the result of a write, or an error if the client has stopped reading for too long.
    fn check_stall<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let sent = self.io.sent();
        let has_progressed = match sent {
            Some(_) => sent != self.sent,
            None => written.is_ready(),
        };
        self.sent = sent;
        let written = written.map(|written| self.explain(written));
        if has_progressed {
            self.blocked = None;
        }
        if written.is_ready() {
            return written;
        }
        let limit = self.send_timeout;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(poll_unconstrained(blocked.as_mut(), cx));
        self.wire.set_stalled();
        self.io.forget_unsent();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client has stopped reading",
        )))
    }

    /// Returns the kernel's result unchanged. If the result is a timeout error and the client has
    /// stopped reading, also marks it as stalled. The timeout error comes from `TCP_USER_TIMEOUT`,
    /// which may expire before `send_timeout`, because the kernel starts the timer as soon as the
    /// client's window closes, even if the server's buffers are not full yet.
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::TimedOut
            && self.blocked.is_some()
        {
            self.wire.set_stalled();
        }
        result
    }

    /// Puts back data that was read but not used. The next read returns this data first.
    pub(crate) fn give_back(&mut self, read: &[u8]) {
        if !read.is_empty() {
            let ahead = mem::take(&mut self.ahead);
            self.ahead = [read, &ahead].concat().as_slice().into();
        }
    }

    /// Returns `Ready` once all written data is in the kernel. This completes a flush.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.check_stall(cx, flushed))?;
        self.blocked = None;
        self.wire.finish_flush();
        Poll::Ready(Ok(()))
    }

    /// Discards received data. Returns `Ready` once the client has closed its side or
    /// [`MAX_DISCARDED`] bytes have been discarded.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead = BytesMut::new();
        while self.discarded < MAX_DISCARDED {
            let mut chunk = [mem::MaybeUninit::uninit(); 4096];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
            match chunk.filled().len() {
                0 => break,
                len => self.discarded += len,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Checks whether the client is still connected. Used while nothing else reads from the socket.
    /// Received data is buffered, or discarded if the buffer is full. Returns an error if the
    /// client has disconnected or if [`MAX_DISCARDED`] bytes have been discarded.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_flooded {
            self.poll_ahead(cx)?;
            self.is_flooded = self.ahead.len() >= AHEAD;
        }
        if self.is_flooded
            && let Poll::Ready(discarded) = self.poll_discard(cx)
        {
            discarded?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Returns whether received data has been discarded. If so, no further request can be read from
    /// the connection.
    pub(crate) fn is_flooded(&self) -> bool {
        self.is_flooded
    }

    /// Reads and buffers all available data. Returns an error if the client has disconnected.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.ahead.len() < AHEAD {
            let mut chunk = [mem::MaybeUninit::uninit(); 4096];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut self.io).poll_read(cx, &mut chunk) {
                Poll::Pending => break,
                Poll::Ready(read) => self.explain(read)?,
            }
            if chunk.filled().is_empty() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.ahead.extend_from_slice(chunk.filled());
        }
        Ok(())
    }
}

impl<Io: Transport> Drop for Socket<Io> {
    fn drop(&mut self) {
        if self.wire.is_reset_when_closed() {
            self.io.forget_unsent();
        }
    }
}

impl<Io: Transport> AsyncRead for Socket<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            this.hyper_reads = read.is_pending();
            return read.map(|read| this.explain(read));
        }
        let len = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..len]);
        this.ahead.advance(len);
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        this.hyper_reads = false;
        Poll::Ready(Ok(()))
    }
}

impl<Io: Transport> AsyncWrite for Socket<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.check_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.check_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        // hyper flushes the socket whenever its connection is polled, even if there is nothing to
        // flush, so check for a disconnect here.
        if !self.hyper_reads && self.wire.has_streams() {
            self.poll_ahead(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.io).poll_shutdown(cx);
        self.check_stall(cx, shut_down)
    }
}
