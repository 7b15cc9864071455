//! `Server::serve_listener`, with a listener for the PROXY protocol and one for in-memory
//! connections.

use std::{
    fs,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    serve::Listener,
};
use sse_runtime::{
    CloseReason, Connection, Server, Shutdown, SseRouterExt as _, Stream, StreamLimit, sse_endpoint,
};
use support::{Client, Generators, server_of, within};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::shutdown::{retry, to_the_end};

/// Reads the header of version 1 of the PROXY protocol from each connection.
struct ProxyProtocol(TcpListener);

impl Listener for ProxyProtocol {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Ok((mut socket, _)) = self.0.accept().await else {
                continue;
            };
            if let Some(client) = client_of(&mut socket).await {
                return (socket, client);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Reads a line such as `PROXY TCP4 203.0.113.7 198.51.100.1 49152 443`, which has at most 107 bytes.
async fn client_of(socket: &mut TcpStream) -> Option<SocketAddr> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == 107 {
            return None;
        }
        line.push(socket.read_u8().await.ok()?);
    }
    let line = String::from_utf8(line).ok()?;
    match *line.trim_end().split(' ').collect::<Vec<_>>() {
        ["PROXY", "TCP4" | "TCP6", ip, _, port, _] => {
            Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
        }
        _ => None,
    }
}

/// Accepts the in-memory connections that the test sends.
struct InMemory(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for InMemory {
    type Io = DuplexStream;
    type Addr = Option<SocketAddr>;

    async fn accept(&mut self) -> (DuplexStream, Option<SocketAddr>) {
        match self.0.recv().await {
            Some(connection) => (connection, None),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }
}

#[derive(Clone)]
struct Shared {
    generators: Generators,
    yielded: Arc<AtomicUsize>,
    closed: mpsc::UnboundedSender<CloseReason>,
}

impl Shared {
    fn new() -> (Self, mpsc::UnboundedReceiver<CloseReason>) {
        let (closed, reasons) = mpsc::unbounded_channel();
        let shared = Self {
            generators: Generators::new(),
            yielded: Arc::default(),
            closed,
        };
        (shared, reasons)
    }
}

/// Yields the client's address, according to the extension and to the connection.
#[sse_endpoint("/peer")]
async fn peer(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    connection: Connection,
) -> impl Stream<Item = (SocketAddr, Option<SocketAddr>)> {
    yield_!((peer, connection.peer()));
    pending::<()>().await;
}

/// Yields about a kilobyte at a time.
#[sse_endpoint("/kilobytes")]
async fn kilobytes(
    connection: Connection,
    State(shared): State<Shared>,
) -> impl Stream<Item = String> {
    let _running = shared.generators.enter();
    let closed = shared.closed.clone();
    connection.on_close(move |reason| async move {
        let _ = closed.send(reason);
    });
    loop {
        yield_!("x".repeat(1_000));
        shared.yielded.fetch_add(1, Ordering::Relaxed);
    }
}

#[sse_endpoint("/quiet")]
async fn quiet(State(shared): State<Shared>) -> impl Stream<Item = u32> {
    let _running = shared.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

async fn serve_proxied(server: Server) -> SocketAddr {
    let listener = ProxyProtocol(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addr = listener.local_addr().unwrap();
    tokio::spawn(server.serve_listener(listener));
    addr
}

/// Connects in the same way as a proxy whose client has this address.
async fn connect_for(client: &str, addr: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let header = format!("PROXY TCP4 {client} 198.51.100.1 49152 443\r\n");
    socket.write_all(header.as_bytes()).await.unwrap();
    socket
}

const GET_PEER: &[u8] = b"GET /peer HTTP/1.1\r\nhost: test\r\n\r\n";

#[tokio::test]
async fn listener_determines_the_clients_address() {
    let app = Router::new().sse(peer).layer(StreamLimit::per_peer(1));
    let addr = serve_proxied(server_of(app)).await;
    let mut open = Vec::new();
    for (client, status) in [
        ("203.0.113.7", "HTTP/1.1 200 OK"),
        ("203.0.113.8", "HTTP/1.1 200 OK"),
        // The first client has reached its limit, whereas the proxy has not.
        ("203.0.113.7", "HTTP/1.1 429 Too Many Requests"),
    ] {
        let mut proxied = Client::over(connect_for(client, addr).await);
        proxied.send(GET_PEER).await;
        assert_eq!(proxied.head().await.status_line, status);
        if status.contains("200") {
            let expected = format!("data: [\"{client}:49152\",\"{client}:49152\"]\n\n");
            assert_eq!(proxied.expect_chunk().await, expected);
        }
        open.push(proxied);
    }
}

/// Reads until the received text contains `what`.
async fn read_to(io: &mut (impl AsyncRead + Unpin), what: &str) -> String {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if text.contains(what) {
            return text;
        }
        let read = within("the server to write", io.read_buf(&mut received)).await;
        assert!(read.unwrap() > 0, "expected {what:?} after {text:?}");
    }
}

#[tokio::test]
async fn tls_handshake_follows_the_proxy_header() {
    let files = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let addr = serve_proxied(server_of(Router::new().sse(peer)).tls(cert, key)).await;

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = connect_for("203.0.113.7", addr).await;
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, socket);
    let mut proxied = within("the handshake", handshake).await.unwrap();
    proxied.write_all(GET_PEER).await.unwrap();
    read_to(&mut proxied, "data: [\"203.0.113.7:49152\"").await;
}

/// A server of in-memory connections.
struct Memory {
    connections: mpsc::UnboundedSender<DuplexStream>,
    shared: Shared,
    closed: mpsc::UnboundedReceiver<CloseReason>,
    shutdown: Shutdown,
}

/// The number of bytes that a connection buffers in each direction.
const BUFFER: usize = 4 * 1024;

impl Memory {
    fn start(send_timeout: Duration) -> Self {
        let (shared, closed) = Shared::new();
        let app = Router::new()
            .sse(kilobytes)
            .sse(quiet)
            .with_state(shared.clone());
        let (connections, accepted) = mpsc::unbounded_channel();
        let shutdown = Shutdown::within(Duration::from_millis(100));
        let server = server_of(app)
            .send_timeout(send_timeout)
            .shutdown(shutdown.clone());
        tokio::spawn(server.serve_listener(InMemory(accepted)));
        Self {
            connections,
            shared,
            closed,
            shutdown,
        }
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(BUFFER);
        self.connections.send(server).unwrap();
        client
    }

    async fn get(&self, path: &str) -> DuplexStream {
        let mut client = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    fn yielded(&self) -> usize {
        self.shared.yielded.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn in_memory_client_slows_down_the_generator() {
    let mut server = Memory::start(Duration::from_secs(60));
    let mut client = server.get("/kilobytes").await;
    server.shared.generators.until_started(1).await;
    // On this single-threaded runtime, the server runs whenever the test yields, until it has
    // nothing left to do.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let unread = server.yielded();
    assert!((1..20).contains(&unread), "{unread} events for {BUFFER} B");

    let mut read = vec![0; 100_000];
    within("the stream", client.read_exact(&mut read))
        .await
        .unwrap();
    assert!(server.yielded() > 80, "{} events", server.yielded());

    drop(client);
    server.shared.generators.until_gone().await;
    let reason = within("the hook", server.closed.recv()).await;
    assert_eq!(reason, Some(CloseReason::ClientGone));
}

#[tokio::test]
async fn in_memory_disconnect_is_noticed_at_once() {
    let server = Memory::start(Duration::from_secs(60));
    let mut client = server.get("/quiet").await;
    read_to(&mut client, "data: 1\n\n").await;
    drop(client);
    server.shared.generators.until_alive(0).await;
}

#[tokio::test]
async fn stalled_in_memory_client_is_disconnected() {
    let mut server = Memory::start(Duration::from_millis(100));
    let _client = server.get("/kilobytes").await;
    let reason = within("the hook", server.closed.recv()).await;
    assert_eq!(reason, Some(CloseReason::Stalled));
}

#[tokio::test]
async fn in_memory_stream_is_drained() {
    let server = Memory::start(Duration::from_secs(60));
    let mut client = server.get("/quiet").await;
    read_to(&mut client, "data: 1\n\n").await;
    server.shutdown.begin();
    let last = read_to(&mut client, "0\r\n\r\n").await;
    assert!(last.contains("retry: "), "{last:?}");
    // The server has dropped its listener.
    within("the listener to close", server.connections.closed()).await;
}

#[tokio::test]
async fn in_memory_connection_speaks_http2() {
    let server = Memory::start(Duration::from_secs(60));
    let handshake = h2::client::handshake(server.connect()).await;
    let (mut send, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://test/quiet").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let response = within("the head", response).await.unwrap();
    let mut body = response.into_body();
    let event = within("the event", body.data()).await;
    assert_eq!(event.unwrap().unwrap(), "data: 1\n\n");
}

/// If the listener's connections are TCP sockets, they are drained like any others.
#[tokio::test]
async fn proxied_stream_is_drained() {
    let shutdown = Shutdown::within(Duration::from_millis(100));
    let server = server_of(Router::new().sse(peer)).shutdown(shutdown.clone());
    let addr = serve_proxied(server).await;
    let mut client = Client::over(connect_for("203.0.113.7", addr).await);
    client.send(GET_PEER).await;
    client.head().await;
    client.expect_chunk().await;
    shutdown.begin();
    retry(&to_the_end(&mut client).await);
}
