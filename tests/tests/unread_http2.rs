//! The server memory that an HTTP/2 client can occupy by never reading, or by sending a flood of
//! control frames. The flow-control windows of a client that never reads are as large as possible.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::Path as Segment};
use sse_runtime::{Connection, Stream, sse_endpoint};
use support::{SseRouterExt as _, serve, within};
use tempfile::TempDir;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
        Interest,
    },
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// How long the server waits for a client that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The memory limit for the streams of one connection, in KiB.
const LIMIT: usize = 64 * 1024;

/// The number of streams on one connection.
const STREAMS: u32 = 1_000;

/// A server that runs in a separate process so that the test can measure its memory.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    async fn start(files: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firehose"));
        command.arg(SEND_TIMEOUT.as_millis().to_string());
        if let Some(files) = files {
            command.args([files.join("tls.crt"), files.join("tls.key")]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = within("the server to listen", lines.next_line()).await;
        let addr = addr.unwrap().unwrap().parse().unwrap();
        Self { child, addr }
    }

    /// Returns the peak memory of the process, in KiB.
    fn peak(&self) -> usize {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let size = line.unwrap().split_whitespace().nth(1).unwrap();
        size.parse().unwrap()
    }

    /// Returns a connection with a receive buffer of only a few KiB.
    async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(self.addr).await.unwrap()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Sends `STREAMS` requests for `path`, with windows of 2^31-1 bytes (RFC 9113, section 6.9).
async fn ask(socket: &mut (impl AsyncWrite + Unpin), path: &str) {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    let largest = (1_u32 << 31) - 1;
    let window_of_streams = [&[0, 4], &largest.to_be_bytes()[..]].concat();
    let more_for_connection = (largest - 65_535).to_be_bytes();
    let len = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x86, 0x01, 4], &b"test"[..], &[0x04, len]].concat();
    let head = [&head, path.as_bytes()].concat();
    let mut bytes = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &window_of_streams),
        &frame(WINDOW_UPDATE, 0, 0, &more_for_connection),
    ]
    .concat();
    for number in 0..STREAMS {
        bytes.extend(frame(HEADERS, 5, 2 * number + 1, &head));
    }
    socket.write_all(&bytes).await.unwrap();
    socket.flush().await.unwrap();
}

/// Waits until the server resets the connection.
async fn until_reset(socket: &TcpStream) {
    within("the connection to be reset", socket.ready(Interest::ERROR))
        .await
        .unwrap();
}

/// Returns how much the server's memory grows, in KiB.
async fn growth(connections: usize, path: &'static str) -> usize {
    let server = Server::start(None).await;
    let before = server.peak();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let mut socket = server.connect().await;
        clients.spawn(async move {
            ask(&mut socket, path).await;
            until_reset(&socket).await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    server.peak() - before
}

#[tokio::test]
async fn unread_connection_costs_at_most_64_mib() {
    for path in ["/each", "/ready", "/topic"] {
        let grown = growth(1, path).await;
        assert!(grown < LIMIT, "{path}: {grown} KiB");
    }
}

/// The limit applies per connection. The server's total is the limit multiplied by the number of
/// connections.
#[tokio::test]
async fn unread_connections_cost_at_most_64_mib_each() {
    const CONNECTIONS: usize = 4;
    for path in ["/each", "/ready", "/topic"] {
        let grown = growth(CONNECTIONS, path).await;
        assert!(grown < CONNECTIONS * LIMIT, "{path}: {grown} KiB");
    }
}

/// Returns a directory that contains a certificate, and an HTTP/2 connector that trusts the
/// certificate.
fn certificate() -> (TempDir, TlsConnector) {
    let files = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = files.path().join("tls.crt");
    fs::write(&cert, made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_pem();
    fs::write(files.path().join("tls.key"), key).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&cert).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    (files, TlsConnector::from(Arc::new(config)))
}

/// The client reads the server's replies, so nothing ends the flood.
#[tokio::test]
async fn flood_of_control_frames_costs_constant_memory() {
    const PRIORITY: u8 = 2;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    const FRAMES: usize = 400_000;
    /// Buffers grow to about 2 MiB, however many frames follow.
    const MOST: usize = 4 * 1024;
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, b""),
    ]
    .concat();
    for (name, flood) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15])),
    ] {
        let server = Server::start(None).await;
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        let (mut reads, mut writes) = socket.split();
        let frames = flood.repeat(1_000);
        let last = frame(PING, 0, 0, b"the last");
        let answer = frame(PING, ACK, 0, b"the last");
        let send = async {
            writes.write_all(&preface).await.unwrap();
            writes.write_all(&frames).await.unwrap();
            // The buffers have their full size by now.
            let before = server.peak();
            for _ in 0..FRAMES / 1_000 {
                writes.write_all(&frames).await.unwrap();
            }
            writes.write_all(&last).await.unwrap();
            before
        };
        let read = async {
            let mut tail = Vec::new();
            while !tail.ends_with(&answer) {
                tail.drain(..tail.len().saturating_sub(answer.len()));
                let read = reads.read_buf(&mut tail).await.unwrap();
                assert!(read > 0, "{name}: the server closed the connection");
            }
        };
        let (before, ()) = within("the flood to be answered", async {
            tokio::join!(send, read)
        })
        .await;
        let grown = server.peak() - before;
        assert!(grown < MOST, "{name}: {grown} KiB");
    }
}

/// The connection is reset in time, even though rustls could buffer everything that the
/// connection's streams contain.
#[tokio::test]
async fn unread_tls_connection_costs_at_most_64_mib() {
    let (files, connector) = certificate();
    for path in ["/each", "/ready", "/topic"] {
        let server = Server::start(Some(files.path())).await;
        let before = server.peak();
        let name = ServerName::try_from("localhost").unwrap();
        let shaking_hands = connector.connect(name, server.connect().await);
        let mut socket = within("the handshake", shaking_hands).await.unwrap();
        let start = Instant::now();
        ask(&mut socket, path).await;
        until_reset(socket.get_ref().0).await;
        let took = start.elapsed();
        assert!(took < 2 * SEND_TIMEOUT, "{path}: {took:?}");
        let grown = server.peak() - before;
        assert!(grown < LIMIT, "{path}: {grown} KiB");
    }
}

/// If the unread streams filled their windows, they would exceed their connection's memory limit. A
/// stream that the client does read must still make progress.
#[tokio::test]
async fn unread_streams_do_not_block_others() {
    const UNREAD: usize = 100;
    const READ: usize = 4 * 1024 * 1024;
    let server = Server::start(None).await;
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(64 * 1024 * 1024)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let get = async || {
        let request = http::Request::get("http://test/ready").body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        within("the response head", response)
            .await
            .unwrap()
            .into_body()
    };
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(get().await);
    }
    let mut body = get().await;
    let mut read = 0;
    while read < READ {
        let data = within("the next bytes", body.data()).await;
        let len = data.unwrap().unwrap().len();
        body.flow_control().release_capacity(len).unwrap();
        read += len;
    }
}

/// Yields numbers without waiting.
#[sse_endpoint("/burst/{events}", flush = "each")]
async fn burst(Segment(events): Segment<u32>) -> impl Stream<Item = u32> {
    for number in 0..events {
        yield_!(number);
    }
}

/// Yields numbers sent by a task, so the generator must wait for each number.
#[sse_endpoint("/sent/{events}", flush = "each")]
async fn sent(connection: Connection, Segment(events): Segment<u32>) -> impl Stream<Item = u32> {
    let (sender, mut receiver) = mpsc::channel(1);
    connection.spawn(async move {
        for number in 0..events {
            if sender.send(number).await.is_err() {
                return;
            }
        }
    });
    while let Some(number) = receiver.recv().await {
        yield_!(number);
    }
}

/// Returns the bytes of a stream that contains `events` numbers.
fn numbers(events: u32) -> String {
    (0..events).fold(String::new(), |mut text, number| {
        write!(text, "data: {number}\n\n").unwrap();
        text
    })
}

/// Reads a stream with an `h2` client. By default, this client closes its connection if too many
/// small DATA frames have piled up unread.
async fn read_late(client: &h2::client::SendRequest<bytes::Bytes>, path: String) -> String {
    let request = http::Request::get(format!("http://test{path}"))
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut body = within("the response head", response)
        .await
        .unwrap()
        .into_body();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut text = String::new();
    while let Some(data) = within("the next bytes", body.data()).await {
        let data = data.unwrap_or_else(|error| panic!("{path}: {error}, {} bytes", text.len()));
        body.flow_control().release_capacity(data.len()).unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    text
}

async fn connect_h2(addr: SocketAddr) -> h2::client::SendRequest<bytes::Bytes> {
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_arrives_if_h2_client_reads_late() {
    let addr = serve(Router::new().sse(burst)).await;
    for events in [200, 1_000, 30_000] {
        let client = connect_h2(addr).await;
        let text = read_late(&client, format!("/burst/{events}")).await;
        assert!(text == numbers(events), "{events}: {} bytes", text.len());
    }
}

#[tokio::test]
async fn sent_burst_arrives_if_h2_client_reads_late() {
    let addr = serve(Router::new().sse(sent)).await;
    for events in [200, 1_000, 30_000] {
        let client = connect_h2(addr).await;
        let text = read_late(&client, format!("/sent/{events}")).await;
        assert!(text == numbers(events), "{events}: {} bytes", text.len());
    }
}

/// All streams of a connection share a single budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_one_connection_arrive_if_read_late() {
    let addr = serve(Router::new().sse(burst)).await;
    let client = connect_h2(addr).await;
    let mut streams = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        streams.spawn(async move { read_late(&client, "/burst/200".to_owned()).await });
    }
    while let Some(text) = streams.join_next().await {
        assert_eq!(text.unwrap(), numbers(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_arrives_if_reqwest_pauses() {
    let addr = serve(Router::new().sse(burst)).await;
    for events in [200, 1_000, 30_000] {
        let client = reqwest::Client::builder()
            .http2_prior_knowledge()
            .build()
            .unwrap();
        let url = format!("http://{addr}/burst/{events}");
        let mut response = within("the response head", client.get(url).send())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut text = String::new();
        while let Some(bytes) = within("the next bytes", response.chunk()).await.unwrap() {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        assert!(text == numbers(events), "{events}: {} bytes", text.len());
    }
}
