//! Runs the program in a separate process, and checks that the deployment files agree with it.
#![cfg(unix)]

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const DOCKERFILE: &str = include_str!("../Dockerfile");
const KUBERNETES: &str = include_str!("../kubernetes.yaml");
const SYSTEMD: &str = include_str!("../starter.service");

/// Returns the text between `before` and the end of the line. Panics unless the file has exactly one
/// such line, ignoring indentation and comments.
fn value<'a>(file: &'a str, before: &str) -> &'a str {
    let lines = file.lines().map(str::trim);
    let mut values = lines.filter_map(|line| line.strip_prefix(before));
    match (values.next(), values.next()) {
        (Some(value), None) => value.trim().trim_matches('"'),
        (found, _) => panic!("expected one line that starts with {before:?}: {found:?}"),
    }
}

fn seconds(file: &str, before: &str) -> u64 {
    let value = value(file, before);
    let parsed = value.parse();
    parsed.unwrap_or_else(|_| panic!("{before:?} is followed by {value:?}"))
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("an address with a port").1
}

/// The program, listening on a free port.
struct Starter {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    addr: SocketAddr,
}

impl Starter {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_starter"))
            .env_remove("GRACE_SECONDS")
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .env("ADDRESS", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a piped stdout");
        let mut log = BufReader::new(stdout).lines();
        let listening = until(&mut log, "listening").await;
        let (_, addr) = listening.split_once("address=").expect("an address");
        let addr = addr.trim().parse().expect("a socket address");
        Self { child, log, addr }
    }

    /// Sends a request and returns the connection.
    async fn get(&self, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.addr).await.expect("a listener");
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        let sent = socket.write_all(request.as_bytes()).await;
        sent.expect("a server that reads");
        socket
    }

    async fn terminate(&self) {
        let pid = self.child.id().expect("a running process").to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.await.expect("`kill`").success());
    }

    async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let exited = timeout(limit, self.child.wait()).await;
        let exited = exited.unwrap_or_else(|_| panic!("still running after {limit:?}"));
        exited.expect("an exit status")
    }
}

/// Reads lines until one contains `what`, and returns it.
async fn until(log: &mut Lines<BufReader<ChildStdout>>, what: &str) -> String {
    while let Some(line) = log.next_line().await.expect("valid UTF-8") {
        if line.contains(what) {
            return line;
        }
    }
    panic!("the program exited without logging {what:?}");
}

#[tokio::test]
async fn server_exits_in_ten_seconds_with_a_stream() {
    let limit = Duration::from_secs(10);
    let mut starter = Starter::start(&[]).await;
    let mut stream = starter.get("/news").await;
    let mut received = vec![0; 15];
    let read = stream.read_exact(&mut received).await;
    read.expect("a response");
    assert_eq!(received, b"HTTP/1.1 200 OK");

    let start = Instant::now();
    starter.terminate().await;
    until(&mut starter.log, "exits within 10s at the latest").await;
    let status = starter.exit(limit).await;
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < limit, "took {:?}", start.elapsed());
    // The stream was ended, not cut off: the last event is followed by the end of the response.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("the rest");
    assert!(rest.contains("retry: "), "{rest:?}");
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
}

#[tokio::test]
async fn deployment_files_allow_the_grace_time() {
    // The name of a variable and its value are on separate lines.
    let (_, after) = KUBERNETES
        .split_once("- name: GRACE_SECONDS\n")
        .expect("a value for GRACE_SECONDS");
    let (line, _) = after.split_once('\n').expect("a value");
    let grace = value(line, "value:");
    let mut starter = Starter::start(&[("GRACE_SECONDS", grace)]).await;
    starter.terminate().await;
    let announced = format!("exits within {grace}s at the latest");
    until(&mut starter.log, &announced).await;
    // The second signal ends the drain delay.
    starter.terminate().await;
    assert!(starter.exit(Duration::from_secs(10)).await.success());

    let grace: u64 = grace.parse().expect("a number of seconds");
    assert!(grace <= seconds(KUBERNETES, "terminationGracePeriodSeconds:"));
    let grace = seconds(SYSTEMD, "Environment=GRACE_SECONDS=");
    assert!(grace <= seconds(SYSTEMD, "TimeoutStopSec="));
    // Docker waits for 10 seconds, which is the default of the program.
    assert!(!DOCKERFILE.contains("GRACE_SECONDS"));
}

#[tokio::test]
async fn readiness_probe_exists() {
    let starter = Starter::start(&[]).await;
    let mut response = String::new();
    let mut probe = starter.get(value(KUBERNETES, "path:")).await;
    probe
        .read_to_string(&mut response)
        .await
        .expect("a response");
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response:?}");
}

#[test]
fn ports_are_equal() {
    let exposed = value(DOCKERFILE, "EXPOSE ");
    assert_eq!(port(value(DOCKERFILE, "ENV ADDRESS=")), exposed);
    assert_eq!(value(KUBERNETES, "containerPort:"), exposed);
    // The probe and the service refer to the port by its name.
    assert!(KUBERNETES.contains("- name: http\n"));
    assert_eq!(value(KUBERNETES, "port:"), "http");
    assert_eq!(value(KUBERNETES, "targetPort:"), "http");
}

/// In the shell form, a shell receives SIGTERM instead of the program.
#[test]
fn container_runs_the_program_without_a_shell() {
    assert_eq!(
        value(DOCKERFILE, "ENTRYPOINT "),
        "[\"/usr/local/bin/starter\"]"
    );
    assert!(value(DOCKERFILE, "USER ").starts_with(|first: char| first != '0'));
}
