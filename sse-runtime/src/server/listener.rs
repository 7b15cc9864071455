//! [`Bind`] binds a server's address, and [`Listener`] accepts connections on it.

use std::{
    fmt,
    future::{Future, ready},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use socket2::{SockRef, Socket, TcpKeepalive};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs},
    sync::Notify,
    time::timeout,
};

use crate::server::custom_listener::{CustomIo, CustomListener};
use sealed::Sealed;

/// An address that a server can listen on, or a bound TCP or Unix listener.
#[diagnostic::on_unimplemented(
    message = "a server cannot listen on `{Self}`",
    label = "not an address",
    note = "use an address, such as `\"127.0.0.1:3000\"`, or a bound `TcpListener` or `UnixListener` from tokio"
)]
pub trait Bind: Sealed {
    #[doc(hidden)]
    fn bind(self) -> impl Future<Output = io::Result<Listener>> + Send;
}

mod sealed {
    pub trait Sealed {}
}

impl Sealed for TcpListener {}

impl Bind for TcpListener {
    fn bind(self) -> impl Future<Output = io::Result<Listener>> + Send {
        ready(Ok(Kind::Tcp(self).into()))
    }
}

#[cfg(unix)]
impl Sealed for UnixListener {}

#[cfg(unix)]
impl Bind for UnixListener {
    fn bind(self) -> impl Future<Output = io::Result<Listener>> + Send {
        ready(Ok(Kind::Unix(self).into()))
    }
}

macro_rules! bind_address {
    ($($addr:ty: |$value:ident| $name:expr),* $(,)?) => {$(
        impl Sealed for $addr {}

        impl Bind for $addr {
            fn bind(self) -> impl Future<Output = io::Result<Listener>> + Send {
                let $value = &self;
                let name = $name.to_string();
                bind(self, name)
            }
        }
    )*};
}

bind_address!(
    &str: |addr| addr,
    String: |addr| addr,
    SocketAddr: |addr| addr,
    (&str, u16): |addr| format_args!("{}:{}", addr.0, addr.1),
    (IpAddr, u16): |addr| SocketAddr::from(*addr),
    (Ipv4Addr, u16): |addr| SocketAddr::from(*addr),
);

/// Maximum number of connections waiting to be accepted. The limit is high, because all clients
/// reconnect at once after a restart, and a refused client waits several seconds before retrying.
/// The operating system may impose a lower limit.
const BACKLOG: u32 = 4096;

/// The error returned if an address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on `{name}`: {source}")]
struct BindError {
    name: String,
    source: io::Error,
}

/// Listens on the first address that can be bound, as [`TcpListener::bind`] does.
async fn bind(addr: impl ToSocketAddrs, name: String) -> io::Result<Listener> {
    let bound = async {
        let addrs = tokio::net::lookup_host(addr).await?;
        listen_on_first(addrs, listen)
    };
    match bound.await {
        Ok(listener) => Ok(Kind::Tcp(listener).into()),
        Err(source) => Err(io::Error::new(source.kind(), BindError { name, source })),
    }
}

fn listen_on_first<T>(
    addrs: impl Iterator<Item = SocketAddr>,
    listen: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut failed = None;
    for addr in addrs {
        match listen(addr).or_else(|error| listen_without_ipv6(addr, error, &listen)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the address does not resolve to any socket addresses; use an address such as `127.0.0.1:3000`",
        )
    }))
}

/// Falls back to IPv4 if `[::]` cannot be bound. `[::]` stands for all of the machine's addresses,
/// including IPv4 ones, so binding it should succeed even if the kernel was built or started
/// without IPv6.
fn listen_without_ipv6<T>(
    addr: SocketAddr,
    error: io::Error,
    listen: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let is_about_ipv6 = !matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    );
    if addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) || !is_about_ipv6 {
        return Err(error);
    }
    let Ok(listener) = listen((Ipv4Addr::UNSPECIFIED, addr.port()).into()) else {
        return Err(error);
    };
    tracing::warn!(%addr, %error, "IPv6 is unavailable; listening on IPv4 only");
    Ok(listener)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Like `std`, do not set `SO_REUSEADDR` on Windows, where the option would let another program
    // take over the address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A listener that accepts a server's connections.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// The time at which a failure to accept a connection was last logged.
    logged: Option<Instant>,
}

impl From<Kind> for Listener {
    fn from(kind: Kind) -> Self {
        Self { kind, logged: None }
    }
}

impl From<CustomListener> for Listener {
    fn from(listener: CustomListener) -> Self {
        Kind::Custom(listener).into()
    }
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
    Custom(CustomListener),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("a TCP socket"),
            },
            #[cfg(unix)]
            Kind::Unix(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address:?}"),
                Err(_) => f.write_str("a Unix socket"),
            },
            Kind::Custom(listener) => match listener.local_addr() {
                Some(address) => address.fmt(f),
                None => f.write_str("a custom listener"),
            },
        }
    }
}

/// An accepted connection, and the client's address if it is known.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream, Option<SocketAddr>),
    #[cfg(unix)]
    Unix(UnixStream, Option<SocketAddr>),
    Custom(Box<dyn CustomIo>, Option<SocketAddr>),
}

/// Initial pause before `accept` is retried after a failure. A failure usually means that the
/// process has run out of file descriptors. The pause doubles with every failure, up to
/// [`MAX_PAUSE`]. It ends early when one of the server's connections closes and frees a descriptor.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Minimum time between two log lines about failures to accept.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Notifies the listener of closed connections while the listener is waiting for a file descriptor.
#[derive(Debug, Default)]
pub(crate) struct FreedDescriptors {
    /// Whether the listener is waiting for a descriptor. Otherwise, closed connections are not
    /// reported, because each report would wake a thread unnecessarily.
    is_awaited: AtomicBool,
    freed: Notify,
}

impl FreedDescriptors {
    /// Reports that a connection has been closed.
    pub(crate) fn report(&self) {
        if self.is_awaited.load(Ordering::SeqCst) {
            self.freed.notify_one();
        }
    }
}

impl Listener {
    /// Sets the listener's socket options so that accepted connections inherit them. This saves
    /// seven system calls per connection.
    pub(crate) fn prepare(&self, user_timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Kind::Tcp(listener) = &self.kind
            && let Err(error) = set_options(&SockRef::from(listener), user_timeout)
        {
            tracing::debug!(%error, "failed to set listener options");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
    }

    /// Accepts the next connection.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no connection is lost, unless a custom listener loses it.
    pub(crate) async fn accept(&mut self, descriptors: &FreedDescriptors) -> Accepted {
        // After the first failure, `accept` is retried immediately. From then on, every closed
        // connection stores a permit in the `Notify`, so a wakeup cannot be missed.
        let mut pause = Duration::ZERO;
        loop {
            let accepted = match &mut self.kind {
                Kind::Tcp(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(socket, peer)| Accepted::Tcp(socket, Some(peer)))
                }
                #[cfg(unix)]
                Kind::Unix(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(socket, _)| Accepted::Unix(socket, None))
                }
                Kind::Custom(listener) => Ok(listener.accept().await),
            };
            match accepted {
                Ok(accepted) => {
                    descriptors.is_awaited.store(false, Ordering::SeqCst);
                    return accepted;
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    self.log(&error);
                    if !descriptors.is_awaited.swap(true, Ordering::SeqCst) {
                        // A descriptor may have been freed between the failure and the swap without
                        // being reported, so try again immediately.
                        continue;
                    }
                    pause = (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
                    let _ = timeout(pause, descriptors.freed.notified()).await;
                }
            }
        }
    }

    /// Logs a failure to accept, at most once per [`LOG_INTERVAL`].
    fn log(&mut self, error: &io::Error) {
        let last = self.logged;
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::error!(%error, "failed to accept connections");
        }
    }
}

/// Returns whether the error affects only one connection rather than the listener itself.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// How many bytes the kernel buffers once the peer's receive buffer is full.
///
/// By default, Linux buffers several MB. Once this buffer is full, Linux accepts no more data until
/// a third of the buffered data has been sent. A client that reads slowly but steadily would
/// therefore look stalled. It would also receive new events only after reading everything in the
/// buffer.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// Sets a connection's socket options, unless it has inherited them from its listener.
///
/// On Linux, a connection inherits the options if its handshake completes after the call to
/// [`Listener::prepare`]. The option checked here is set last, so a connection that has inherited
/// this one has also inherited all the others.
pub(crate) fn prepare(socket: &TcpStream, peer: Option<SocketAddr>, user_timeout: Duration) {
    let socket = SockRef::from(socket);
    #[cfg(target_os = "linux")]
    if matches!(socket.tcp_notsent_lowat(), Ok(UNSENT)) {
        return;
    }
    if let Err(error) = set_options(&socket, user_timeout) {
        // The peer may have disconnected already.
        let peer = peer.map(tracing::field::display);
        tracing::debug!(peer, %error, "failed to set socket options");
    }
}

/// Makes the kernel send written data immediately and detect peers that have vanished.
///
/// If a peer vanishes without closing its connection (RFC 9293, section 3.8.3), the only sign is
/// that the peer no longer acknowledges data. The kernel waits at most `user_timeout` for the peer
/// to acknowledge data or, if no data is in flight, keep-alive probes.
fn set_options(socket: &Socket, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new()
        // The kernel counts in whole seconds and rejects zero. An error here would leave the
        // remaining options unset.
        .with_time((user_timeout / 2).max(Duration::from_secs(1)))
        .with_interval((user_timeout / 6).max(Duration::from_secs(1)));
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
    let probes = probes.with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    // Set last; see `prepare`.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers a connection that enters the backlog before the options are set and one that enters
    /// it afterward.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn options_are_inherited_or_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let _early = TcpStream::connect(addr).await.unwrap();
        let user_timeout = Duration::from_secs(30);
        set_options(&SockRef::from(&listener), user_timeout).unwrap();
        let _late = TcpStream::connect(addr).await.unwrap();
        for is_inherited in [false, true] {
            let (socket, peer) = listener.accept().await.unwrap();
            assert_eq!(socket.nodelay().unwrap(), is_inherited);
            prepare(&socket, Some(peer), user_timeout);
            assert!(socket.nodelay().unwrap());
            let socket = SockRef::from(&socket);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(user_timeout));
            assert_eq!(socket.tcp_keepalive_time().unwrap(), user_timeout / 2);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
        }
    }

    fn without_ipv6(addr: SocketAddr) -> io::Result<SocketAddr> {
        match addr {
            SocketAddr::V4(_) => Ok(addr),
            SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[test]
    fn unspecified_address_falls_back_to_ipv4() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3000));
        let listener = listen_on_first([any].into_iter(), without_ipv6);
        let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3000));
        assert_eq!(listener.map_err(|error| error.kind()), Ok(ipv4));
        // Unlike `[::]`, a specific address does not fall back to a different address.
        let one = SocketAddr::from((Ipv6Addr::LOCALHOST, 3000));
        assert!(listen_on_first([one].into_iter(), without_ipv6).is_err());
    }

    #[tokio::test]
    async fn bind_error_names_its_address() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = addr.to_string().bind().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        for (error, name) in [
            (("127.0.0.1", addr.port()).bind().await, addr.to_string()),
            ((addr.ip(), addr.port()).bind().await, addr.to_string()),
            (addr.bind().await, addr.to_string()),
            ("not an address".bind().await, "not an address".to_owned()),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&name), "{error}");
        }
    }
}
