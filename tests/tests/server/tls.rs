//! TLS, tested with curl as an independent client.

use std::{fs, future::pending, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use axum::{Router, extract::State};
use sse_runtime::{CloseReason, Connection, Server, Shutdown, Stream, sse_endpoint};
use support::{Client, Generators, SseRouterExt as _, server_of, within};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    sync::mpsc,
};

#[derive(Clone)]
struct Shared {
    generators: Generators,
    closed: mpsc::UnboundedSender<CloseReason>,
}

#[sse_endpoint("/quiet")]
async fn quiet(connection: Connection, State(shared): State<Shared>) -> impl Stream<Item = u32> {
    let _running = shared.generators.enter();
    let closed = shared.closed.clone();
    connection.on_close(move |reason| async move {
        let _ = closed.send(reason);
    });
    yield_!(1);
    pending::<()>().await;
}

struct Tls {
    addr: SocketAddr,
    files: TempDir,
    generators: Generators,
    closed: mpsc::UnboundedReceiver<CloseReason>,
    shutdown: Shutdown,
}

impl Tls {
    async fn start() -> Self {
        let files = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(files.path().join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(
            files.path().join("tls.key"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        let (closed, told) = mpsc::unbounded_channel();
        let generators = Generators::new();
        let shutdown = Shutdown::within(Duration::from_millis(300));
        let app = Router::new().sse(quiet).with_state(Shared {
            generators: generators.clone(),
            closed,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = server_of(app)
            .tls(files.path().join("tls.crt"), files.path().join("tls.key"))
            .header_read_timeout(Duration::from_millis(300))
            .shutdown(shutdown.clone());
        tokio::spawn(server.serve(listener));
        Self {
            addr,
            files,
            generators,
            closed: told,
            shutdown,
        }
    }

    fn cert(&self) -> PathBuf {
        self.files.path().join("tls.crt")
    }

    /// Starts curl, which prints the body as it arrives.
    fn curl(&self, version: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
        let port = self.addr.port();
        let mut child = Command::new("curl")
            .args(["--silent", "--include", "--no-buffer", version, "--cacert"])
            .arg(self.cert())
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .arg(format!("https://localhost:{port}/quiet"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    within("curl to print", lines.next_line()).await.unwrap()
}

async fn until_event(lines: &mut Lines<BufReader<ChildStdout>>) {
    while line(lines).await.as_deref() != Some("data: 1") {}
}

#[tokio::test]
async fn both_versions_notice_disconnects() {
    for (version, status) in [("--http1.1", "HTTP/1.1 200 OK"), ("--http2", "HTTP/2 200 ")] {
        let mut server = Tls::start().await;
        let (mut curl, mut lines) = server.curl(version);
        assert_eq!(line(&mut lines).await.as_deref(), Some(status));
        until_event(&mut lines).await;
        server.generators.until_started(1).await;
        curl.kill().await.unwrap();
        server.generators.until_alive(0).await;
        let reason = within("the hook", server.closed.recv()).await;
        assert_eq!(reason, Some(CloseReason::ClientGone), "{version}");
    }
}

#[tokio::test]
async fn both_versions_end_cleanly() {
    for version in ["--http1.1", "--http2"] {
        let mut server = Tls::start().await;
        let (mut curl, mut lines) = server.curl(version);
        until_event(&mut lines).await;
        server.shutdown.begin();
        let mut last = String::new();
        while let Some(line) = line(&mut lines).await {
            if !line.is_empty() {
                last = line;
            }
        }
        assert!(last.starts_with("retry: "), "{last:?}");
        // curl fails if a stream is cut off.
        assert!(within("curl", curl.wait()).await.unwrap().success());
        let reason = within("the hook", server.closed.recv()).await;
        assert_eq!(reason, Some(CloseReason::Shutdown));
    }
}

#[tokio::test]
async fn unfinished_handshake_times_out() {
    let server = Tls::start().await;
    let silent = Client::connect(server.addr).await;
    let plain = Client::get(server.addr, "/quiet").await;
    // The connection closes without an HTTP response.
    let received = plain.rest().await;
    assert!(!received.contains("HTTP"), "{received:?}");
    assert_eq!(silent.rest().await, "");
}

/// On its own, hyper would wait forever for the HTTP/2 preface, so the server must impose a
/// timeout.
#[tokio::test]
async fn silent_http2_client_is_disconnected() {
    let server = Tls::start().await;
    let mut silent = Command::new("openssl")
        .args(["s_client", "-quiet", "-alpn", "h2", "-connect"])
        .arg(server.addr.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`openssl`, installed by `cargo xtask test`");
    // `s_client` exits when the server closes the connection.
    within("the server to close the connection", silent.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn server_does_not_start_without_certificate() {
    let files = TempDir::new().unwrap();
    let missing = files.path().join("missing.crt");
    let server = Server::new(Router::new()).tls(&missing, &missing);
    let error = within("the server to fail", server.serve("127.0.0.1:0"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("missing.crt"),
        "the error does not name the file: {error}"
    );
}

/// The server reads its certificate from a FIFO. A FIFO without a writer blocks its reader, as an
/// unresponsive network file system would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_stops_while_its_certificate_is_read() {
    let files = TempDir::new().unwrap();
    let fifo = files.path().join("tls.pem");
    let made = Command::new("mkfifo").arg(&fifo).status().await;
    assert!(made.unwrap().success());
    let shutdown = Shutdown::new();
    let server = Server::new(Router::new())
        .tls(&fifo, &fifo)
        .shutdown(shutdown.clone());
    let serving = tokio::spawn(server.serve("127.0.0.1:0"));
    shutdown.begin();
    let served = within("the server to stop", serving).await;
    served.unwrap().unwrap();
}
