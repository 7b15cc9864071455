//! [`TakenOver`]: drives an event stream on the socket that was hyper's.

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
            chunk::{Next, Outgoing},
        },
    },
};

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
    turns: PollEpochs,
}

/// What comes behind the end of a stream.
pub(crate) enum AfterStream<Io: Transport> {
    /// The next request.
    Next(Socket<Io>),
    /// Nothing, once it is closed.
    Nothing(Closing),
}

/// In a box, since it has a timer, and most streams never come to this.
pub(crate) type Closing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

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
            outgoing: Outgoing::new(head, is_chunked),
            keeps_alive,
            turns: PollEpochs::new(),
        }
    }

    /// Ends the generator, and leaves the connection as it is.
    pub(crate) fn end_body(&mut self) {
        self.body = Body::empty();
    }

    /// What becomes of the connection behind its end.
    pub(crate) fn end(self, shutdown: &Shutdown) -> AfterStream<Io> {
        let Self {
            body,
            socket,
            keeps_alive,
            ..
        } = self;
        drop(body);
        let is_stopping = shutdown.has_begun();
        if keeps_alive && !socket.is_flooded() && !is_stopping {
            return AfterStream::Next(socket);
        }
        let linger = if is_stopping {
            LINGER_IN_SHUTDOWN
        } else {
            LINGER
        };
        AfterStream::Nothing(Box::pin(close(socket, linger)))
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
            let is_last = self.outgoing.is_last();
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
