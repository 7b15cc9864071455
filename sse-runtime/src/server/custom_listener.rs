//! [`Server::serve_listener`]: serves the connections that a custom listener accepts.

use std::{
    any::Any,
    fmt,
    future::{Future, ready},
    io,
    net::SocketAddr,
    pin::Pin,
};

#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::server::{
    listener::{Accepted, Listener},
    server::Server,
    socket::Transport,
};

impl Server {
    /// Like [`serve`](Self::serve), but accepts connections from any implementation of axum's
    /// [`Listener`](axum::serve::Listener). For example, a listener can read the header of the
    /// PROXY protocol from each connection, or return in-memory connections in a test.
    ///
    /// The address that the listener returns counts as the client's address: in
    /// `ConnectInfo<SocketAddr>`, [`Connection::peer`](crate::Connection::peer),
    /// [`StreamLimit::per_peer`](crate::StreamLimit::per_peer) and the stream's span. The listener's
    /// `Addr` is a `SocketAddr`, or an `Option<SocketAddr>` if some connections have no address.
    /// With [`tls`](Self::tls), the handshake begins after the listener has returned the
    /// connection.
    ///
    /// ```no_run
    /// use std::{io, net::SocketAddr};
    ///
    /// use axum::{Router, serve::Listener};
    /// use sse_runtime::Server;
    /// use tokio::{io::{DuplexStream, duplex}, sync::mpsc};
    ///
    /// /// Accepts in-memory connections from the other end of the channel.
    /// struct InMemory(mpsc::Receiver<DuplexStream>);
    ///
    /// impl Listener for InMemory {
    ///     type Io = DuplexStream;
    ///     type Addr = Option<SocketAddr>;
    ///
    ///     async fn accept(&mut self) -> (DuplexStream, Option<SocketAddr>) {
    ///         match self.0.recv().await {
    ///             Some(connection) => (connection, None),
    ///             // There will be no more connections.
    ///             None => std::future::pending().await,
    ///         }
    ///     }
    ///
    ///     fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
    ///         Ok(None)
    ///     }
    /// }
    ///
    /// # async fn run(app: Router) -> io::Result<()> {
    /// let (sender, receiver) = mpsc::channel(16);
    /// let (client, server) = duplex(64 * 1024);
    /// let _ = sender.send(server).await;
    /// Server::new(app).serve_listener(InMemory(receiver)).await
    /// # }
    /// ```
    ///
    /// # Requirements for listeners
    ///
    /// The server waits for one `accept` at a time. A listener that reads from a connection before
    /// it returns the connection must therefore do so in separate tasks, with a time limit.
    /// Otherwise, a client that sends nothing keeps all other clients from connecting. As axum
    /// requires, `accept` handles errors itself. When the server begins to drain, it drops the
    /// listener, and with it any pending `accept`.
    ///
    /// # Types of connections
    ///
    /// If the listener's `Io` is tokio's `TcpStream` or `UnixStream`, the connections are treated
    /// exactly like those of [`serve`](Self::serve). The server sets the socket options of a
    /// `TcpStream` itself.
    ///
    /// For any other type, streams, backpressure, disconnects and all timeouts of the server work
    /// in the same way, except where the server would need access to the socket:
    ///
    /// - The listener sets the socket's options, such as `TCP_NODELAY`. The
    ///   [`tcp_user_timeout`](Self::tcp_user_timeout) applies only to HTTP/2, as the limit for
    ///   PINGs.
    /// - An event counts as sent once `poll_flush` returns `Ready`, even if the type passes it to
    ///   another buffer. The [`send_timeout`](Self::send_timeout) starts when a write or a flush
    ///   returns `Pending`, and restarts when one returns `Ready`.
    /// - A connection that is aborted is only dropped, not reset. An HTTP/1.0 client then mistakes
    ///   a stream that was cut off for a complete one.
    ///
    /// # Errors
    ///
    /// Returns an error if the certificate cannot be used, or if the process cannot listen for
    /// signals.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections immediately.
    pub async fn serve_listener<L>(self, listener: L) -> io::Result<()>
    where
        L: axum::serve::Listener,
        L::Addr: Into<Option<SocketAddr>>,
    {
        let listener = Listener::from(CustomListener(Box::new(listener)));
        self.serve_bound(ready(Ok(listener))).await
    }
}

/// A listener whose type has been erased, so that the server is compiled only once.
pub(crate) struct CustomListener(Box<dyn Accept>);

impl CustomListener {
    /// Accepts the next connection.
    ///
    /// # Cancel safety
    ///
    /// Whether a connection is lost if the future is dropped depends on the listener.
    pub(crate) async fn accept(&mut self) -> Accepted {
        self.0.accept().await
    }

    /// Returns the address that the listener is bound to, if it has one.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local_addr()
    }
}

impl fmt::Debug for CustomListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomListener")
            .field(&self.local_addr())
            .finish()
    }
}

/// The object-safe form of [`axum::serve::Listener`].
trait Accept: Send {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>>;

    fn local_addr(&self) -> Option<SocketAddr>;
}

impl<L> Accept for L
where
    L: axum::serve::Listener,
    L::Addr: Into<Option<SocketAddr>>,
{
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = Accepted> + Send + '_>> {
        Box::pin(async {
            let (io, peer) = axum::serve::Listener::accept(self).await;
            accepted(io, peer.into())
        })
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        let addr = axum::serve::Listener::local_addr(self);
        addr.ok().and_then(Into::into)
    }
}

/// Erases the type of a connection, unless the server has a variant for it.
fn accepted<Io>(io: Io, peer: Option<SocketAddr>) -> Accepted
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = match downcast::<_, TcpStream>(io) {
        Ok(socket) => return Accepted::Tcp(socket, peer),
        Err(io) => io,
    };
    #[cfg(unix)]
    let io = match downcast::<_, UnixStream>(io) {
        Ok(socket) => return Accepted::Unix(socket, peer),
        Err(io) => io,
    };
    Accepted::Custom(Box::new(io), peer)
}

/// Returns `value` as a `U` if that is its type, and unchanged otherwise.
fn downcast<T: 'static, U: 'static>(value: T) -> Result<U, T> {
    let mut value = Some(value);
    let any: &mut dyn Any = &mut value;
    match any.downcast_mut::<Option<U>>().and_then(Option::take) {
        Some(value) => Ok(value),
        None => Err(value.unwrap_or_else(|| unreachable!("only a `U` has been taken"))),
    }
}

/// A connection of a type that the server does not know.
pub(crate) trait CustomIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send> CustomIo for Io {}

impl Transport for Box<dyn CustomIo> {
    // A connection of an unknown type cannot be reset.
    fn forget_unsent(&self) {}
}

impl fmt::Debug for dyn CustomIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomIo")
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn known_types_are_recognized() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = TcpStream::connect(addr).await.unwrap();
        let found = accepted(socket, Some(addr));
        assert!(matches!(found, Accepted::Tcp(_, Some(peer)) if peer == addr));

        #[cfg(unix)]
        {
            let (socket, _other) = UnixStream::pair().unwrap();
            assert!(matches!(accepted(socket, None), Accepted::Unix(_, None)));
        }
        let (socket, _other) = duplex(1);
        assert!(matches!(accepted(socket, None), Accepted::Custom(_, None)));
    }
}
