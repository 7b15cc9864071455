//! [`Rig`] runs a server and the load generator from `benches/rig`, each on its own core.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{
    nchan,
    process::{Process, free_port, wait_for},
    redis,
};
use crate::steps::{root, succeed};

/// A processor core to which programs are pinned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Core {
    /// The core of the server that is measured.
    Server,
    /// The core of the load generator.
    Client,
}

impl Core {
    /// Returns the core as an argument of `taskset`.
    fn list(self) -> &'static str {
        match self {
            Self::Server => "0",
            Self::Client => "1",
        }
    }
}

/// A program in the rig, and the arguments that follow the port argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Own(&'static str, &'static [&'static str]),
    /// nginx with Nchan, and a program that publishes events to Nchan.
    Nchan,
    /// A Redis server on this core, and two `sse-endpoint` servers that share a topic in Redis.
    OnRedis(Core),
    /// A Redis server, two instances of nginx with Nchan that share a channel in Redis, and a
    /// program that publishes events to one of them.
    NchanOnRedis,
    /// A Redis server, and the `redis-calls` program, which runs on the server's core. The words are
    /// the call, and the number of calls in flight or per second.
    RedisCalls(&'static [&'static str]),
}

impl Program {
    pub(crate) fn needs_redis(self) -> bool {
        match self {
            Self::Own(..) | Self::Nchan => false,
            Self::OnRedis(_) | Self::NchanOnRedis | Self::RedisCalls(_) => true,
        }
    }

    pub(crate) fn needs_nchan(self) -> bool {
        matches!(self, Self::Nchan | Self::NchanOnRedis)
    }
}

/// The load to generate, serialized in the format that the load generator reads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    Burst {
        seconds: f64,
        http2: bool,
    },
    FanOut {
        rate: u64,
        warm_up: f64,
        seconds: f64,
    },
    Tick {
        warm_up: f64,
        seconds: f64,
    },
    Idle {
        steps: Vec<usize>,
    },
    Leave {
        rounds: usize,
        seconds: f64,
    },
    Open,
}

/// The output of the load generator.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) ready: usize,
    pub(crate) opened_per_second: f64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) delivered: f64,
    pub(crate) published: f64,
    pub(crate) own_core: f64,
    pub(crate) resident: Vec<(usize, u64)>,
    pub(crate) left_ms: Vec<f64>,
    pub(crate) errors: Vec<String>,
}

/// Whether the optional tools are installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools {
    pub(crate) nchan: bool,
    pub(crate) redis: bool,
    pub(crate) strace: bool,
}

/// Returns the directory for logs and for files that the servers write.
pub(crate) fn scratch() -> PathBuf {
    root().join("target/bench/scratch")
}

#[derive(Debug)]
pub(crate) struct Rig {
    programs: PathBuf,
    /// The canonical path of [`scratch`].
    scratch: PathBuf,
}

impl Rig {
    pub(crate) fn build() -> io::Result<Self> {
        let cores = thread::available_parallelism()?.get();
        if cores < 2 {
            return Err(io::Error::other("the rig needs at least two cores"));
        }
        let limit = getrlimit(Resource::Nofile);
        let most = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, most)?;
        let target = root().join("target/bench/rig");
        let manifest = root().join("benches/rig/Cargo.toml");
        // Do not pass `--locked`. The lock file pins the peers' versions, but cargo must update
        // this file whenever this project's dependencies change.
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--manifest-path"]);
        cargo.arg(manifest).arg("--target-dir").arg(&target);
        succeed(&mut cargo)?;
        let scratch = scratch();
        fs::create_dir_all(&scratch)?;
        Ok(Self {
            programs: target.join("release"),
            scratch: scratch.canonicalize()?,
        })
    }

    /// Returns the directory for logs and for files that the servers write.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns the path of one of the rig's programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Returns a command that runs the program on one core and writes the output to a log named
    /// after the program.
    pub(crate) fn pinned(&self, core: Core, program: &Path) -> io::Result<Command> {
        self.pinned_as(core, program, program.file_name().unwrap_or_default())
    }

    /// Like [`pinned`](Self::pinned), but with another name for the log.
    pub(crate) fn pinned_as(
        &self,
        core: Core,
        program: &Path,
        name: impl AsRef<Path>,
    ) -> io::Result<Command> {
        let log = File::create(self.scratch.join(name).with_extension("log"))?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", core.list()]).arg(program);
        // Some programs store logs in the current directory.
        command.current_dir(&self.scratch);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    pub(crate) fn start(&self, program: Program) -> io::Result<Server> {
        match program {
            Program::Own(name, words) => {
                let port = free_port()?;
                let mut command = self.pinned(Core::Server, &self.program(name))?;
                command.arg(port.to_string()).args(words);
                let process = Process::alone(&mut command)?;
                Server::wait(vec![port], port, vec![process], None)
            }
            Program::Nchan => nchan::start(self),
            Program::OnRedis(core) => redis::start_nodes(self, core),
            Program::NchanOnRedis => nchan::start_on_redis(self),
            Program::RedisCalls(_) => Err(io::Error::other("`redis-calls` is not a server")),
        }
    }

    /// Runs the `disk` program on the server's core until it exits, and returns its output.
    pub(crate) fn run_disk(&self, words: &[&str]) -> io::Result<String> {
        let mut command = self.pinned(Core::Server, &self.programs.join("disk"))?;
        let output = command.args(words).stdout(Stdio::piped()).output()?;
        if !output.status.success() {
            let failed = format!("disk {}: {}", words.join(" "), output.status);
            return Err(io::Error::other(failed));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Opens streams on a server that runs under `strace`, and returns the number of system calls
    /// that the server has made since it was started.
    pub(crate) fn count_syscalls(
        &self,
        (name, words): (&str, &[&str]),
        path: &str,
        streams: usize,
    ) -> io::Result<u64> {
        let table = self.scratch.join("syscalls.txt");
        let port = free_port()?;
        let mut strace = self.pinned(Core::Server, Path::new("strace"))?;
        // With `-o`, strace ignores SIGTERM by default. With `--interruptible=waiting`, a SIGTERM
        // also terminates the server, and strace then writes its table.
        strace.args([
            "-f",
            "-c",
            "-U",
            "calls,name",
            "--interruptible=waiting",
            "-o",
        ]);
        strace.arg(&table).arg(self.programs.join(name));
        strace.arg(port.to_string()).args(words);
        let strace = Process::with_children(&mut strace)?;
        let server = Server::wait(vec![port], port, vec![strace], None)?;
        self.load(&server, path, streams, &Load::Open)?;
        drop(server);
        let table = fs::read_to_string(table)?;
        total_calls(&table).ok_or_else(|| io::Error::other(format!("no total row: {table}")))
    }

    /// Puts a server under load. Returns an error if a client failed.
    pub(crate) fn load(
        &self,
        server: &Server,
        path: &str,
        streams: usize,
        load: &Load,
    ) -> io::Result<Outcome> {
        let outcome = self.try_load(server, path, streams, load)?;
        match outcome.errors.first() {
            None => Ok(outcome),
            Some(error) => Err(io::Error::other(format!("{path}: {error}"))),
        }
    }

    /// Puts a server under load. Errors of clients that failed are returned in the outcome.
    pub(crate) fn try_load(
        &self,
        server: &Server,
        path: &str,
        streams: usize,
        load: &Load,
    ) -> io::Result<Outcome> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let plan = serde_json::json!({
            "addresses": server.ports.iter().copied().map(at).collect::<Vec<_>>(),
            "control": at(server.control),
            "pids": server.processes.iter().map(Process::id).collect::<Vec<_>>(),
            "path": path,
            "streams": streams,
            "load": load,
        });
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", Core::Client.list()]);
        command.arg(self.program("loadgen")).arg(plan.to_string());
        let output = command.stderr(Stdio::inherit()).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// One or more running servers, which are stopped when this value is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// The ports that serve the streams, one per server.
    ports: Vec<u16>,
    /// The port that serves `/rate`, which sets the publishing rate.
    control: u16,
    /// Declared before `processes`, because fields are dropped in the order of declaration and the
    /// publisher must be stopped before nginx.
    _publisher: Option<Process>,
    /// The processes whose CPU time and memory are measured. They are stopped in this order.
    processes: Vec<Process>,
}

impl Server {
    pub(crate) fn wait(
        ports: Vec<u16>,
        control: u16,
        processes: Vec<Process>,
        publisher: Option<Process>,
    ) -> io::Result<Self> {
        for port in ports.iter().chain([&control]) {
            wait_for(*port)?;
        }
        Ok(Self {
            ports,
            control,
            _publisher: publisher,
            processes,
        })
    }
}

/// Returns the total number of system calls, which is in the last row of strace's table. The
/// table's columns are `calls` and `name`.
fn total_calls(table: &str) -> Option<u64> {
    let total = table.lines().find_map(|line| line.strip_suffix(" total"))?;
    total.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_calls_reads_the_last_row() {
        let table = "    calls syscall\n--------- ----------------\n        3 read\n        1 write\n\
                     --------- ----------------\n        4 total\n";
        assert_eq!(total_calls(table), Some(4));
        assert_eq!(total_calls("    calls syscall\n"), None);
    }
}
