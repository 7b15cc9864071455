//! The ways in which a stream can end, and the clients that cause or observe them.
//!
//! This file exceeds 450 lines because it keeps everything about a cause in one place, including
//! the reasons that the server may report and the client's behaviour.

use std::{net::SocketAddr, time::Duration};

use fastrand::Rng;
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::TcpSocket,
    sync::watch,
};

use super::{
    client::{End, Events, Frame, Http2, NO_HEAD, Received, http1},
    error_text, within,
};

/// The reason why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    // Caused by the client.
    Closed,
    Reset,
    HalfHead,
    HalfBody,
    HalfBodyUnread,
    Pipelined,
    LeftBeforeHead,
    HeadOnly,
    StreamReset,
    ConnectionDropped,
    Stalled,
    // Caused by the server.
    Finished,
    Failed,
    Rejected,
    Panicked,
    Expired,
    Revoked,
    MaxDuration,
    /// The client stays connected until the server stops.
    Shutdown,
}

use Cause::*;

/// The causes that are tested in waves. The remaining causes are not included, because they take a
/// long time or require the server to stop.
pub const CAUSES: [Cause; 17] = [
    Closed,
    Reset,
    HalfHead,
    HalfBody,
    HalfBodyUnread,
    Pipelined,
    LeftBeforeHead,
    HeadOnly,
    StreamReset,
    ConnectionDropped,
    Finished,
    Failed,
    Rejected,
    Panicked,
    Expired,
    Revoked,
    MaxDuration,
];

impl Cause {
    /// Returns the cause's name as it appears in paths and in the server's counters.
    pub fn name(self) -> &'static str {
        match self {
            Closed => "closed",
            Reset => "reset",
            HalfHead => "half_head",
            HalfBody => "half_body",
            HalfBodyUnread => "half_body_unread",
            Pipelined => "pipelined",
            LeftBeforeHead => "left_before_head",
            HeadOnly => "head_only",
            StreamReset => "stream_reset",
            ConnectionDropped => "connection_dropped",
            Stalled => "stalled",
            Finished => "finished",
            Failed => "failed",
            Rejected => "rejected",
            Panicked => "panicked",
            Expired => "expired",
            Revoked => "revoked",
            MaxDuration => "max_duration",
            Shutdown => "shutdown",
        }
    }

    /// Returns the reasons that the server may report for this cause.
    fn reasons(self) -> &'static [&'static str] {
        match self {
            // No stream starts.
            HalfHead => &[],
            // Depending on which happens first, the extractor fails or is dropped.
            HalfBody => &["rejected", "client_gone"],
            Closed | Reset | HalfBodyUnread | Pipelined | LeftBeforeHead | HeadOnly
            | StreamReset | ConnectionDropped => &["client_gone"],
            Failed => &["failed"],
            Rejected => &["rejected"],
            Stalled | Finished | Panicked | Expired | Revoked | MaxDuration | Shutdown => {
                std::slice::from_ref(match self {
                    Stalled => &"stalled",
                    Finished => &"finished",
                    Panicked => &"panicked",
                    Expired => &"expired",
                    Revoked => &"revoked",
                    MaxDuration => &"max_duration",
                    _ => &"shutdown",
                })
            }
        }
    }

    /// Parses `ending`, which has the form `cause reason`, and returns whether the server may
    /// report this reason for this cause.
    pub fn explains(ending: &str) -> bool {
        let all = CAUSES.iter().chain(&[Stalled, Shutdown]);
        ending.split_once(' ').is_some_and(|(name, reason)| {
            all.into_iter()
                .any(|cause| cause.name() == name && cause.reasons().contains(&reason))
        })
    }
}

/// A stream to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub cause: Cause,
    pub http2: bool,
    /// The number of events before the stream ends. If this is 0, the stream may end before the
    /// response starts.
    pub events: u64,
    /// How long the server waits after each event.
    pub pace: Duration,
    /// The number of events that the server sends in addition to `events`. The client disconnects
    /// without reading these additional events.
    pub more: u64,
    /// The first wave in which the server may end the stream. This wave matters only if the server,
    /// rather than the client, ends the stream.
    pub wave: u64,
}

/// A gate that holds clients back until the test opens it.
pub struct Gate {
    ready: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
}

impl Gate {
    /// Creates a gate. Clients pass an open gate without waiting.
    pub fn new(is_open: bool) -> Self {
        Self {
            ready: watch::Sender::new(0),
            is_open: watch::Sender::new(is_open),
        }
    }

    async fn pass(&self) {
        self.ready.send_modify(|ready| *ready += 1);
        let mut opened = self.is_open.subscribe();
        // Waiting cannot fail, because `self` owns the sender.
        let _ = opened.wait_for(|is_open| *is_open).await;
    }

    /// Waits until `clients` clients are waiting at the gate.
    pub async fn until_ready(&self, clients: usize) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|ready| *ready >= clients).await;
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

impl Case {
    /// Returns a random case with this cause.
    pub fn random(cause: Cause, rng: &mut Rng, most_events: u64) -> Self {
        let pace = [0, 0, 100, 1_000, 10_000][rng.usize(..5)];
        let is_fast = pace < 10_000;
        Self {
            cause,
            http2: rng.bool(),
            events: rng.u64(
                ..=if is_fast {
                    most_events
                } else {
                    most_events / 10
                },
            ),
            pace: Duration::from_micros(pace),
            more: [0, 200][rng.usize(..2)],
            wave: 0,
        }
    }

    /// Adjusts the number of events to the cause. If the client waits for an event, the server must
    /// send at least one. If the client never reads an event, the server need not send any.
    fn possible(self) -> Self {
        let (events, more) = match self.cause {
            Closed | Reset | Pipelined | StreamReset | ConnectionDropped | HalfBodyUnread => {
                (self.events.max(1), self.more)
            }
            Shutdown => (self.events.max(1), 0),
            LeftBeforeHead | Stalled => (0, 0),
            _ => (self.events, 0),
        };
        Self {
            events,
            more,
            ..self
        }
    }

    fn path(&self, endpoint: &str) -> String {
        format!(
            "/{endpoint}/{}/{}/{}/{}",
            self.cause.name(),
            self.events + self.more,
            self.pace.as_micros(),
            self.wave
        )
    }

    /// Returns the head of the HTTP/1 request without the final blank line.
    fn request(&self, method: &str, endpoint: &str) -> String {
        let path = self.path(endpoint);
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\n")
    }
}

/// State that the clients share.
pub struct Clients {
    pub addr: SocketAddr,
    /// HTTP/2 connections for streams that can share a connection.
    pub shared: Vec<Http2>,
    pub received: Received,
}

/// The number of streams that are open on an HTTP/2 connection when the client drops that
/// connection.
pub const ON_ONE: usize = 4;

impl Clients {
    pub async fn new(addr: SocketAddr) -> Result<Self, String> {
        let mut this = Self::unconnected(addr);
        this.connect().await?;
        Ok(this)
    }

    pub fn unconnected(addr: SocketAddr) -> Self {
        Self {
            addr,
            shared: Vec::new(),
            received: Received::default(),
        }
    }

    /// Opens the shared connections.
    pub async fn connect(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            self.shared.push(Http2::connect(self.addr).await?);
        }
        Ok(())
    }

    /// Requests one stream, waits until it has ended, and checks the frames that the client
    /// receives. The client waits at the gate before it takes the action that ends the stream, such
    /// as closing the connection.
    pub async fn run(&self, case: Case, gate: &Gate) -> Result<(), String> {
        let case = case.possible();
        let result = self.run_case(&case, gate).await;
        result.map_err(|error| format!("{case:?}: {error}"))
    }

    async fn run_case(&self, case: &Case, gate: &Gate) -> Result<(), String> {
        let addr = self.addr;
        match case.cause {
            Closed | Reset | Pipelined => {
                let mut events = self.get_http1(case, "stream").await?;
                events.read(case.events).await?;
                gate.pass().await;
                let mut socket = events.into_socket().ok_or("no HTTP/1 socket")?;
                match case.cause {
                    Reset => socket.set_zero_linger().map_err(error_text)?,
                    Pipelined => {
                        let more = format!("{}x: ", case.request("GET", "stream"));
                        socket
                            .write_all(more.as_bytes())
                            .await
                            .map_err(error_text)?;
                    }
                    _ => {}
                }
            }
            HalfHead => {
                let _socket = http1(addr, &case.request("GET", "stream")).await?;
                gate.pass().await;
            }
            HalfBody | HalfBodyUnread => {
                let is_read = case.cause == HalfBody;
                let endpoint = if is_read { "upload" } else { "unread" };
                let half = "x".repeat(2_000);
                let head = case.request("POST", endpoint);
                let sent = format!("{head}content-length: 4000\r\n\r\n{half}");
                let socket = http1(addr, &sent).await?;
                if is_read {
                    gate.pass().await;
                } else {
                    let mut events = Events::http1(socket, &self.received).await?;
                    events.read(case.events).await?;
                    gate.pass().await;
                }
            }
            LeftBeforeHead => {
                if case.http2 {
                    // Use a separate connection, because the server disconnects a client that
                    // resets many streams on one connection before they have started.
                    let connection = Http2::connect(addr).await?;
                    let _response = connection.send(&case.path("stream")).await?;
                    gate.pass().await;
                } else {
                    let sent = format!("{}\r\n", case.request("GET", "stream"));
                    let _socket = http1(addr, &sent).await?;
                    gate.pass().await;
                }
            }
            HeadOnly => {
                let head = format!("{}\r\n", case.request("HEAD", "short"));
                let socket = http1(addr, &head).await?;
                let _events = Events::http1(socket, &self.received).await?;
                gate.pass().await;
            }
            StreamReset => {
                let mut events = self.get_http2(case, "stream").await?;
                events.read(case.events).await?;
                gate.pass().await;
            }
            ConnectionDropped => self.drop_connection(case, gate).await?,
            Stalled => self.stall(case, gate).await?,
            Finished | Failed | Rejected | Panicked | Expired | Revoked | MaxDuration
            | Shutdown => self.stay(case, gate).await?,
        }
        Ok(())
    }

    /// Opens several streams on an HTTP/2 connection, then drops the connection.
    async fn drop_connection(&self, case: &Case, gate: &Gate) -> Result<(), String> {
        let connection = Http2::connect(self.addr).await?;
        let path = case.path("stream");
        let mut all = Vec::new();
        for _ in 0..ON_ONE {
            let mut events = connection.get(&path, &self.received).await?;
            events.read(case.events).await?;
            all.push(events);
        }
        gate.pass().await;
        drop(connection);
        Ok(())
    }

    /// Stops reading until the server resets the connection.
    async fn stall(&self, case: &Case, gate: &Gate) -> Result<(), String> {
        // Request the smallest receive buffer.
        let socket = TcpSocket::new_v4().map_err(error_text)?;
        socket.set_recv_buffer_size(4096).map_err(error_text)?;
        let mut socket = socket.connect(self.addr).await.map_err(error_text)?;
        let request = format!("{}\r\n", case.request("GET", "flood"));
        socket
            .write_all(request.as_bytes())
            .await
            .map_err(error_text)?;
        gate.pass().await;
        // When the server disconnects a stalled client, it discards the unsent data, so the client
        // sees a connection reset.
        within("the server to disconnect", async {
            while !socket.ready(Interest::ERROR).await?.is_error() {}
            std::io::Result::Ok(())
        })
        .await?
        .map_err(error_text)
    }

    /// Reads until the server ends the stream.
    async fn stay(&self, case: &Case, gate: &Gate) -> Result<(), String> {
        let has_response = case.events > 0 && case.cause != Rejected;
        if !has_response {
            gate.pass().await;
        }
        let endpoint = if case.cause == MaxDuration {
            "short"
        } else {
            "stream"
        };
        let events = if case.http2 {
            self.get_http2(case, endpoint).await
        } else {
            self.get_http1(case, endpoint).await
        };
        let mut events = match events {
            // Without events, the panic happens before the response starts. With HTTP/2, a panic
            // resets the stream and discards the stream's unsent data, which may include the
            // response head.
            Err(error)
                if error == NO_HEAD
                    && case.cause == Panicked
                    && (case.events == 0 || case.http2) =>
            {
                return Ok(());
            }
            events => events?,
        };
        let status = match (case.cause, case.events) {
            (Rejected, _) | (Revoked, 0) => 403,
            (Expired, 0) => 401,
            (Finished, 0) => 204,
            (Shutdown, 0) => 503,
            _ => 200,
        };
        if events.status != status {
            return Err(format!("expected status {status}, got {}", events.status));
        }
        if status != 200 {
            return Ok(());
        }
        if case.cause == MaxDuration {
            gate.pass().await;
        } else {
            let may_lose = case.cause == Panicked && case.http2;
            if !may_lose {
                events.read(case.events).await?;
            }
            if has_response {
                gate.pass().await;
            }
        }
        let (last, end) = events.rest().await?;
        let goodbye = match case.cause {
            Failed => Some(Frame::Error),
            Expired => Some(Frame::Close(r#"{"reason":"expired"}"#.to_owned())),
            Revoked => Some(Frame::Close(r#"{"reason":"revoked"}"#.to_owned())),
            Shutdown => Some(Frame::Retry),
            _ => None,
        };
        let is_clean = end == End::Clean;
        if last != goodbye || is_clean == (case.cause == Panicked) {
            return Err(format!(
                "unexpected end: {last:?}, then {end:?}, after {} events",
                events.count()
            ));
        }
        if case.cause != MaxDuration && events.count() > case.events {
            return Err(format!("too many events: {}", events.count()));
        }
        Ok(())
    }

    async fn get_http1(&self, case: &Case, endpoint: &str) -> Result<Events<'_>, String> {
        let request = format!("{}\r\n", case.request("GET", endpoint));
        let socket = http1(self.addr, &request).await?;
        Events::http1(socket, &self.received).await
    }

    async fn get_http2(&self, case: &Case, endpoint: &str) -> Result<Events<'_>, String> {
        let connection = fastrand::choice(&self.shared).ok_or("no connection")?;
        connection.get(&case.path(endpoint), &self.received).await
    }
}
