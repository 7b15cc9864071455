//! Proxy processes and their clients.

use std::{
    env, fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::configs::{Kind, changed};
use support::{Client, CutOff, within};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// A running proxy in its own directory.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) child: Child,
    pub(crate) has_children: bool,
    pub(crate) folder: PathBuf,
}

impl Proxy {
    /// Starts the proxy in front of `servers`, using the file from the docs with the `changes`
    /// applied. Prints `SKIPPED` and returns `None` if the proxy is not installed.
    pub(crate) async fn start(
        kind: Kind,
        servers: [SocketAddr; 2],
        changes: &[(&str, &str)],
    ) -> Option<Self> {
        // Some proxies do not support `--version`, but it is enough for the program to start.
        let there = Command::new(kind.program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.await.is_err() {
            let skipped = format!(
                "SKIPPED: no {}; `cargo xtask interop` installs it\n",
                kind.program
            );
            // Write directly to stderr, since the test harness hides the output of passing tests.
            let _ = std::io::stderr().write_all(skipped.as_bytes());
            return None;
        }
        // Another process may take the port before the proxy listens on it, so try several times.
        for _ in 0..4 {
            if let Ok(proxy) = Self::try_start(kind, servers, changes).await {
                return Some(proxy);
            }
        }
        let proxy = Self::try_start(kind, servers, changes).await;
        Some(proxy.unwrap_or_else(|log| panic!("{} did not start: {log}", kind.program)))
    }

    /// Starts the proxy once. Returns the proxy's output as an error if the proxy exits.
    pub(crate) async fn try_start(
        kind: Kind,
        servers: [SocketAddr; 2],
        changes: &[(&str, &str)],
    ) -> Result<Self, String> {
        static PROXIES: AtomicU32 = AtomicU32::new(0);
        let number = PROXIES.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!(
            "sse-{}-{}-{number}",
            kind.program,
            std::process::id()
        ));
        fs::create_dir(&folder).unwrap();
        write_certificate(&folder);
        let addr = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };

        let path = folder.join("config");
        let own = |text: &str| {
            text.replace("PORT", &addr.port().to_string())
                .replace("DIR", folder.to_str().unwrap())
                .replace("FILE", path.to_str().unwrap())
        };
        let mut file = kind.file.to_owned();
        for (server, was) in servers.iter().zip(kind.servers) {
            file = changed(&file, was, &server.to_string());
        }
        let mut args: Vec<_> = kind.args.iter().map(|argument| own(argument)).collect();
        for (was, is) in kind.listens.iter().chain(kind.private).chain(changes) {
            // Varnish is partly configured through its command-line arguments.
            match args.iter_mut().find(|argument| *argument == was) {
                Some(argument) => *argument = own(is),
                None => file = changed(&file, was, &own(is)),
            }
        }
        fs::write(&path, file).unwrap();
        let child = Command::new(kind.program)
            .args(args)
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut proxy = Self {
            addr,
            child,
            has_children: kind.has_children,
            folder,
        };
        if within("the proxy to listen", proxy.listens()).await {
            Ok(proxy)
        } else {
            Err(proxy.log())
        }
    }

    /// Waits until the proxy is listening. Returns `false` if the proxy has exited.
    pub(crate) async fn listens(&mut self) -> bool {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.addr).await.is_ok() {
                return true;
            }
            // Nothing signals that the proxy is listening, so check again after a short pause.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Terminates the proxy and its child processes, which would survive if the proxy were killed.
    /// If the proxy has not exited after five seconds, it is killed on drop.
    pub(crate) fn end(&mut self) {
        if let Some(id) = self.child.id()
            && self.has_children
        {
            let mut terminate = std::process::Command::new("kill");
            let _ = terminate.args(["-s", "TERM", &id.to_string()]).status();
            let begun = Instant::now();
            while matches!(self.child.try_wait(), Ok(None))
                && begun.elapsed() < Duration::from_secs(5)
            {
                // A destructor cannot await.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Returns a client whose stream has started.
    pub(crate) async fn get(&self, path: &str) -> Frames {
        Frames::of(Client::get(self.addr, path).await).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.log());
        }
        self.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Writes a certificate for the loopback address, and the certificate's key, to the proxy's
/// directory. The two are written as separate files and also as one combined file.
fn write_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("certificate"), &certificate).unwrap();
    fs::write(folder.join("key"), &key).unwrap();
    fs::write(folder.join("both"), certificate + &key).unwrap();
}

/// A client that reads frames, regardless of how the proxy splits them into chunks.
pub(crate) struct Frames {
    pub(crate) client: Client,
    pub(crate) text: String,
}

impl Frames {
    /// Reads the head and asserts that a stream follows.
    pub(crate) async fn of(mut client: Client) -> Self {
        let head = client.head().await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
        assert_eq!(
            head.get("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(head.get("content-encoding"), None);
        Self {
            client,
            text: String::new(),
        }
    }

    /// Reads the next frame, or a comment or `retry` line between two frames. Returns `None` once
    /// the stream has ended cleanly.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, CutOff> {
        loop {
            let is_line = self.text.starts_with([':', 'r']);
            let end = if is_line { "\n" } else { "\n\n" };
            if let Some(start) = self.text.find(end) {
                let rest = self.text.split_off(start + end.len());
                return Ok(Some(std::mem::replace(&mut self.text, rest)));
            }
            let Some(chunk) = self.client.chunk().await? else {
                assert_eq!(self.text, "", "the stream ended in the middle of a frame");
                return Ok(None);
            };
            self.text.push_str(&chunk);
        }
    }

    pub(crate) async fn expect(&mut self, frame: &str) {
        assert_eq!(self.next().await, Ok(Some(frame.to_owned())));
    }
}
