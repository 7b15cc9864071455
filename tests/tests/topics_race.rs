//! Topics over real sockets: readers that come and go while events are published, that stop reading, and that are cut off.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::{
    future::poll_fn,
    net::SocketAddr,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State};
use eventsource_client::{Client as _, SSE};
use launchdarkly_sdk_transport::HyperTransport;
use sse_runtime::{
    LastEventId, RouterExt as _, Start, Stream, Topic, TopicBuilder, sse_endpoint, testing,
};
use support::{Client, serve, server_of, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

/// How long the large ones may take on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(600);

/// The life of a topic, as its ids have it.
fn epoch<T: Send + Sync + 'static>(topic: &Topic<T>) -> String {
    let position = topic.subscribe(Start::Now).position().to_string();
    position.split_once('-').unwrap().0.to_owned()
}

async fn ask(mut socket: TcpStream, path: &str, id: &str) -> TcpStream {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// A client for which the system holds little: with less, each segment waits for an acknowledgement that is delayed.
async fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(addr).await.unwrap()
}

// ---------------------------------------------------------------------------------------------------------------------
// A million events
// ---------------------------------------------------------------------------------------------------------------------

/// A number that knows how many of its kind there are.
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

/// How many events the topic holds, and how far the publisher runs ahead of the slowest reader at most: a reader that is
/// not slower than that has to get everything.
const HELD: usize = 64 * 1024;
const AHEAD: usize = 48 * 1024;

/// The whole stream as it has to be, and where each event begins: event 1 at 0.
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

    /// How many whole events are in front of this byte.
    fn events(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at) - 1
    }
}

/// How far readers are, and the publisher.
struct Progress {
    /// How many events each has seen.
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

/// Takes the chunks off a body.
#[derive(Default)]
struct Chunked {
    received: Vec<u8>,
    /// What of it is not taken yet.
    at: usize,
    /// What is left of the chunk.
    left: usize,
    in_body: bool,
}

impl Chunked {
    /// Up to the next piece of data: none, where more has to be received.
    fn piece(&mut self) -> Option<Range<usize>> {
        if !self.in_body {
            let mut fours = self.received.windows(4);
            let end = fours.position(|four| four == b"\r\n\r\n")?;
            assert!(self.received.starts_with(b"HTTP/1.1 200 OK\r\n"));
            self.at = end + 4;
            self.in_body = true;
        }
        if self.left == 0 {
            // The end of the chunk before, and the size of the next.
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
        assert!(read > 0, "the server has closed a connection");
    }
}

/// Reads everything, in as many connections as it likes, and holds every byte against what it has to be.
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
        // An id is a promise about what follows, and nothing else: the connection breaks off anywhere.
        let mut at = expected.begins[seen];
        let leaves_at = at + fastrand::usize(1..600_000);
        while at < leaves_at && seen < MILLION {
            while let Some(piece) = body.piece() {
                let piece = &body.received[piece];
                let must = &expected.bytes[at..expected.bytes.len().min(at + piece.len())];
                if piece != must {
                    let piece = String::from_utf8_lossy(&piece[..piece.len().min(200)]);
                    panic!("behind {}: {piece}", expected.events(at));
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

/// Publishes a million events to 64 readers, each of whom reads all of it. All of them break off at random, in the middle of
/// an event too, and come back with the id that they have seen last. One more stops reading at the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_events_and_readers_that_come_and_go() {
    const DELIVERIES: usize = READERS * MILLION;
    let alive = Arc::new(AtomicUsize::new(0));
    let topic: Topic<Counted> = Topic::in_memory(HELD);
    let expected = Arc::new(Expected::new(epoch(&topic)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().sse(counted).with_state(topic.clone());
    // The one that does not read is not to be sent away, by the server or by the kernel.
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
    timeout(LONG, publishing).await.expect("readers that read");
    let connections = timeout(LONG, readers.join_all()).await.unwrap();
    let connections: usize = connections.into_iter().sum();
    assert!(connections > DELIVERIES * 40 / 600_000, "{connections}");

    // All have left but the one that has not read: what it holds beside the topic is no more than a batch.
    within("the readers to be gone", async {
        while topic.subscribers() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let pinned = alive.load(Ordering::Relaxed) - HELD;
    assert!(pinned <= 256, "{pinned}");

    // It goes on: what was on its way, then how many it missed, then the rest.
    topic.finish();
    let mut all = String::new();
    while let Some(chunk) = stalled.chunk().await.unwrap() {
        all += &chunk;
    }
    let told = account(&all, 0);
    assert_eq!(told.last, MILLION as u64);
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert!(missed > 0, "it was not stalled");
    assert_eq!(told.events + missed, MILLION as u64);
}

/// What a client was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    events: u64,
    last: u64,
    gaps: Vec<(String, u64)>,
    /// The numbers behind the last gap.
    rest: Vec<u64>,
    /// The last frame, if it is neither.
    end: Option<String>,
}

/// Adds up the frames, and takes care that nothing is missing but what a gap says.
fn account(stream: &str, behind: u64) -> Account {
    let mut account = Account {
        last: behind,
        ..Account::default()
    };
    for frame in stream.split_terminator("\n\n") {
        let number = |line: &str| -> u64 { line.rsplit_once('-').unwrap().1.parse().unwrap() };
        if let Some(gap) = frame.strip_prefix("event: gap\n") {
            let (id, data) = gap.split_once('\n').unwrap();
            let data: serde_json::Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
            let missed = data["missed"].as_u64().unwrap();
            assert!(missed > 0);
            // Of the policy that gives the newest of each key, the id is where the client stood.
            let by_key = number(id) == account.last;
            if !by_key {
                account.last += missed;
                assert_eq!(number(id), account.last, "{gap}");
            }
            let reason = data["reason"].as_str().unwrap().to_owned();
            account.gaps.push((reason, missed));
            account.rest.clear();
        } else if frame.starts_with("id: ") && frame.contains("\ndata: ") {
            let id = number(frame.lines().next().unwrap());
            assert!(id > account.last, "{id} behind {}", account.last);
            if account.gaps.is_empty() {
                assert_eq!(id, account.last + 1);
            }
            account.last = id;
            account.events += 1;
            account.rest.push(id);
        } else {
            account.end = Some(frame.to_owned());
        }
    }
    account
}

// ---------------------------------------------------------------------------------------------------------------------
// Encoded once
// ---------------------------------------------------------------------------------------------------------------------

/// Counts how often it is serialised.
#[derive(Clone)]
struct Costly(Arc<AtomicU64>);

impl serde::Serialize for Costly {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_str("costly")
    }
}

#[sse_endpoint("/costly")]
async fn costly(
    State(topic): State<Topic<Costly>>,
    last: LastEventId,
) -> impl Stream<Item = Costly> {
    yield_all!(topic.subscribe(last));
}

#[tokio::test]
async fn ten_thousand_clients_cost_one_encoding() {
    const CLIENTS: usize = 10_000;
    let topic: Topic<Costly> = Topic::in_memory(16);
    let client = testing::Client::new(Router::new().sse(costly).with_state(topic.clone()));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut events = client.get("/costly").await.events();
        // The head, then the generator up to where it waits.
        for _ in 0..2 {
            let waits = poll_fn(|cx| {
                let next = std::pin::pin!(events.next());
                std::task::Poll::Ready(next.poll(cx).is_pending())
            });
            assert!(waits.await);
        }
        clients.push(events);
    }
    assert_eq!(topic.subscribers(), CLIENTS);
    let count = Arc::new(AtomicU64::new(0));
    let id = topic.publish(&Costly(Arc::clone(&count))).await.unwrap();
    for events in &mut clients {
        let event = events.expect_event().await;
        assert_eq!(
            (event.data, event.id),
            ("\"costly\"".to_owned(), id.to_string())
        );
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    drop(clients);
    assert_eq!(topic.subscribers(), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Clients that are too slow
// ---------------------------------------------------------------------------------------------------------------------

type Large = (u64, String);

#[sse_endpoint("/large")]
async fn large(State(topic): State<Topic<Large>>, last: LastEventId) -> impl Stream<Item = Large> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

/// The client reads the first event, then nothing until many times what all buffers hold has been published, then all.
async fn overtaken(
    build: impl FnOnce(TopicBuilder<Large>) -> Topic<Large>,
) -> (Account, SocketAddr, String) {
    let topic = build(Topic::builder().events(HELD_OF_LARGE));
    let publish = async |number: u64| {
        topic.publish(&(number, "x".repeat(4_000))).await.unwrap();
    };
    let app = Router::new().sse(large).with_state(topic.clone());
    let addr = serve(app).await;
    publish(1).await;
    let mut client = Client::over(ask(narrow(addr).await, "/large", "").await);
    client.head().await;
    let mut all = client.expect_chunk().await;
    for number in 2..=ALL_LARGE {
        publish(number).await;
        tokio::task::yield_now().await;
    }
    topic.finish();
    while let Some(chunk) = client.chunk().await.unwrap() {
        all += &chunk;
    }
    let epoch = epoch(&topic);
    (account(&all, 0), addr, epoch)
}

const HELD_OF_LARGE: usize = 16;
const ALL_LARGE: u64 = 5_000;

#[tokio::test]
async fn a_slow_client_goes_on_with_the_oldest_that_is_held() {
    let (told, ..) = overtaken(TopicBuilder::build).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert!(told.gaps.iter().all(|(reason, _)| reason == "overtaken"));
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.last, ALL_LARGE);
    let held = ALL_LARGE - HELD_OF_LARGE as u64;
    assert!(
        told.rest.iter().copied().eq(held + 1..=ALL_LARGE),
        "{:?}",
        told.rest
    );
    let end = told.end.unwrap();
    assert!(end.starts_with("event: done\nid: "), "{end:?}");
    assert!(end.ends_with("~done\ndata: null"), "{end:?}");
}

#[tokio::test]
async fn a_slow_client_goes_on_with_the_newest() {
    let (told, ..) = overtaken(|builder| builder.latest().build()).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.rest, [ALL_LARGE]);
}

#[tokio::test]
async fn a_slow_client_gets_the_newest_of_each_key() {
    // Of the last key there is one, long ago.
    let key = |(number, _): &Large| if *number == 4_000 { 3 } else { number % 3 };
    let (told, ..) = overtaken(|builder| builder.latest_by(key).build()).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.rest, [4_000, ALL_LARGE - 2, ALL_LARGE - 1, ALL_LARGE]);
}

#[tokio::test]
async fn a_slow_client_is_sent_away_to_come_back() {
    let (told, addr, epoch) = overtaken(|builder| builder.disconnect().build()).await;
    assert_eq!(told.gaps, []);
    assert_eq!(
        told.end.unwrap(),
        "event: close\ndata: {\"reason\":\"lagged\"}"
    );
    assert!(
        told.last < ALL_LARGE - HELD_OF_LARGE as u64,
        "it was not overtaken"
    );

    let id = format!("{epoch}-{}", told.last);
    let socket = TcpStream::connect(addr).await.unwrap();
    let mut back = Client::over(ask(socket, "/large", &id).await);
    back.head().await;
    let mut all = String::new();
    while let Some(chunk) = back.chunk().await.unwrap() {
        all += &chunk;
    }
    let again = account(&all, told.last);
    let missed = ALL_LARGE - HELD_OF_LARGE as u64 - told.last;
    assert_eq!(again.gaps, [("too_old".to_owned(), missed)]);
    assert_eq!(told.events + missed + again.events, ALL_LARGE);
}

// ---------------------------------------------------------------------------------------------------------------------
// A client that nobody here wrote
// ---------------------------------------------------------------------------------------------------------------------

#[sse_endpoint("/numbers")]
async fn numbers(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

/// Passes on what the client says, and a random number of bytes of what it is answered, then cuts the connection.
async fn cutting(to: SocketAddr, cuts: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(to).await.unwrap();
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let (mut asks, mut is_told) = client.split();
                let (answers, mut is_asked) = server.split();
                let mut some = answers.take(fastrand::u64(1..6_000));
                tokio::select! {
                    _ = tokio::io::copy(&mut asks, &mut is_asked) => {}
                    _ = tokio::io::copy(&mut some, &mut is_told) => {}
                }
                cuts.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_client_that_is_cut_off_again_and_again_sees_everything_once() {
    const EVENTS: u64 = 3_000;
    let topic: Topic<u64> = Topic::in_memory(4_096);
    let addr = serve(Router::new().sse(numbers).with_state(topic.clone())).await;
    let cuts = Arc::new(AtomicUsize::new(0));
    let proxy = cutting(addr, Arc::clone(&cuts)).await;
    let transport = HyperTransport::builder().build_http().unwrap();
    let soon = Duration::from_millis(1);
    let client = eventsource_client::ClientBuilder::for_url(&format!("http://{proxy}/numbers"))
        .unwrap()
        .reconnect(
            eventsource_client::ReconnectOptions::reconnect(true)
                .retry_initial(true)
                .delay(soon)
                .delay_max(soon)
                .build(),
        )
        .build_with_transport(transport);
    let mut events = client.stream();
    let mut seen = 0;
    // Half of it is there before it comes; the rest comes while it reads.
    for number in 1..=EVENTS / 2 {
        topic.publish(&number).await.unwrap();
    }
    let mut published = EVENTS / 2;
    while seen < EVENTS {
        let next = poll_fn(|cx| Stream::poll_next(Pin::new(&mut events), cx));
        // What was cut off is an error here, and it connects again.
        let Ok(SSE::Event(event)) = within("an event", next).await.unwrap() else {
            continue;
        };
        assert_eq!(event.event_type, "message", "{event:?}");
        assert_eq!(event.data, (seen + 1).to_string());
        seen += 1;
        while published < EVENTS && published < seen + 20 {
            published += 1;
            topic.publish(&published).await.unwrap();
        }
    }
    let cuts = cuts.load(Ordering::Relaxed);
    assert!(cuts > 10, "{cuts}");
}
