//! Shared code for tests that use real sockets: servers, a client that exposes the bytes on the
//! wire, and a counter of running generators.
#![allow(
    missing_docs,
    reason = "fixtures are documented only if their names are not self-explanatory"
)]

pub mod body;
pub mod document;
pub mod frames;
pub mod load;
pub mod log;
pub mod server;
pub mod store;
pub mod text;

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

pub use frames::SseRouterExt;
pub use server::server_of;
pub use store::{Store, publish_all};

/// How long [`within`] waits for a future before failing the test.
const PATIENCE: Duration = Duration::from_secs(15);

/// The time limit for operations that should complete immediately. Such operations normally take
/// less than 100 ms but may take up to a second on a busy machine.
const SOON: Duration = Duration::from_secs(1);

/// Awaits `future`. Panics if `future` takes longer than `PATIENCE`.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out after {PATIENCE:?} waiting for {what}"),
    }
}

/// Awaits `future`. Panics if `future` takes more than a second.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let start = Instant::now();
    let output = within(what, future).await;
    assert_at_once(what, start);
    output
}

/// Panics if more than a second has passed since `start`.
pub fn assert_at_once(what: &str, start: Instant) {
    let took = start.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
}

/// Serves `app` with `sse_runtime::Server` until the runtime shuts down.
pub async fn serve(app: Router) -> SocketAddr {
    serve_on(listen(), app)
}

/// Serves `app` with `sse_runtime::Server` on a listener created by the test.
pub fn serve_on(listener: TcpListener, app: Router) -> SocketAddr {
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(server_of(app).serve(listener));
    addr
}

/// Runs a server configured by the test until the runtime shuts down.
pub async fn serve_as(server: sse_runtime::Server) -> SocketAddr {
    let listener = listen();
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(server.serve(listener));
    addr
}

/// Serves `app` with `axum::serve` until the runtime shuts down.
pub async fn serve_plain(app: Router) -> SocketAddr {
    let listener = listen();
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Returns a listener whose backlog is large enough for all the connections that a test opens. If
/// the backlog were full, the kernel would drop a connection attempt, and the client would wait a
/// second before retrying.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a free port on the loopback interface");
    socket.listen(1024).expect("a bound socket")
}

/// A shared count of generators, which lets a test wait until generators have started or have been
/// dropped.
#[derive(Clone, Debug)]
pub struct Generators(Arc<watch::Sender<Count>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The number of generators that have started.
    pub started: usize,
    /// The number of generators that have started and have not been dropped.
    pub alive: usize,
}

/// A drop guard owned by a running generator.
#[derive(Debug)]
pub struct Running(Generators);

impl Generators {
    #[expect(
        clippy::new_without_default,
        reason = "fixtures are created with `new`"
    )]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Count::default())))
    }

    /// Counts a generator as alive until the returned guard is dropped.
    pub fn enter(&self) -> Running {
        self.0.send_modify(|count| {
            count.started += 1;
            count.alive += 1;
        });
        Running(self.clone())
    }

    pub fn count(&self) -> Count {
        *self.0.borrow()
    }

    /// Waits until `started` generators have started.
    pub async fn until_started(&self, started: usize) {
        let what = format!("{started} generators to start");
        self.until(&what, |count| count.started == started).await;
    }

    /// Waits until only `alive` generators are left. Panics if this takes more than a second.
    pub async fn until_alive(&self, alive: usize) {
        let what = format!("all but {alive} generators to be dropped");
        soon(&what, self.until(&what, |count| count.alive == alive)).await;
    }

    /// Waits until every generator has been dropped.
    pub async fn until_gone(&self) {
        self.until("all generators to be dropped", |count| count.alive == 0)
            .await;
    }

    async fn until(&self, what: &str, reached: impl Fn(&Count) -> bool) {
        let mut counts = self.0.subscribe();
        within(what, counts.wait_for(reached))
            .await
            .expect("`self` owns the sender");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.alive -= 1);
    }
}

/// An HTTP/1 client that exposes the bytes on the wire and disconnects on drop.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    pub status_line: String,
    headers: Vec<(String, String)>,
}

/// The error returned if the connection closes in the middle of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct CutOff;

impl Head {
    /// Returns the value of a header. Panics if the header appears more than once.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        value.map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("a listening server"))
    }

    /// Returns a client with a small receive buffer, so that the client's kernel buffers only a few
    /// KiB of unread data.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a new socket");
        Self::over(socket.connect(addr).await.expect("a listening server"))
    }

    pub fn over(socket: TcpStream) -> Self {
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Connects to `addr` and requests `path`.
    pub async fn get(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
            .await;
        client
    }

    /// Connects to `addr` and sends the head of a `POST` request with a `content-length` of
    /// `length`, followed by the bytes `sent`.
    pub async fn post(addr: SocketAddr, path: &str, length: usize, sent: &[u8]) -> Self {
        let mut client = Self::connect(addr).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send(&[head.as_bytes(), sent].concat()).await;
        client
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", self.socket.write_all(bytes))
            .await
            .expect("a server that keeps reading");
    }

    /// Reads the response head.
    pub async fn head(&mut self) -> Head {
        let head = loop {
            if let Some(end) = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                break String::from_utf8(head).expect("a head in UTF-8");
            }
            assert!(
                self.read().await > 0,
                "the connection closed before the response head was complete"
            );
        };
        let mut lines = head.trim_end().lines();
        let status_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Head {
            status_line,
            headers,
        }
    }

    /// Reads the next chunk of a chunked body. Each chunk contains one body frame. Returns `None`
    /// if the body has ended cleanly.
    pub async fn chunk(&mut self) -> Result<Option<String>, CutOff> {
        let size = self.line().await?;
        let size = usize::from_str_radix(&size, 16).expect("a chunk size");
        while self.received.len() < size + 2 {
            if self.read().await == 0 {
                return Err(CutOff);
            }
        }
        let rest = self.received.split_off(size + 2);
        let chunk = std::mem::replace(&mut self.received, rest);
        let data = chunk
            .strip_suffix(b"\r\n")
            .expect("a line break after the chunk");
        let data = String::from_utf8(data.to_vec()).expect("valid UTF-8");
        Ok(Some(data).filter(|data| !data.is_empty()))
    }

    /// Reads the next chunk. Panics if the body ends.
    pub async fn expect_chunk(&mut self) -> String {
        match self.chunk().await {
            Ok(Some(chunk)) => chunk,
            other => panic!("expected a chunk, found {other:?}"),
        }
    }

    /// Returns the socket and the received bytes that have not been consumed.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.received)
    }

    /// Returns the unconsumed bytes, decoded as UTF-8.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Reads exactly `bytes` bytes.
    pub async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.received.len() < bytes {
            assert!(self.read().await > 0, "the connection closed early");
        }
        let rest = self.received.split_off(bytes);
        std::mem::replace(&mut self.received, rest)
    }

    /// Reads until the connection closes.
    pub async fn rest(mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8(self.received).expect("valid UTF-8")
    }

    /// Reads until the unconsumed bytes contain `what`. Returns them without consuming them.
    pub async fn read_to(&mut self, what: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.received).into_owned();
            if text.contains(what) {
                return text;
            }
            assert!(self.read().await > 0, "expected {what:?} after {text:?}");
        }
    }

    async fn line(&mut self) -> Result<String, CutOff> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received.drain(..end + 2);
                return Ok(line);
            }
            if self.read().await == 0 {
                return Err(CutOff);
            }
        }
    }

    /// Reads once. Returns 0 if the connection was closed or reset.
    async fn read(&mut self) -> usize {
        within(
            "the server to write",
            self.socket.read_buf(&mut self.received),
        )
        .await
        .unwrap_or(0)
    }
}
