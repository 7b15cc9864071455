//! Kills a server while it publishes to clients that reconnect.
//!
//! In each round, the test starts this binary as the server and kills it. The environment variable
//! `KILLS` sets the number of rounds. The default is 200.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    collections::{HashMap, HashSet},
    env,
    future::poll_fn,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use launchdarkly_sdk_transport::HyperTransport;
use sse_log::Log;
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
use support::{SseRouterExt as _, within};
use tempfile::tempdir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

/// The environment variables that make this binary the server: the path of its log, its address, and
/// whether it publishes.
const LOG: &str = "KILLED_LOG";
const ADDRESS: &str = "KILLED_ADDRESS";
const PUBLISHES: &str = "KILLED_PUBLISHES";

/// The number of clients.
const CLIENTS: usize = 16;

/// The number of events that the server publishes at the same time.
const PUBLISHERS: u64 = 4;

#[sse_endpoint("/numbers", retry = "20ms")]
async fn numbers(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

/// Serves the topic until the process is killed. Each line on stdout contains the id and the value
/// of an event whose publisher has received `Ok`.
#[test]
fn server() {
    let Ok(path) = env::var(LOG) else { return };
    let address = env::var(ADDRESS).unwrap();
    let publishes = env::var(PUBLISHES).is_ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = Log::open(Path::new(&path)).await.unwrap();
        let topic: Topic<u64> = open(&log).await;
        let listener = TcpListener::bind(&address).await.unwrap();
        let print = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
        print(format!("\nat {}\n", listener.local_addr().unwrap()));
        let first = fastrand::u64(..1 << 30) << 32;
        for publisher in (0..PUBLISHERS).filter(|_| publishes) {
            let topic = topic.clone();
            tokio::spawn(async move {
                for value in (first + publisher..).step_by(usize::try_from(PUBLISHERS).unwrap()) {
                    let id = topic.publish(&value).await.unwrap();
                    print(format!("\nok {id} {value}\n"));
                }
            });
        }
        let app = Router::new().sse(numbers).with_state(topic);
        sse_runtime::serve(listener, app).await.unwrap();
    });
}

async fn open(log: &Log) -> Topic<u64> {
    let opening = Topic::builder().keep(1_000_000).open(log, "numbers");
    opening.await.unwrap()
}

/// The server's process. It is killed when dropped.
struct Server {
    child: Child,
    /// The complete lines of the output.
    lines: mpsc::UnboundedReceiver<String>,
}

impl Server {
    fn start(log: &Path, address: &str, publishes: bool) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["server", "--exact", "--nocapture", "--test-threads=1"])
            .env(LOG, log)
            .env(ADDRESS, address)
            .stdout(Stdio::piped());
        if publishes {
            command.env(PUBLISHES, "");
        }
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                let _ = sender.send(line.trim_end().to_owned());
                line.clear();
            }
        });
        Self { child, lines }
    }

    /// Returns the rest of the next line that begins with `word`, or `None` at the end of the output.
    async fn line(&mut self, word: &str) -> Option<String> {
        loop {
            let line = within("a line of output", self.lines.recv()).await?;
            if let Some(rest) = line.strip_prefix(word) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    /// Kills the server with SIGKILL and waits for it to exit.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An event that a client has received, or that the log contains: its id and its value.
type Seen = (String, u64);

/// Reads events, across all reconnects, until the event with the id `last` has arrived. Returns the
/// events and the number of connections.
async fn read(
    address: SocketAddr,
    mut last: watch::Receiver<Option<String>>,
) -> (Vec<Seen>, usize) {
    let transport = HyperTransport::builder().build_http().unwrap();
    let delay = Duration::from_millis(20);
    let reconnect = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(delay)
        .delay_max(delay)
        .build();
    let client = ClientBuilder::for_url(&format!("http://{address}/numbers"))
        .unwrap()
        .reconnect(reconnect)
        .build_with_transport(transport);
    let mut events = client.stream();
    let mut seen: Vec<Seen> = Vec::new();
    let mut connections = 0;
    loop {
        let is_last = last.borrow_and_update().as_ref() == seen.last().map(|(id, _)| id);
        if is_last && !seen.is_empty() {
            return (seen, connections);
        }
        let next = poll_fn(|cx| Stream::poll_next(Pin::new(&mut events), cx));
        let next = tokio::select! {
            next = next => next.unwrap(),
            changed = last.changed() => {
                changed.unwrap();
                continue;
            }
        };
        // `eventsource_client` reports a lost connection as an error and then reconnects.
        match next {
            Ok(SSE::Event(event)) => {
                assert_eq!(event.event_type, "message", "{event:?}");
                seen.push((event.id.unwrap(), event.data.parse().unwrap()));
            }
            Ok(SSE::Connected(_)) => connections += 1,
            Ok(SSE::Comment(_)) | Err(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_lose_nothing_when_the_server_is_killed() {
    let rounds = env::var("KILLS").map_or(200, |rounds| rounds.parse::<usize>().unwrap());
    let start = Instant::now();
    let directory = tempdir().unwrap();
    let log = directory.path().join("log");

    // All later servers listen on the port that the first one was assigned. No other test uses this
    // loopback address, so no other socket can take the port while the server is down.
    let mut server = Server::start(&log, "127.75.11.9:0", false);
    let address: SocketAddr = server.line("at").await.unwrap().parse().unwrap();
    let last = watch::Sender::new(None);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(read(address, last.subscribe()));
    }

    let mut confirmed: Vec<Seen> = Vec::new();
    for _ in 0..rounds {
        server.kill();
        server = Server::start(&log, &address.to_string(), true);
        let mut confirm = |line: String| {
            let (id, value) = line.split_once(' ').unwrap();
            confirmed.push((id.to_owned(), value.parse().unwrap()));
        };
        confirm(server.line("ok").await.unwrap());
        tokio::time::sleep(Duration::from_micros(fastrand::u64(5_000..80_000))).await;
        server.kill();
        while let Some(line) = server.line("ok").await {
            confirm(line);
        }
    }
    drop(server);

    let stored = {
        let log = Log::open(&log).await.unwrap();
        let mut reader = open(&log).await.subscribe(Start::First);
        let newest = open(&log).await.subscribe(Start::Now).position();
        let mut stored: Vec<Seen> = Vec::new();
        while stored
            .last()
            .is_none_or(|(id, _)| *id != newest.to_string())
        {
            let update = within("an event", reader.recv()).await.unwrap().unwrap();
            stored.push((update.id().to_string(), *update));
        }
        stored
    };
    let values: HashSet<u64> = stored.iter().map(|(_, value)| *value).collect();
    assert_eq!(values.len(), stored.len(), "an event is stored twice");
    let by_id: HashMap<&str, u64> = stored.iter().map(|(id, value)| (&**id, *value)).collect();
    for (id, value) in &confirmed {
        assert_eq!(by_id.get(&**id), Some(value), "a confirmed event is lost");
    }

    // Let the clients read the remaining events.
    let mut server = Server::start(&log, &address.to_string(), false);
    server.line("at").await.unwrap();
    last.send_replace(stored.last().map(|(id, _)| id.clone()));
    let mut connections = 0;
    while let Some(read) = within("the clients", clients.join_next()).await {
        let (seen, connected) = read.unwrap();
        connections += connected;
        assert_eq!(seen.len(), stored.len());
        assert!(
            seen == stored,
            "a client's events differ from those in the log"
        );
    }
    assert!(
        connections > CLIENTS * rounds / 4,
        "{connections} connections"
    );
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} kills, {} confirmed events, {} stored, {connections} connections, {:?}",
        confirmed.len(),
        stored.len(),
        start.elapsed(),
    );
}
