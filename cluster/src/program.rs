//! [`Program`]: a program of a cluster, with its arguments and files.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::request;

/// The configuration from the "Running it in production" page.
const HAPROXY: &str = include_str!("../../sse-runtime/docs/proxies/haproxy.cfg");

/// The master's name in the sentinels' configuration.
const MASTER: &str = "main";

/// The file name of the socket on which HAProxy reports the state of its servers.
pub(crate) const SOCKET: &str = "socket";

/// Selects the server to which HAProxy sends a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The server with the fewest streams.
    LeastConnections,
    /// The servers in turn.
    RoundRobin,
}

impl Balance {
    fn name(self) -> &'static str {
        match self {
            Self::LeastConnections => "leastconn",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// A program that listens on a port of this machine, and that can be started several times.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    /// The working directory, which contains the program's files.
    directory: PathBuf,
    port: u16,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Redis,
}

impl Program {
    /// Creates a Redis server whose append-only file is synced every second. Its files are stored
    /// in a subdirectory of `directory`. If `master` is `Some`, the server is a replica of the
    /// server on that port.
    ///
    /// # Errors
    ///
    /// Returns an error if the files cannot be created.
    pub fn redis(name: &str, directory: &Path, port: u16, master: Option<u16>) -> io::Result<Self> {
        let mut config = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly yes\nrepl-diskless-sync-delay 0\n"
        );
        if let Some(master) = master {
            config += &format!("replicaof 127.0.0.1 {master}\n");
        }
        // Configure the server with a file, because the sentinels change the server's role, and the
        // server stores its new role in this file.
        Self::redis_server(name, directory, port, &config, &[])
    }

    /// Creates a sentinel that monitors the master on the port `master`. If two sentinels agree
    /// that the master has not responded for a second, a replica replaces it. The sentinel's files
    /// are stored in a subdirectory of `directory`.
    ///
    /// # Errors
    ///
    /// Returns an error if the files cannot be created.
    pub fn sentinel(name: &str, directory: &Path, port: u16, master: u16) -> io::Result<Self> {
        let config = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n"
        );
        Self::redis_server(name, directory, port, &config, &["--sentinel"])
    }

    fn redis_server(
        name: &str,
        directory: &Path,
        port: u16,
        config: &str,
        options: &[&str],
    ) -> io::Result<Self> {
        let directory = subdirectory(directory, name)?;
        fs::write(directory.join("config"), config)?;
        let args = ["config"].iter().chain(options);
        Ok(Self {
            name: name.to_owned(),
            path: "redis-server".into(),
            args: args.map(OsString::from).collect(),
            directory,
            port,
            protocol: Protocol::Redis,
        })
    }

    /// Creates an HAProxy in front of two servers, with the configuration from the docs. Its files
    /// are stored in a subdirectory of `directory`.
    ///
    /// # Errors
    ///
    /// Returns an error if the files cannot be created.
    ///
    /// # Panics
    ///
    /// Panics if the configuration in the docs no longer contains one of the lines that this
    /// function replaces.
    pub fn haproxy(
        name: &str,
        directory: &Path,
        port: u16,
        servers: [u16; 2],
        balance: Balance,
    ) -> io::Result<Self> {
        let directory = subdirectory(directory, name)?;
        let mut config = HAPROXY.to_owned();
        for (before, after) in [
            // HAProxy does not start if the operating system's limit is too low.
            (
                "    maxconn 20000\n",
                format!(
                    "    maxconn 200\n    stats socket \"{}\"\n",
                    directory.join(SOCKET).display()
                ),
            ),
            ("bind :8080\n", format!("bind 127.0.0.1:{port}\n")),
            (
                "balance leastconn\n",
                format!("balance {}\n", balance.name()),
            ),
            ("127.0.0.1:3000\n", format!("127.0.0.1:{}\n", servers[0])),
            ("127.0.0.1:3001\n", format!("127.0.0.1:{}\n", servers[1])),
        ] {
            assert!(config.contains(before), "haproxy.cfg lacks `{before}`");
            config = config.replace(before, &after);
        }
        fs::write(directory.join("config"), config)?;
        Ok(Self {
            name: name.to_owned(),
            path: "haproxy".into(),
            args: ["-db", "-f", "config"].map(OsString::from).into(),
            directory,
            port,
            protocol: Protocol::Http,
        })
    }

    /// Creates a server of an example. The example's page shows `server` as the name of the server.
    /// The example must have been built in debug mode. Its output is stored in a subdirectory of
    /// `directory`.
    ///
    /// # Errors
    ///
    /// Returns an error if the directory cannot be created.
    pub fn example(
        example: &str,
        server: &str,
        directory: &Path,
        port: u16,
        store: &str,
    ) -> io::Result<Self> {
        let name = format!("{example} {server}");
        let directory = subdirectory(directory, &name)?;
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/examples");
        let args = ["--store", store, "--name", server, "--port"];
        let mut args: Vec<_> = args.map(OsString::from).into();
        args.push(port.to_string().into());
        Ok(Self {
            name,
            path: examples.join(example),
            args,
            directory,
            port,
            protocol: Protocol::Http,
        })
    }

    /// Returns the name, such as `ticker a`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the file that contains the program's output.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(crate) fn spawn(&self) -> io::Result<Child> {
        let log = fs::File::create(self.log())?;
        Command::new(&self.path)
            .args(&self.args)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // In a process group of its own, the program does not receive the terminal's Ctrl-C.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Returns whether the program responds on its port.
    pub(crate) async fn responds(&self) -> bool {
        match self.protocol {
            Protocol::Http => TcpStream::connect(("127.0.0.1", self.port)).await.is_ok(),
            Protocol::Redis => {
                // Until the server has loaded its file, it responds with an error.
                let response = request::redis(self.port, "PING").await;
                response.is_ok_and(|response| response.starts_with("+PONG"))
            }
        }
    }
}

fn subdirectory(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let directory = directory.join(name.replace(' ', "-"));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}
