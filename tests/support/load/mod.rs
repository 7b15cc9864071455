//! Clients that end their streams in every possible way, and a server that counts its live objects.

pub mod client;
pub mod ending;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use ending::Cause;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

/// The payload of the panics that the test causes on purpose.
pub const EXPECTED_PANIC: &str = "on purpose";

/// The time after which an operation is considered stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The counters reported by the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub generators: usize,
    pub generators_at_most: usize,
    /// The number of live tasks spawned with `Connection::spawn`.
    pub tasks: usize,
    /// The number of streams that have registered a close hook. After all streams have ended, this
    /// must be equal to `hooks_run`, the number of streams whose hook has run.
    pub hooks_begun: u64,
    pub hooks_run: u64,
    /// The number of times that a hook ran again after its first run.
    pub hooks_again: u64,
    /// The number of hooks that ran before their stream's tasks had been dropped.
    pub hooks_too_early: u64,
    /// The number of unexpected panics.
    pub panics: u64,
    /// The number of live tasks in the tokio runtime.
    pub runtime_tasks: usize,
    pub sockets: usize,
    pub resident_kib: u64,
    /// The number of bytes on the heap.
    pub allocated: u64,
    pub allocated_at_most: u64,
    /// The number of streams that ended, by cause and reason.
    pub endings: BTreeMap<String, u64>,
}

impl Numbers {
    /// Returns the counters expected after the server has stopped. By then, two sockets have been
    /// closed: the listener, and the connection on which this census was requested.
    pub fn stopped(&self) -> Self {
        Self {
            runtime_tasks: 0,
            sockets: self.sockets - 2,
            ..self.clone()
        }
    }

    /// Returns the endings whose reason is not allowed for their cause. If the server has stopped,
    /// the reason `shutdown` is allowed for every cause.
    pub fn unexplained(&self, has_stopped: bool) -> Vec<String> {
        let is_explained =
            |ending: &str| Cause::explains(ending) || has_stopped && ending.ends_with(" shutdown");
        let endings = self.endings.iter();
        endings
            .filter(|(ending, _)| !is_explained(ending))
            .map(|(ending, count)| format!("{ending} ({count} times)"))
            .collect()
    }

    /// Lists the counters whose values are not as expected. `before` was recorded before the first
    /// stream started.
    pub fn left(&self, before: &Self) -> Vec<String> {
        let mut left = Vec::new();
        let mut expect = |what: &str, is: u64, was: u64| {
            if is != was {
                left.push(format!("{what}: expected {was}, found {is}"));
            }
        };
        expect("generators", self.generators as u64, 0);
        expect("spawned tasks", self.tasks as u64, 0);
        expect("hooks run", self.hooks_run, self.hooks_begun);
        expect("hooks run again", self.hooks_again, 0);
        expect("hooks that ran too early", self.hooks_too_early, 0);
        expect("panics", self.panics, 0);
        let was = before.runtime_tasks as u64;
        expect("tokio tasks", self.runtime_tasks as u64, was);
        expect("sockets", self.sockets as u64, before.sockets as u64);
        left
    }
}

/// A server in a separate process.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `program server DRAIN_DELAY_MS DRAIN_MS`.
    pub async fn start(program: &Path, drain: Duration) -> Result<Self, String> {
        // Each process uses one file descriptor per connection. The child process inherits the
        // limit on file descriptors, so raising the limit here is enough for both processes.
        rlimit::increase_nofile_limit(8192).map_err(error_text)?;
        let mut child = Command::new(program)
            .args(["server", "0", &drain.as_millis().to_string()])
            // Make jemalloc return freed memory to the kernel immediately. Otherwise, the resident
            // memory would mostly depend on which thread happened to run which stream, and when.
            .env(
                "_RJEM_MALLOC_CONF",
                "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1,tcache:false",
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(error_text)?;
        let stdout = child
            .stdout
            .take()
            .ok_or("the child process has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = within("the server to start", lines.next_line()).await?;
        let line = line
            .map_err(error_text)?
            .ok_or("the server did not start")?;
        let addr = line.parse().map_err(error_text)?;
        Ok(Self { child, addr, lines })
    }

    pub async fn census(&self) -> Result<Numbers, String> {
        let response = self.ask("GET", "/census").await?;
        serde_json::from_str(&response).map_err(error_text)
    }

    /// Allows the streams of a wave to end.
    pub async fn wave(&self, wave: u64) -> Result<(), String> {
        self.ask("POST", &format!("/wave/{wave}")).await.map(drop)
    }

    async fn ask(&self, method: &str, path: &str) -> Result<String, String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let response = within("the census", async {
            let mut socket = TcpStream::connect(self.addr).await?;
            socket.write_all(request.as_bytes()).await?;
            let mut response = String::new();
            socket.read_to_string(&mut response).await?;
            io::Result::Ok(response)
        });
        let response = response.await?.map_err(error_text)?;
        let (_, body) = response
            .split_once("\r\n\r\n")
            .ok_or("incomplete response")?;
        Ok(body.to_owned())
    }

    /// Waits until the streams have released all of their resources, then returns the counters.
    ///
    /// # Errors
    ///
    /// Returns an error if the wait times out. The error lists the counters whose values are still
    /// not as expected.
    pub async fn settled(&self, before: &Numbers) -> Result<Numbers, String> {
        let start = Instant::now();
        loop {
            let numbers = self.census().await?;
            let left = numbers.left(before);
            if left.is_empty() {
                return Ok(numbers);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not cleaned up: {left:?} in {numbers:#?}"));
            }
            // Every census is a request, so polling without a pause would slow the server down.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn terminate(&self) -> Result<(), String> {
        let pid = self.child.id().ok_or("the server has already exited")?;
        let kill = Command::new("kill")
            .args(["-s", "TERM", &pid.to_string()])
            .status();
        let killed = kill.await.map_err(error_text)?;
        killed
            .success()
            .then_some(())
            .ok_or("failed to send the signal".to_owned())
    }

    /// Waits for the server to stop, then returns the counters that the server has printed.
    pub async fn ended(mut self) -> Result<Numbers, String> {
        let status = within("the server to stop", self.child.wait()).await?;
        let status = status.map_err(error_text)?;
        if !status.success() {
            return Err(format!("the server stopped with {status}"));
        }
        let line = within("the final census", self.lines.next_line()).await?;
        let line = line
            .map_err(error_text)?
            .ok_or("the server did not print a final census")?;
        serde_json::from_str(&line).map_err(error_text)
    }
}

/// Awaits `future`. Returns an error if `future` takes longer than [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> Result<F::Output, String> {
    let timeout = tokio::time::timeout(PATIENCE, future).await;
    timeout.map_err(|_| format!("timed out after {PATIENCE:?} waiting for {what}"))
}

pub fn error_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
