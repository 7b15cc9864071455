//! [`TakenOver`]: drives an event stream on a socket taken over from hyper.

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use tokio::{io::AsyncWrite as _, time::timeout};

use crate::{
    lifecycle::shutdown::Shutdown,
    poll::epoch::PollEpochs,
    server::{
        socket::{Socket, Transport},
        takeover::{
            candidate::EventStream,
            chunk::{BodyItem, ChunkWriter},
        },
    },
};

/// An event stream on a socket taken over from hyper.
#[derive(Debug)]
pub(crate) struct TakenOver<Io: Transport> {
    // Declared before `socket` so that the generator's destructors run before the client sees the
    // connection close.
    body: Body,
    socket: Socket<Io>,
    /// The body's next item, held here while earlier data is still being written.
    next: Option<BodyItem>,
    chunks: ChunkWriter,
    keeps_alive: bool,
    /// Starts a new epoch on every poll.
    epochs: PollEpochs,
}

/// The state of a connection once its stream has ended.
pub(crate) enum AfterStream<Io: Transport> {
    /// The connection serves the next request.
    Next(Socket<Io>),
    /// The connection is closed.
    Nothing(Closing),
}

/// Boxed because it holds a timer that most streams never need.
pub(crate) type Closing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl<Io: Transport> TakenOver<Io> {
    /// Creates a stream on the socket returned by hyper. If hyper has read bytes of the next
    /// request, the caller must already have put them back into the socket.
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
            chunks: ChunkWriter::new(head, is_chunked),
            keeps_alive,
            epochs: PollEpochs::new(),
        }
    }

    /// Drops the generator but leaves the connection open.
    pub(crate) fn end_body(&mut self) {
        self.body = Body::empty();
    }

    /// Drops the generator and returns the connection's state now that its stream has ended.
    pub(crate) fn end(self, shutdown: &Shutdown) -> AfterStream<Io> {
        let Self {
            body,
            socket,
            keeps_alive,
            ..
        } = self;
        drop(body);
        let is_shutting_down = shutdown.has_begun();
        if keeps_alive && !socket.is_flooded() && !is_shutting_down {
            return AfterStream::Next(socket);
        }
        let linger = if is_shutting_down {
            LINGER_IN_SHUTDOWN
        } else {
            LINGER
        };
        AfterStream::Nothing(Box::pin(close(socket, linger)))
    }

    /// Sends the stream until it ends.
    ///
    /// # Errors
    ///
    /// Returns an error if the client disconnects or stops reading, or if the body fails. The
    /// caller then drops the stream, which aborts the connection.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Box<dyn Error + Send + Sync>>> {
        self.socket.poll_watch(cx)?;
        let _epoch = self.epochs.enter(cx);
        loop {
            // Poll the body even while its last frame is being written, because the body's deadline
            // may have passed. In that case, the stream must end without waiting for the client to
            // read.
            let polled = self.poll_body(cx)?;
            self.chunks.fill(&mut self.next);
            // Flush even if there is nothing to write. If a layer has discarded a frame, the
            // generator is still waiting for a flush.
            let is_last = self.chunks.is_last();
            ready!(self.poll_flush(cx))?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
            ready!(polled);
        }
    }

    /// Polls the body for its next item, unless an item is already waiting to be written.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.next.is_none() {
            let next = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Discard trailers. The head has no `trailer` field, so the client does not expect
                // any.
                Some(frame) => BodyItem::Data(frame?.into_data().unwrap_or_default()),
                None => BodyItem::End,
            };
            self.next = Some(next);
        }
        Poll::Ready(Ok(()))
    }

    /// Returns `Ready` once all data is in the kernel and the generator waiting for this flush has
    /// been woken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.chunks.poll_write(Pin::new(&mut self.socket), cx))?;
        ready!(self.socket.poll_sent(cx))?;
        self.chunks.clear();
        Poll::Ready(Ok(()))
    }
}

/// How long a client may take to close its side of the connection once the last response has been
/// sent.
const LINGER: Duration = Duration::from_secs(2);

/// Like [`LINGER`], but during a shutdown. Clients with a connection pool may not notice a closed
/// connection until they need it, so a longer limit would delay the shutdown.
const LINGER_IN_SHUTDOWN: Duration = Duration::from_millis(250);

/// Closes a connection once its last response has been sent.
///
/// The kernel sends a reset if data arrives on a closed socket, or if the socket is closed while it
/// holds unread data. A reset makes the client's kernel discard data that the client has not read
/// yet, such as the stream's last events. Therefore, only the server's side is shut down, and
/// received data is discarded until the client has closed its side.
async fn close<Io: Transport>(mut socket: Socket<Io>, linger: Duration) -> io::Result<()> {
    let closing = async {
        poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await?;
        poll_fn(|cx| socket.poll_discard(cx)).await
    };
    timeout(linger, closing).await.unwrap_or(Ok(()))
}
