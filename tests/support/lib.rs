//! What the tests on real sockets share: servers, a client that shows what is on the wire, and a count of generators.
#![allow(
    missing_docs,
    reason = "fixtures, with docs where the name does not say enough"
)]

pub mod body;
pub mod load;
pub mod log;
pub mod server;
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

pub use server::server_of;

/// After this long a test has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is to happen at once. The aim is 100 ms; a machine that is busy with other things gets a second.
const SOON: Duration = Duration::from_secs(1);

/// `future`, which must not take for ever.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// `future`, which must be ready at once.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let start = Instant::now();
    let output = within(what, future).await;
    assert_at_once(what, start);
    output
}

/// That what began at `start` was done at once.
pub fn assert_at_once(what: &str, start: Instant) {
    let took = start.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
}

/// `app` under `sse_runtime::Server`, until the runtime ends.
pub async fn serve(app: Router) -> SocketAddr {
    serve_on(listen(), app)
}

/// `app` under `sse_runtime::Server` on a listener of the test's own.
pub fn serve_on(listener: TcpListener, app: Router) -> SocketAddr {
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(server_of(app).serve(listener));
    addr
}

/// A server with limits of the test's own, until the runtime ends.
pub async fn serve_as(server: sse_runtime::Server) -> SocketAddr {
    let listener = listen();
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(server.serve(listener));
    addr
}

/// `app` under `axum::serve`, as those have it who keep their own server.
pub async fn serve_plain(app: Router) -> SocketAddr {
    let listener = listen();
    let addr = listener.local_addr().expect("a bound listener");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// A listener whose queue has room for all that a test connects at once: a client that finds it full tries again only
/// after a second.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a free port on the loopback");
    socket.listen(1024).expect("a socket that is bound")
}

/// Counts the generators that run, so that a test can wait for one to start and for one to be gone.
#[derive(Clone, Debug)]
pub struct Generators(Arc<watch::Sender<Count>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All that have started.
    pub started: usize,
    /// Those of them whose locals have not been dropped.
    pub alive: usize,
}

/// A local of a generator: dropped when the generator is.
#[derive(Debug)]
pub struct Running(Generators);

impl Generators {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Count::default())))
    }

    /// Counts the generator that holds it.
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

    /// Until `started` generators have started.
    pub async fn until_started(&self, started: usize) {
        let what = format!("{started} generators to start");
        self.until(&what, |count| count.started == started).await;
    }

    /// Until `alive` generators are left, which must be at once.
    pub async fn until_alive(&self, alive: usize) {
        let what = format!("all generators but {alive} to be dropped");
        soon(&what, self.until(&what, |count| count.alive == alive)).await;
    }

    /// Until none is left, whenever that is.
    pub async fn until_gone(&self) {
        self.until("all generators to be dropped", |count| count.alive == 0)
            .await;
    }

    async fn until(&self, what: &str, reached: impl Fn(&Count) -> bool) {
        let mut counts = self.0.subscribe();
        within(what, counts.wait_for(reached))
            .await
            .expect("the sender is in `self`");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.alive -= 1);
    }
}

/// An HTTP/1 client that shows what is on the wire, and leaves when it is dropped.
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

/// The connection ended in the middle of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenOff;

impl Head {
    /// The one value of a header. Two headers of the name are a mistake of the server's.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        value.map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(
            TcpStream::connect(addr)
                .await
                .expect("a server that listens"),
        )
    }

    /// A client whose system takes no more than a few KiB before somebody reads.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_recv_buffer_size(4096)
            .expect("a socket of one's own");
        Self::over(socket.connect(addr).await.expect("a server that listens"))
    }

    pub fn over(socket: TcpStream) -> Self {
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// A client that has asked for `path`.
    pub async fn get(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
            .await;
        client
    }

    /// A client that has posted `sent`, and has announced a body of `length`.
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
            .expect("a server that reads");
    }

    /// The head of the response.
    pub async fn head(&mut self) -> Head {
        let head = loop {
            if let Some(end) = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                break String::from_utf8(head).expect("a head in ASCII");
            }
            assert!(self.read().await > 0, "the connection ended in the head");
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

    /// The next chunk of a chunked body, which is one frame that the body handed to hyper; `None` at its clean end.
    pub async fn chunk(&mut self) -> Result<Option<String>, BrokenOff> {
        let size = self.line().await?;
        let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
        while self.received.len() < size + 2 {
            if self.read().await == 0 {
                return Err(BrokenOff);
            }
        }
        let rest = self.received.split_off(size + 2);
        let chunk = std::mem::replace(&mut self.received, rest);
        let data = chunk.strip_suffix(b"\r\n").expect("the end of a chunk");
        let data = String::from_utf8(data.to_vec()).expect("a stream in UTF-8");
        Ok(Some(data).filter(|data| !data.is_empty()))
    }

    /// The next chunk of a body that goes on.
    pub async fn expect_chunk(&mut self) -> String {
        match self.chunk().await {
            Ok(Some(chunk)) => chunk,
            other => panic!("expected a chunk, found {other:?}"),
        }
    }

    /// The socket, and what was received and not taken.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.received)
    }

    /// What was received and not taken, as text.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// The next bytes, so many.
    pub async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.received.len() < bytes {
            assert!(self.read().await > 0, "the connection ended early");
        }
        let rest = self.received.split_off(bytes);
        std::mem::replace(&mut self.received, rest)
    }

    /// Reads up to the end of the connection.
    pub async fn rest(mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8(self.received).expect("a response in UTF-8")
    }

    /// Reads until what was received and not taken yet contains `what`.
    pub async fn read_to(&mut self, what: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.received).into_owned();
            if text.contains(what) {
                return text;
            }
            assert!(self.read().await > 0, "expected {what:?} after {text:?}");
        }
    }

    async fn line(&mut self) -> Result<String, BrokenOff> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received.drain(..end + 2);
                return Ok(line);
            }
            if self.read().await == 0 {
                return Err(BrokenOff);
            }
        }
    }

    /// Reads what there is; 0 at the end of the connection, be it clean or not.
    async fn read(&mut self) -> usize {
        within(
            "the server to write",
            self.socket.read_buf(&mut self.received),
        )
        .await
        .unwrap_or(0)
    }
}
