//! [`Socket`]: what a server's connections are read from and written to.
//!
//! hyper alone does not say when a flush has finished, waits for ever for a client that takes nothing, and does not see
//! a client leave while there are bytes of its next request in the buffer. All three are seen here, where hyper's calls go
//! through, and those of the [`takeover`](crate::server::takeover).

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

/// What a [`Socket`] is made of.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the system forget what it has not sent yet when this is dropped, and reset the connection.
    fn forget_unsent(&self);

    /// How many bytes have reached the system so far; `None` if each finished write has reached it.
    fn sent(&self) -> Option<u64> {
        None
    }
}

impl Transport for TcpStream {
    fn forget_unsent(&self) {
        // What cannot be set on a socket that is gone already is not needed any more.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

#[cfg(unix)]
impl Transport for tokio::net::UnixStream {
    // Its peer's buffer is all there is.
    fn forget_unsent(&self) {}
}

/// A transport that counts what it has sent, for a layer that buffers what it is asked to write.
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

/// How much of a client's next requests is kept while it is sent an event stream, in bytes. Under hyper, whoever sends more
/// is seen leaving at the next write.
const AHEAD: usize = 64 * 1024;

/// How much of what a client sends too much is thrown away, in bytes.
const DISCARDED: usize = 8 * 1024 * 1024;

/// A socket that counts its flushes, gives up a client that takes nothing, and sees one leave that has sent more than its
/// request.
#[derive(Debug)]
pub(crate) struct Socket<Io: Transport> {
    io: Io,
    wire: Wire,
    /// What was read and hyper has not asked for yet.
    ahead: BytesMut,
    /// hyper waits for something to read, and sees a client leave itself.
    hyper_reads: bool,
    send_timeout: Duration,
    /// What a client sends is thrown away from here on, and how much of it was.
    is_flooded: bool,
    discarded: usize,
    /// Runs while the client takes nothing; in a box, since most clients never let it come to that.
    blocked: Option<Pin<Box<Sleep>>>,
    /// How much the transport had sent when it was last written to.
    sent: Option<u64>,
}

impl<Io: Transport> Socket<Io> {
    /// A client is given up that takes nothing for as long as `send_timeout`.
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

    /// Whether what comes first begins with `prefix`. Nothing is lost: it is read again afterwards.
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

    /// Passes on what a write came to, unless it has come to nothing for too long.
    fn give_up<T>(
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
            "the client takes nothing any more",
        )))
    }

    /// Passes on what the system says. It gives up a client that takes nothing as well, by `TCP_USER_TIMEOUT`, and may be
    /// the first to do so, since it sees the client's window close before its own buffers are full.
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::TimedOut
            && self.blocked.is_some()
        {
            self.wire.set_stalled();
        }
        result
    }

    /// What was read last was not for whoever asked for it: it is read again first.
    pub(crate) fn give_back(&mut self, read: &[u8]) {
        if !read.is_empty() {
            let ahead = mem::take(&mut self.ahead);
            self.ahead = [read, &ahead].concat().as_slice().into();
        }
    }

    /// Ready once all that was written is with the kernel: a flush has finished.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.give_up(cx, flushed))?;
        self.blocked = None;
        self.wire.finish_flush();
        Poll::Ready(Ok(()))
    }

    /// Throws away what comes, up to a limit; ready at the end of it.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead = BytesMut::new();
        while self.discarded < DISCARDED {
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

    /// Looks whether the client is there still, where nobody but us reads. What comes is kept, and where that is too much,
    /// thrown away, up to a limit. It is an error when the client has left, or goes on beyond that.
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

    /// Whether what comes next is not what the client has sent next.
    pub(crate) fn is_flooded(&self) -> bool {
        self.is_flooded
    }

    /// Reads what there is, and keeps it. It is an error when the client has left.
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
        self.give_up(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.give_up(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        // hyper flushes in each of its turns, whether there is something to flush or not.
        if !self.hyper_reads && self.wire.has_streams() {
            self.poll_ahead(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.io).poll_shutdown(cx);
        self.give_up(cx, shut_down)
    }
}
