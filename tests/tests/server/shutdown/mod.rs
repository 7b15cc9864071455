//! During a shutdown, the server ends its streams cleanly, at different times, and before the
//! timeout.

mod drain;
mod grace;
mod hooks;
mod signals;

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use axum::extract::State;
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, Generators, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

/// How long a `finite` stream lasts. With a drain time of 5 s, a stream that the server must end
/// does not stay open for this long.
const FINITE: Duration = Duration::from_millis(4_200);

/// Clients do not retry a `POST`, so the server lets a stream requested with `POST` continue during
/// a shutdown.
#[sse_endpoint("/finite", method = POST)]
async fn finite(State(generators): State<Generators>) -> impl Stream<Item = &'static str> {
    let _running = generators.enter();
    yield_!("first");
    tokio::time::sleep(FINITE).await;
    yield_!("last");
}

/// Reads a stream to its clean end and returns the last frame.
pub(crate) async fn to_the_end(client: &mut Client) -> String {
    let mut last = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        last = chunk;
    }
    last
}

/// Parses the milliseconds in a frame that contains only a `retry` field.
pub(crate) fn retry(frame: &str) -> u64 {
    let retry = frame
        .strip_prefix("retry: ")
        .and_then(|rest| rest.strip_suffix('\n'));
    let retry = retry.unwrap_or_else(|| panic!("expected a final `retry`, found {frame:?}"));
    retry.parse().unwrap()
}

/// A server in a separate process.
struct Process {
    child: Child,
    addr: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(drain_delay: &str, drain: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args([drain_delay, drain])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the server to start", lines.next_line())
            .await
            .unwrap();
        let addr = line.unwrap().parse().unwrap();
        Self { child, addr, lines }
    }

    /// Returns a client that has requested `path` and received the first event.
    async fn stream(&self, path: &str) -> Client {
        let mut client = Client::get(self.addr, path).await;
        client.head().await;
        client.expect_chunk().await;
        client
    }

    /// Sends SIGTERM, then `second` once the listener is closed, and expects a successful exit.
    async fn exit_at_second_signal(&mut self, second: &str) {
        self.signal("TERM").await;
        self.until_listener_closes().await;
        self.signal(second).await;
        assert!(self.exit().await.success());
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a running process").to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(killed.unwrap().success());
    }

    /// Waits until the server closes its listener, which happens when the server starts to drain.
    async fn until_listener_closes(&self) {
        within("the listener to close", async {
            while TcpStream::connect(self.addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn exit(&mut self) -> ExitStatus {
        within("the process to exit", self.child.wait())
            .await
            .unwrap()
    }

    async fn status(&self, path: &str) -> String {
        Client::get(self.addr, path).await.head().await.status_line
    }
}
