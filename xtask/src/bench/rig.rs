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

use super::process::{Process, free_port, wait_for};
use crate::steps::{root, succeed};

/// The cores on which the server and the load generator run.
const SERVER: &str = "0";
const CLIENT: &str = "1";

/// A program in the rig, and the arguments that follow the port argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Own(&'static str, &'static [&'static str]),
    /// nginx with Nchan, and a program that publishes events to Nchan.
    Nchan,
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

    /// Returns a command that runs the program on one core and writes the output to a log named
    /// after the program.
    fn pinned(&self, core: &str, program: &Path) -> io::Result<Command> {
        let name = program.file_name().unwrap_or_default();
        let log = File::create(self.scratch.join(name).with_extension("log"))?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", core]).arg(program);
        // Some programs store logs in the current directory.
        command.current_dir(&self.scratch);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    pub(crate) fn start(&self, program: Program) -> io::Result<Server> {
        let port = free_port()?;
        match program {
            Program::Own(name, words) => {
                let mut command = self.pinned(SERVER, &self.programs.join(name))?;
                command.arg(port.to_string()).args(words);
                let process = Process::alone(&mut command)?;
                Server::wait(port, port, process, None)
            }
            Program::Nchan => {
                let template = root().join("benches/rig/nchan/nginx.conf.in");
                let conf = fs::read_to_string(template)?
                    .replace("@DIRECTORY@", &self.scratch.to_string_lossy())
                    .replace("@PORT@", &port.to_string());
                let file = self.scratch.join("nginx.conf");
                fs::write(&file, conf)?;
                let mut nginx = self.pinned(SERVER, Path::new("nginx"))?;
                nginx.arg("-c").arg(&file);
                let nginx = Process::with_children(&mut nginx)?;
                wait_for(port)?;
                let control = free_port()?;
                let publisher = self.programs.join("nchan-publisher");
                let mut publisher = self.pinned(CLIENT, &publisher)?;
                publisher.args([control.to_string(), port.to_string()]);
                let publisher = Process::alone(&mut publisher)?;
                Server::wait(port, control, nginx, Some(publisher))
            }
        }
    }

    /// Runs the `disk` program on the server's core until it exits, and returns its output.
    pub(crate) fn run_disk(&self, words: &[&str]) -> io::Result<String> {
        let mut command = self.pinned(SERVER, &self.programs.join("disk"))?;
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
        let mut strace = self.pinned(SERVER, Path::new("strace"))?;
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
        let server = Server::wait(port, port, strace, None)?;
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
            "address": at(server.port),
            "control": at(server.control),
            "pid": server.process.id(),
            "path": path,
            "streams": streams,
            "load": load,
        });
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CLIENT]);
        command
            .arg(self.programs.join("loadgen"))
            .arg(plan.to_string());
        let output = command.stderr(Stdio::inherit()).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A running server, which is stopped when this value is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    /// The port that serves `/rate`, which sets the publishing rate.
    control: u16,
    /// Declared before `process`, because fields are dropped in the order of declaration and the
    /// publisher must be stopped before nginx.
    _publisher: Option<Process>,
    process: Process,
}

impl Server {
    fn wait(
        port: u16,
        control: u16,
        process: Process,
        publisher: Option<Process>,
    ) -> io::Result<Self> {
        wait_for(port)?;
        wait_for(control)?;
        Ok(Self {
            port,
            control,
            _publisher: publisher,
            process,
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
