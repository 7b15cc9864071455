//! Clients that read numbered events over HTTP/1 and HTTP/2 and check their order.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::{error_text, within};

/// The totals over all clients.
#[derive(Debug, Default)]
pub struct Received {
    pub events: AtomicU64,
    pub bytes: AtomicU64,
    pub delays: Delays,
}

/// A histogram of delivery delays. Each delay lasts from when the server yields an event until the
/// client receives that event.
#[derive(Debug)]
pub struct Delays([AtomicU64; BUCKETS]);

const BUCKETS: usize = 128;

impl Default for Delays {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Delays {
    /// Records a delay. There are four buckets per power of two.
    fn add(&self, microseconds: u64) {
        let log = microseconds.max(4).ilog2();
        let quarter = (microseconds.max(4) >> (log - 2)) & 3;
        let bucket = usize::try_from(u64::from(log) * 4 + quarter);
        let bucket = bucket.unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the delay at the quantile `part` in microseconds, accurate to within 20%.
    pub fn quantile(&self, part: f64) -> u64 {
        let counts: Vec<u64> = self.0.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let wanted = counts.iter().sum::<u64>() as f64 * part;
        let mut so_far = 0;
        for (bucket, count) in counts.iter().enumerate() {
            so_far += count;
            if so_far as f64 >= wanted {
                let (log, quarter) = (bucket / 4, bucket % 4);
                return (5 + quarter as u64) << log >> 2;
            }
        }
        0
    }
}

/// How a response ended on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    /// The response was cut off. Contains the client's error message.
    CutOff(String),
}

/// A frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event with the expected number.
    Event,
    /// `event: error`.
    Error,
    /// `event: close`, with its reason.
    Close(String),
    /// A `retry` field without an event.
    Retry,
    End(End),
}

/// A stream as seen by a client.
pub struct Events<'a> {
    pub status: u16,
    body: Body,
    text: BytesMut,
    next: u64,
    received: &'a Received,
}

enum Body {
    Http1 { socket: TcpStream, raw: BytesMut },
    Http2(RecvStream),
}

impl<'a> Events<'a> {
    /// Reads the response head from a socket on which the request has already been sent.
    pub async fn http1(mut socket: TcpStream, received: &'a Received) -> Result<Self, String> {
        let mut raw = BytesMut::new();
        let end = loop {
            if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let read = within("a response head", socket.read_buf(&mut raw)).await?;
            if read.map_err(error_text)? == 0 {
                return Err(NO_HEAD.to_owned());
            }
        };
        let head = raw.split_to(end);
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| format!("no head: {head:?}"))?;
        Ok(Self::new(status, Body::Http1 { socket, raw }, received))
    }

    fn new(status: u16, body: Body, received: &'a Received) -> Self {
        Self {
            status,
            body,
            text: BytesMut::new(),
            next: 0,
            received,
        }
    }

    /// Returns the number of events received so far.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// Reads until `events` events have been received.
    pub async fn read(&mut self, events: u64) -> Result<(), String> {
        while self.next < events {
            match self.frame().await? {
                Frame::Event => {}
                other => return Err(format!("{other:?} after {} of {events}", self.next)),
            }
        }
        Ok(())
    }

    /// Reads until the response ends. Returns the frame that follows the events, if there is one,
    /// and how the response ended.
    pub async fn rest(&mut self) -> Result<(Option<Frame>, End), String> {
        let mut last = None;
        loop {
            match self.frame().await? {
                Frame::End(end) => return Ok((last, end)),
                Frame::Event if last.is_none() => {}
                frame if last.is_none() => last = Some(frame),
                frame => return Err(format!("{frame:?} after {last:?}")),
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, String> {
        loop {
            while let Some(len) = frame_len(&self.text) {
                let frame = self.text.split_to(len);
                let frame = std::str::from_utf8(&frame).map_err(error_text)?;
                if let Some(frame) = self.understand(frame.trim_end())? {
                    return Ok(frame);
                }
            }
            match within("an event", self.body.data()).await?? {
                Ok(data) => {
                    let len = data.len() as u64;
                    self.received.bytes.fetch_add(len, Ordering::Relaxed);
                    self.text.extend_from_slice(&data);
                }
                Err(End::Clean) if !self.text.is_empty() => {
                    return Err(format!(
                        "the response ended cleanly in the middle of a frame: {:?}",
                        self.text
                    ));
                }
                Err(end) => return Ok(Frame::End(end)),
            }
        }
    }

    /// Parses a frame. Returns `None` for a comment.
    fn understand(&mut self, frame: &str) -> Result<Option<Frame>, String> {
        if let Some(data) = frame.strip_prefix("data: ") {
            let (number, at): (u64, u64) = serde_json::from_str(data).map_err(error_text)?;
            if number != self.next {
                return Err(format!("expected event {}, found {number}", self.next));
            }
            self.next += 1;
            self.received.events.fetch_add(1, Ordering::Relaxed);
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_micros();
            let now = u64::try_from(now).unwrap_or_default();
            self.received.delays.add(now.saturating_sub(at));
            return Ok(Some(Frame::Event));
        }
        if frame.starts_with("event: error\n") {
            return Ok(Some(Frame::Error));
        }
        if let Some(data) = frame.strip_prefix("event: close\ndata: ") {
            return Ok(Some(Frame::Close(data.to_owned())));
        }
        if frame.starts_with("retry: ") {
            return Ok(Some(Frame::Retry));
        }
        if frame.starts_with(':') {
            return Ok(None);
        }
        Err(format!("unexpected frame: {frame:?}"))
    }

    /// Returns the HTTP/1 socket so that the caller can close it.
    pub fn into_socket(self) -> Option<TcpStream> {
        match self.body {
            Body::Http1 { socket, .. } => Some(socket),
            Body::Http2(_) => None,
        }
    }
}

/// Returns the length of the first frame if it is complete. A comment or a `retry` field ends at
/// the end of its line, whereas an event ends with an empty line.
fn frame_len(text: &[u8]) -> Option<usize> {
    let is_line = text.starts_with(b":") || text.starts_with(b"retry: ");
    let end: &[u8] = if is_line { b"\n" } else { b"\n\n" };
    let at = text.windows(end.len()).position(|found| found == end)?;
    Some(at + end.len())
}

/// The error returned if the connection closes before the response head is complete.
pub const NO_HEAD: &str = "the connection closed before the response head was complete";

impl Body {
    /// Returns the next bytes, or how the response ended.
    async fn data(&mut self) -> Result<Result<Bytes, End>, String> {
        match self {
            Self::Http1 { socket, raw } => loop {
                if let Some(at) = raw.windows(2).position(|two| two == b"\r\n") {
                    let size = String::from_utf8_lossy(&raw[..at]).into_owned();
                    let size = usize::from_str_radix(&size, 16);
                    let size = size.map_err(|_| format!("invalid chunk: {raw:?}"))?;
                    if raw.len() >= at + 2 + size + 2 {
                        raw.advance(at + 2);
                        let data = raw.split_to(size).freeze();
                        raw.advance(2);
                        return Ok(if size == 0 { Err(End::Clean) } else { Ok(data) });
                    }
                }
                match socket.read_buf(raw).await {
                    Ok(0) => return Ok(Err(End::CutOff("closed".to_owned()))),
                    Err(error) => return Ok(Err(End::CutOff(error.to_string()))),
                    Ok(_) => {}
                }
            },
            Self::Http2(body) => Ok(match body.data().await {
                Some(Ok(data)) => {
                    let released = body.flow_control().release_capacity(data.len());
                    released.map_err(error_text)?;
                    Ok(data)
                }
                Some(Err(error)) => Err(End::CutOff(error.to_string())),
                None => Err(End::Clean),
            }),
        }
    }
}

/// An HTTP/2 connection that is closed on drop.
pub struct Http2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Http2 {
    pub async fn connect(addr: SocketAddr) -> Result<Self, String> {
        let socket = TcpStream::connect(addr).await.map_err(error_text)?;
        // Use windows as large as a browser's. A stream that the test does not read then cannot use
        // up the connection's window, which would block the other streams. With windows of 64 KiB,
        // h2 would also mistake a few hundred small unread events for an attack.
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(16 << 20);
        let (send, connection) = builder.handshake(socket).await.map_err(error_text)?;
        let driver = tokio::spawn(async move {
            // The error can be ignored here, because every client that is waiting for a stream on
            // this connection also receives the error.
            let _ = connection.await;
        });
        Ok(Self { send, driver })
    }

    /// Sends a request without waiting for the response.
    pub async fn send(&self, path: &str) -> Result<h2::client::ResponseFuture, String> {
        let ready = self.send.clone().ready();
        let mut send = within("capacity for another stream", ready)
            .await?
            .map_err(error_text)?;
        let request = http::Request::get(format!("http://test{path}")).body(());
        let request = request.map_err(error_text)?;
        let (response, _) = send.send_request(request, true).map_err(error_text)?;
        Ok(response)
    }

    pub async fn get<'a>(&self, path: &str, received: &'a Received) -> Result<Events<'a>, String> {
        let response = self.send(path).await?;
        let response = within("a response head", response).await?;
        // If the handler panics before the response starts, the server resets the stream, so the
        // client never receives a response head.
        let response = response.map_err(|_| NO_HEAD.to_owned())?;
        let status = response.status().as_u16();
        let body = Body::Http2(response.into_body());
        Ok(Events::new(status, body, received))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens an HTTP/1 connection and sends `sent`.
pub async fn http1(addr: SocketAddr, sent: &str) -> Result<TcpStream, String> {
    let mut socket = TcpStream::connect(addr).await.map_err(error_text)?;
    socket
        .write_all(sent.as_bytes())
        .await
        .map_err(error_text)?;
    Ok(socket)
}
