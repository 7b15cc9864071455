//! [`Client`]: reads a topic, reconnects to random nodes, and records everything that it receives.
//!
//! There are two kinds of clients. Most of them read the bytes of the response, so that the bytes
//! of an event can be compared with those from other nodes. The others use `eventsource-client`,
//! which reconnects automatically. These clients reach the nodes through proxies that forward each
//! connection to a random node.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use fastrand::Rng;
use launchdarkly_sdk_transport::HyperTransport;
use sse_runtime::Stream;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    history::{History, Kind, parse},
    node::NUMBER,
};

/// The time within which a node must respond. A node that cannot open a topic responds after five
/// seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of the nodes that are running.
pub(crate) type Addresses = Arc<Mutex<Vec<Option<SocketAddr>>>>;

/// Determines the node to which a client connects, and when the client disconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Connects to random nodes, and disconnects after a random time.
    Roam,
    /// Stays connected to a random node.
    Stay,
    /// Stays connected to this node.
    At(usize),
    /// Stays connected, but does not read.
    Stuck,
    /// Stays disconnected.
    Away,
}

/// A client. It disconnects when dropped.
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) history: History,
    mode: watch::Sender<Mode>,
    task: AbortHandle,
}

impl Client {
    /// Starts a client that reads the bytes of the response to `path`.
    pub(crate) fn start(
        name: String,
        http: reqwest::Client,
        addresses: Addresses,
        path: &str,
        mode: Mode,
        history: History,
        rng: Rng,
    ) -> Self {
        let (sender, receiver) = watch::channel(mode);
        let reader = Reader {
            http,
            addresses,
            path: path.to_owned(),
            history: history.clone(),
            rng,
            mode: receiver,
            pause: Duration::ZERO,
        };
        Self {
            name,
            history,
            mode: sender,
            task: tokio::spawn(reader.run()).abort_handle(),
        }
    }

    /// Starts a client that uses `eventsource-client`.
    pub(crate) fn start_event_source(name: String, url: &str, history: History) -> Self {
        let reading = read_event_source(url.to_owned(), history.clone());
        Self {
            name,
            history,
            mode: watch::Sender::new(Mode::Stay),
            task: tokio::spawn(reading).abort_handle(),
        }
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    http: reqwest::Client,
    addresses: Addresses,
    path: String,
    history: History,
    rng: Rng,
    mode: watch::Receiver<Mode>,
    /// The time for which the client waits before it reconnects.
    pause: Duration,
}

impl Reader {
    async fn run(mut self) {
        loop {
            sleep(self.pause).await;
            self.pause = Duration::from_millis(self.rng.u64(5..40));
            let is_away = |mode: &Mode| *mode == Mode::Away;
            if self.mode.wait_for(|mode| !is_away(mode)).await.is_err() {
                return;
            }
            let mode = *self.mode.borrow_and_update();
            let Some((node, address)) = self.choose(mode) else {
                continue;
            };
            self.read(node, address).await;
        }
    }

    fn choose(&mut self, mode: Mode) -> Option<(usize, SocketAddr)> {
        let addresses = self.addresses.lock().unwrap();
        let running = addresses.iter().copied().enumerate();
        let running = running.filter_map(|(node, address)| Some((node, address?)));
        match mode {
            Mode::At(only) => { running }.find(|(node, _)| *node == only),
            _ => self.rng.choice(running.collect::<Vec<_>>()),
        }
    }

    /// Reads from a node until the connection is closed, or until the client must disconnect.
    async fn read(&mut self, node: usize, address: SocketAddr) {
        let last = self.history.last_id();
        let url = format!("http://{address}{}", self.path);
        let mut request = self
            .http
            .get(url)
            .header("accept", "text/event-stream")
            .header("cache-control", "no-cache");
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        let mut response = match timeout(PATIENCE, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return,
            Err(_) => {
                self.history.record(Some(node), Kind::Unanswered { last });
                return;
            }
        };
        let status = response.status().as_u16();
        self.history
            .record(Some(node), Kind::Opened { status, last });
        if status != 200 {
            // A browser does not reconnect after a 204.
            self.pause = Duration::from_millis(if status == 204 { 300 } else { 50 });
            return;
        }
        let end = Instant::now() + Duration::from_millis(self.rng.u64(1..600));
        let mut buffer = BytesMut::new();
        loop {
            let mode = *self.mode.borrow_and_update();
            let leaves = match mode {
                Mode::Roam => Instant::now() >= end,
                Mode::Stay | Mode::Stuck => false,
                Mode::At(wanted) => wanted != node,
                Mode::Away => true,
            };
            if leaves {
                break;
            }
            let chunk = tokio::select! {
                chunk = response.chunk(), if mode != Mode::Stuck => chunk,
                () = sleep_until(end), if mode == Mode::Roam => continue,
                changed = self.mode.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
            };
            let Ok(Some(chunk)) = chunk else { break };
            buffer.extend_from_slice(&chunk);
            self.record_frames(node, &mut buffer);
        }
        self.history.record(Some(node), Kind::Broken);
    }

    /// Records all complete frames in the buffer.
    fn record_frames(&self, node: usize, buffer: &mut BytesMut) {
        while let Some(end) = after_blank_line(buffer) {
            let frame = buffer.split_to(end).freeze();
            if let Some(kind) = parse_frame(&frame) {
                self.history.record(Some(node), kind);
            }
        }
    }
}

/// Returns the index after the first blank line.
fn after_blank_line(buffer: &[u8]) -> Option<usize> {
    let found = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    Some(found + 2)
}

fn parse_frame(frame: &Bytes) -> Option<Kind> {
    let text = std::str::from_utf8(frame).unwrap();
    let (mut name, mut id, mut data) = ("message", None, None);
    for line in text.lines() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("event", value) => name = value,
            ("id", value) => id = Some(value.to_owned()),
            ("data", value) => data = Some(value.to_owned()),
            ("retry" | "" | ":", _) => {}
            _ => panic!("an unexpected line: {line:?}"),
        }
    }
    // A keep-alive or the reconnection time may precede the event.
    let mut event = text;
    while event.starts_with([':', 'r']) {
        event = &event[event.find('\n')? + 1..];
    }
    let event = frame.slice_ref(event.as_bytes());
    parse(name, id, data, Some(event))
}

async fn read_event_source(url: String, history: History) {
    let transport = HyperTransport::builder().build_http().unwrap();
    let delay = Duration::from_millis(20);
    let reconnect = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(delay)
        .delay_max(delay)
        .build();
    let client = ClientBuilder::for_url(&url)
        .unwrap()
        .reconnect(reconnect)
        .build_with_transport(transport);
    let mut events = client.stream();
    let mut node = None;
    loop {
        let next = poll_fn(|cx| Stream::poll_next(Pin::new(&mut events), cx));
        match next.await.unwrap() {
            Ok(SSE::Event(event)) => {
                let kind = parse(&event.event_type, event.id, Some(event.data), None);
                history.record(node, kind.unwrap());
            }
            Ok(SSE::Connected(details)) => {
                let number = details.response().get_header_value(NUMBER);
                node = number.ok().flatten().and_then(|number| number.parse().ok());
                let status = details.response().status();
                let last = history.last_id();
                history.record(node, Kind::Opened { status, last });
            }
            Ok(SSE::Comment(_)) => {}
            // The client reports a lost connection as an error and then reconnects.
            Err(_) => history.record(node, Kind::Broken),
        }
    }
}
