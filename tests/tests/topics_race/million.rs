//! Tests a million events with readers that connect and disconnect. The topic is in memory, because
//! a log would take too long to store the events.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State};
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
use support::{Client, SseRouterExt as _, Store, server_of, within};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use super::{account, ask, narrow};

/// The time limit for the large tests on a busy machine.
const LONG: Duration = Duration::from_secs(600);

/// A number whose live instances are counted.
struct Counted {
    number: u64,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            alive: Arc::clone(alive),
        }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.number, &self.alive)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number)
    }
}

#[sse_endpoint("/counted")]
async fn counted(
    State(topic): State<Topic<Counted>>,
    last: LastEventId,
) -> impl Stream<Item = Counted> {
    let mut updates = topic.subscribe(last);
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
}

const MILLION: usize = 1_000_000;
const READERS: usize = 64;

/// The topic's capacity, and how far the publisher may run ahead of the slowest reader. A reader
/// within that distance must receive every event.
const HELD: usize = 64 * 1024;
const AHEAD: usize = 48 * 1024;

/// The entire expected stream, and the offset at which each event starts. Event 1 starts at 0.
struct Expected {
    epoch: String,
    bytes: Vec<u8>,
    begins: Vec<usize>,
}

impl Expected {
    fn new(epoch: String) -> Self {
        use std::io::Write as _;
        let (mut bytes, mut begins) = (Vec::new(), vec![0]);
        for number in 1..=MILLION {
            write!(bytes, "id: {epoch}-{number}\ndata: {number}\n\n").unwrap();
            begins.push(bytes.len());
        }
        Self {
            epoch,
            bytes,
            begins,
        }
    }

    /// Returns the number of complete events before the byte at `at`.
    fn events(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at) - 1
    }
}

/// The progress of the readers and the publisher.
struct Progress {
    /// The number of events that each reader has seen.
    seen: Vec<AtomicUsize>,
    moved: Notify,
}

impl Progress {
    fn slowest(&self) -> usize {
        let seen = self.seen.iter().map(|seen| seen.load(Ordering::Relaxed));
        seen.min().unwrap()
    }

    fn has_seen(&self, reader: usize, events: usize) {
        let before = self.seen[reader].fetch_max(events, Ordering::Relaxed);
        if before / 1024 != events / 1024 || events == MILLION {
            self.moved.notify_one();
        }
    }
}

/// Decodes the chunks of a body.
#[derive(Default)]
struct Chunked {
    received: Vec<u8>,
    /// The position of the first byte that has not been consumed.
    at: usize,
    /// The number of remaining bytes in the current chunk.
    left: usize,
    in_body: bool,
}

impl Chunked {
    /// Returns the range of the next piece of data, or `None` if more bytes must be received first.
    fn piece(&mut self) -> Option<Range<usize>> {
        if !self.in_body {
            let mut fours = self.received.windows(4);
            let end = fours.position(|four| four == b"\r\n\r\n")?;
            assert!(self.received.starts_with(b"HTTP/1.1 200 OK\r\n"));
            self.at = end + 4;
            self.in_body = true;
        }
        if self.left == 0 {
            // Parse the end of the previous chunk and the size of the next one.
            let mut rest = &self.received[self.at..];
            let line = rest.strip_prefix(b"\r\n").unwrap_or(rest);
            let end = line.windows(2).position(|two| two == b"\r\n")?;
            let size = std::str::from_utf8(&line[..end]).unwrap();
            self.left = usize::from_str_radix(size, 16).unwrap();
            assert!(self.left > 0, "the stream has ended");
            rest = &line[end + 2..];
            self.at = self.received.len() - rest.len();
        }
        let len = self.left.min(self.received.len() - self.at);
        if len == 0 {
            return None;
        }
        let piece = self.at..self.at + len;
        self.at += len;
        self.left -= len;
        Some(piece)
    }

    async fn receive(&mut self, socket: &mut TcpStream) {
        self.received.drain(..self.at);
        self.at = 0;
        self.received.reserve(64 * 1024);
        let read = socket.read_buf(&mut self.received).await.unwrap();
        assert!(read > 0, "the server closed a connection");
    }
}

/// Reads all events over several connections and compares each byte with the expected stream.
async fn read(
    addr: SocketAddr,
    expected: Arc<Expected>,
    progress: Arc<Progress>,
    reader: usize,
) -> usize {
    let mut connections = 0;
    let mut seen = 0;
    while seen < MILLION {
        connections += 1;
        let id = format!("{}-{seen}", expected.epoch);
        let mut socket = ask(TcpStream::connect(addr).await.unwrap(), "/counted", &id).await;
        let mut body = Chunked::default();
        // The server continues after the last complete event, wherever the previous connection was
        // cut off.
        let mut at = expected.begins[seen];
        let leaves_at = at + fastrand::usize(1..600_000);
        while at < leaves_at && seen < MILLION {
            while let Some(piece) = body.piece() {
                let piece = &body.received[piece];
                let must = &expected.bytes[at..expected.bytes.len().min(at + piece.len())];
                if piece != must {
                    let piece = String::from_utf8_lossy(&piece[..piece.len().min(200)]);
                    panic!("after {}: {piece}", expected.events(at));
                }
                at += piece.len();
            }
            seen = expected.events(at.min(leaves_at));
            progress.has_seen(reader, seen);
            if at < leaves_at && seen < MILLION {
                body.receive(&mut socket).await;
            }
        }
    }
    connections
}

/// Publishes a million events to 64 readers, each of which reads every event. The readers
/// disconnect at random points, even in the middle of an event, and reconnect with the last ID that
/// they received. An additional reader stops reading right away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_readers_account_for_a_million_events() {
    const DELIVERIES: usize = READERS * MILLION;
    let alive = Arc::new(AtomicUsize::new(0));
    let topic: Topic<Counted> = Topic::in_memory(HELD);
    let start = topic.subscribe(Start::Now).position().to_string();
    let epoch = start.strip_suffix("-0").unwrap();
    let expected = Arc::new(Expected::new(epoch.to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().sse(counted).with_state(topic.clone());
    // Neither the server nor the kernel may disconnect the reader that stops reading.
    let server = server_of(app)
        .send_timeout(LONG * 2)
        .tcp_user_timeout(LONG * 2);
    tokio::spawn(server.serve(listener));

    let mut stalled = Client::over(ask(narrow(addr).await, "/counted", "").await);
    stalled.head().await;

    let progress = Arc::new(Progress {
        seen: (0..READERS).map(|_| AtomicUsize::new(0)).collect(),
        moved: Notify::new(),
    });
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (expected, progress) = (Arc::clone(&expected), Arc::clone(&progress));
        readers.spawn(read(addr, expected, progress, reader));
    }

    let publishing = async {
        for number in 1..=MILLION {
            let event = Counted::new(number as u64, &alive);
            topic.publish(&event).await.unwrap();
            if number % 256 == 0 {
                while progress.slowest() + AHEAD < number {
                    progress.moved.notified().await;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(LONG, publishing)
        .await
        .expect("the publisher timed out waiting for the readers");
    let connections = timeout(LONG, readers.join_all()).await.unwrap();
    let connections: usize = connections.into_iter().sum();
    assert!(connections > DELIVERIES * 40 / 600_000, "{connections}");

    // Only the reader that stopped reading is left. This reader holds at most one batch in addition
    // to the topic's events.
    within("the readers to disconnect", async {
        while topic.subscribers() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let pinned = alive.load(Ordering::Relaxed) - HELD;
    assert!(pinned <= 256, "{pinned}");

    // Let the reader continue. The reader receives the data that was already sent, then the gap,
    // and then the remaining events.
    topic.finish().await.unwrap();
    let mut all = String::new();
    while let Some(chunk) = stalled.chunk().await.unwrap() {
        all += &chunk;
    }
    let told = account(&Store::Memory, &all, 0);
    assert_eq!(told.last, MILLION as u64);
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert!(missed > 0, "the reader was not stalled");
    assert_eq!(told.events + missed, MILLION as u64);
}
