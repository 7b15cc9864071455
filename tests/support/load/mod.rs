//! Clients that end their streams in every way, and their server, which counts what is alive in it.

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

/// The message of panics that are part of the test.
pub const AS_ASKED: &str = "as asked";

/// How long to wait before something counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The numbers that the server counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub generators: usize,
    pub generators_at_most: usize,
    /// Of `Connection::spawn`.
    pub tasks: usize,
    /// Streams with a hook, and hooks that have run.
    pub hooks_begun: u64,
    pub hooks_run: u64,
    /// Runs of a hook that had run before.
    pub hooks_again: u64,
    /// Hooks that ran before the tasks of their stream were gone.
    pub hooks_too_early: u64,
    /// Panics that are not part of the test.
    pub panics: u64,
    /// All that tokio has.
    pub runtime_tasks: usize,
    pub sockets: usize,
    pub resident_kib: u64,
    /// Bytes on the heap.
    pub allocated: u64,
    pub allocated_at_most: u64,
    /// How many streams of each cause ended for each reason.
    pub endings: BTreeMap<String, u64>,
}

impl Numbers {
    /// The numbers of the same server after its end: without the listener and the connection that
    /// asked for the census.
    pub fn stopped(&self) -> Self {
        Self {
            runtime_tasks: 0,
            sockets: self.sockets - 2,
            ..self.clone()
        }
    }

    /// Streams that ended for a reason that their cause does not allow. If the server has stopped,
    /// `shutdown` is always allowed.
    pub fn unexplained(&self, has_stopped: bool) -> Vec<String> {
        let is_explained =
            |ending: &str| Cause::explains(ending) || has_stopped && ending.ends_with(" shutdown");
        let endings = self.endings.iter();
        endings
            .filter(|(ending, _)| !is_explained(ending))
            .map(|(ending, count)| format!("{count} times {ending}"))
            .collect()
    }

    /// Lists the numbers that differ from those of a server that has had no streams.
    pub fn left(&self, before: &Self) -> Vec<String> {
        let mut left = Vec::new();
        let mut expect = |what: &str, is: u64, was: u64| {
            if is != was {
                left.push(format!("{what}: {is}, and not {was}"));
            }
        };
        expect("generators", self.generators as u64, 0);
        expect("spawned tasks", self.tasks as u64, 0);
        expect("hooks run", self.hooks_run, self.hooks_begun);
        expect("hooks run again", self.hooks_again, 0);
        expect("hooks before their tasks' end", self.hooks_too_early, 0);
        expect("panics", self.panics, 0);
        let was = before.runtime_tasks as u64;
        expect("tokio's tasks", self.runtime_tasks as u64, was);
        expect("sockets", self.sockets as u64, before.sockets as u64);
        left
    }
}

/// A server in a process of its own.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// `program server DRAIN_DELAY_MS DRAIN_MS`.
    pub async fn start(program: &Path, drain: Duration) -> Result<Self, String> {
        // For both processes: each connection takes a descriptor in each.
        rlimit::increase_nofile_limit(8192).map_err(said)?;
        let mut child = Command::new(program)
            .args(["server", "0", &drain.as_millis().to_string()])
            // Free memory is returned to the system at once: otherwise the size of the process
            // mostly depends on which thread had which stream, and when.
            .env(
                "_RJEM_MALLOC_CONF",
                "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1,tcache:false",
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(said)?;
        let stdout = child.stdout.take().ok_or("a child without its stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = within("the server to start", lines.next_line()).await?;
        let line = line.map_err(said)?.ok_or("the server does not start")?;
        let addr = line.parse().map_err(said)?;
        Ok(Self { child, addr, lines })
    }

    pub async fn census(&self) -> Result<Numbers, String> {
        let answer = self.ask("GET", "/census").await?;
        serde_json::from_str(&answer).map_err(said)
    }

    /// Lets the endings of a wave happen.
    pub async fn wave(&self, wave: u64) -> Result<(), String> {
        self.ask("POST", &format!("/wave/{wave}")).await.map(drop)
    }

    async fn ask(&self, method: &str, path: &str) -> Result<String, String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = within("the census", async {
            let mut socket = TcpStream::connect(self.addr).await?;
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        });
        let answer = answer.await?.map_err(said)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("half an answer")?;
        Ok(body.to_owned())
    }

    /// The numbers once nothing is left of the streams.
    ///
    /// # Errors
    ///
    /// Returns the numbers that still differ at the timeout.
    pub async fn settled(&self, before: &Numbers) -> Result<Numbers, String> {
        let start = Instant::now();
        loop {
            let numbers = self.census().await?;
            let left = numbers.left(before);
            if left.is_empty() {
                return Ok(numbers);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("what is left: {left:?} in {numbers:#?}"));
            }
            // The census is itself a request, so asking without a pause would delay the server.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn terminate(&self) -> Result<(), String> {
        let pid = self.child.id().ok_or("the server has ended already")?;
        let kill = Command::new("kill")
            .args(["-s", "TERM", &pid.to_string()])
            .status();
        let killed = kill.await.map_err(said)?;
        killed.success().then_some(()).ok_or("no signal".to_owned())
    }

    /// The numbers that the server printed when it had stopped.
    pub async fn ended(mut self) -> Result<Numbers, String> {
        let status = within("the server to stop", self.child.wait()).await?;
        let status = status.map_err(said)?;
        if !status.success() {
            return Err(format!("the server stopped with {status}"));
        }
        let line = within("the last words", self.lines.next_line()).await?;
        let line = line.map_err(said)?.ok_or("no last words")?;
        serde_json::from_str(&line).map_err(said)
    }
}

/// Awaits `future`, and panics if it takes too long.
pub async fn within<F: Future>(what: &str, future: F) -> Result<F::Output, String> {
    let timeout = tokio::time::timeout(PATIENCE, future).await;
    timeout.map_err(|_| format!("waited {PATIENCE:?} for {what}"))
}

pub fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
