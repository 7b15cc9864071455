//! [`Server`]: a Redis server that runs during a test.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection, cmd};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::PATIENCE;

/// The arguments of a server that stores every write on the disk before it confirms the write.
pub const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// The arguments of a server without persistence.
pub const IN_MEMORY: &[&str] = &["--appendonly", "no"];

/// A server on a free port, in a directory of its own. It is killed when this is dropped.
pub struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
    program: Program,
    arguments: Vec<String>,
}

/// The program of a server, and the environment variables that are set for it.
#[derive(Clone)]
pub struct Program {
    pub path: String,
    pub environment: Vec<(String, String)>,
}

impl Program {
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            environment: Vec::new(),
        }
    }
}

impl Default for Program {
    /// Returns the program that the environment variable `REDIS_SERVER` names, or `redis-server`.
    fn default() -> Self {
        let path = std::env::var("REDIS_SERVER");
        Self::new(path.as_deref().unwrap_or("redis-server"))
    }
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_program(&Program::default(), arguments).await
    }

    pub async fn start_program(program: &Program, arguments: &[&str]) -> Self {
        Self::start_in(program, tempfile::tempdir().unwrap(), arguments).await
    }

    /// Starts a sentinel whose configuration file contains `configuration`. The sentinel changes
    /// the file.
    pub async fn sentinel(configuration: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sentinel.conf"), configuration).unwrap();
        let arguments = [&["sentinel.conf", "--sentinel"], arguments].concat();
        Self::start_in(&Program::default(), directory, &arguments).await
    }

    async fn start_in(program: &Program, mut directory: TempDir, arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..10 {
            let port = free_port();
            let child = spawn(program, directory.path(), port, &arguments);
            let mut server = Self {
                child,
                directory,
                port,
                program: program.clone(),
                arguments: arguments.clone(),
            };
            // Another process may have taken the port in the meantime.
            if server.is_ready().await {
                return server;
            }
            directory = server.directory;
        }
        panic!("the server does not start with {arguments:?}");
    }

    pub async fn durable() -> Self {
        Self::start(DURABLE).await
    }

    pub async fn in_memory() -> Self {
        Self::start(IN_MEMORY).await
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal, such as `STOP`.
    pub async fn signal(&self, name: &str) {
        // Use the `kill` that is built into the shell, because not every system has a `kill`
        // program.
        let command = format!("kill -s {name} {}", self.child.id().unwrap());
        let sent = Command::new("sh").args(["-c", &command]).status();
        let sent = sent.await.unwrap();
        assert!(sent.success(), "failed to send {name}");
    }

    /// Starts the server again after it has been killed.
    pub async fn restart(&mut self) {
        self.child = spawn(
            &self.program,
            self.directory.path(),
            self.port,
            &self.arguments,
        );
        assert!(self.is_ready().await, "the server has not started");
    }

    /// Waits until the server responds. Returns `false` if it exits instead.
    async fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "the server does not respond");
            if let Ok(mut admin) = self.connect(Duration::from_secs(1)).await {
                let pong = cmd("PING").query_async::<String>(&mut admin).await;
                // The server is ready even if its access control list denies the `PING`.
                let is_loading = |error: &redis::RedisError| error.to_string().contains("LOADING");
                if pong.is_ok() || pong.is_err_and(|error| !is_loading(&error)) {
                    return true;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Connects to the server. The connection attempt and each reply may take up to `limit`.
    async fn connect(&self, limit: Duration) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
    }

    /// Runs a command.
    pub async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.run_within(PATIENCE, command).await.unwrap()
    }

    /// Runs a command. Returns an error if the server does not respond within a second.
    pub async fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        self.run_within(Duration::from_secs(1), command).await
    }

    async fn run_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        command: &[&str],
    ) -> redis::RedisResult<T> {
        let mut admin = self.connect(limit).await?;
        let (name, arguments) = command.split_first().unwrap();
        cmd(name).arg(arguments).query_async(&mut admin).await
    }

    /// Replaces a key with a copy that `DUMP` has returned.
    pub async fn restore(&self, key: &str, copy: &[u8]) {
        let mut admin = self.connect(PATIENCE).await.unwrap();
        let mut restore = cmd("RESTORE");
        let restore = restore.arg(key).arg(0).arg(copy).arg("REPLACE");
        let () = restore.query_async(&mut admin).await.unwrap();
    }

    /// Returns a field of `INFO`.
    pub async fn info(&self, section: &str, name: &str) -> Option<String> {
        let info: String = self.run(&["INFO", section]).await;
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    }

    /// Returns how many times a command has been called.
    pub async fn calls(&self, command: &str) -> u64 {
        let name = format!("cmdstat_{command}");
        let stats = self.info("commandstats", &name).await.unwrap_or_default();
        let calls = stats
            .split(',')
            .find_map(|stat| stat.strip_prefix("calls="));
        calls.map_or(0, |calls| calls.parse().unwrap())
    }
}

fn spawn(program: &Program, directory: &Path, port: u16, arguments: &[String]) -> Child {
    // The server reads a configuration file only if the file is the first argument.
    let has_file = arguments
        .first()
        .is_some_and(|first| !first.starts_with("--"));
    let (file, options) = arguments.split_at(has_file.into());
    Command::new(&program.path)
        .envs(program.environment.iter().cloned())
        .args(file)
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .args(options)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server must be installed (Debian: redis-server)")
}

/// Returns a free port. In cluster mode, the server also uses the port whose number is 10,000
/// higher, so this number must be valid as well.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
