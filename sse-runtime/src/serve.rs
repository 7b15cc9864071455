//! What event streams need of a socket: [`Bind`], and the connections that [`Server`](crate::Server) serves.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    response::Response,
    routing::future::RouteFuture,
    serve::{IncomingStream, Listener},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs};
use tower_service::Service;

use crate::flushes::{FlushCounting, Flushes};

/// Where a server listens: an address, or a listener that is bound already.
pub trait Bind {
    #[doc(hidden)]
    fn bind(self) -> impl Future<Output = io::Result<TcpListener>> + Send;
}

impl Bind for TcpListener {
    fn bind(self) -> impl Future<Output = io::Result<TcpListener>> + Send {
        ready(Ok(self))
    }
}

macro_rules! bind_address {
    ($($addr:ty),*) => {$(
        impl Bind for $addr {
            fn bind(self) -> impl Future<Output = io::Result<TcpListener>> + Send {
                bind(self)
            }
        }
    )*};
}

bind_address!(
    &str,
    String,
    SocketAddr,
    (&str, u16),
    (std::net::IpAddr, u16),
    (std::net::Ipv4Addr, u16)
);

/// How many clients may wait to be accepted: after a restart they all come back at once, and whoever finds no room waits
/// seconds for the next try. The system may allow less.
const BACKLOG: u32 = 4096;

/// Listens on the first of the addresses that can be had, as [`TcpListener::bind`] does.
async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = None;
    for addr in tokio::net::lookup_host(addr).await? {
        match listen(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the address resolves to nothing; write one such as `127.0.0.1:3000`",
        )
    }))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As std has it: on Windows it would let another program take the address over.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts sockets that send at once, and count their flushes.
pub(crate) struct NoDelay(pub(crate) TcpListener);

impl Listener for NoDelay {
    type Io = FlushCounting<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own listener, which waits when there are no file descriptors left.
        let (socket, peer) = Listener::accept(&mut self.0).await;
        if let Err(error) = socket.set_nodelay(true) {
            // Nothing is lost but time: the peer may be gone already.
            tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        (FlushCounting::new(socket), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Makes the service of each connection.
pub(crate) struct EachConnection(Router);

impl EachConnection {
    pub(crate) fn new(app: Router) -> Self {
        Self(app)
    }
}

impl Service<IncomingStream<'_, NoDelay>> for EachConnection {
    type Response = Connected;
    type Error = Infallible;
    type Future = Ready<Result<Connected, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, NoDelay>) -> Self::Future {
        ready(Ok(Connected {
            app: self.0.clone(),
            peer: *stream.remote_addr(),
            flushes: stream.io().flushes().clone(),
        }))
    }
}

/// Tells the app what its requests came in on.
#[derive(Clone)]
pub(crate) struct Connected {
    app: Router,
    peer: SocketAddr,
    flushes: Flushes,
}

impl Service<Request> for Connected {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.app, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(self.flushes.clone());
        self.app.call(request)
    }
}
