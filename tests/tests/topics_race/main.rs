//! Tests topics over real sockets under load, with readers that are cut off, stop reading, or
//! reconnect while events are published.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod encoding;
mod event_source;
mod million;
mod slow;

use std::net::SocketAddr;

use sse_runtime::{Start, Topic};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

/// Returns the epoch in a topic's IDs.
fn epoch<T: Send + Sync + 'static>(topic: &Topic<T>) -> String {
    let position = topic.subscribe(Start::Now).position().to_string();
    position.split_once('-').unwrap().0.to_owned()
}

async fn ask(mut socket: TcpStream, path: &str, id: &str) -> TcpStream {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Returns a client with a small receive buffer. With an even smaller buffer, each segment would
/// have to wait for a delayed acknowledgement.
async fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(addr).await.unwrap()
}

/// The events and gaps that a client received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    events: u64,
    last: u64,
    gaps: Vec<(String, u64)>,
    /// The sequence numbers of the events after the last gap.
    rest: Vec<u64>,
    /// The final frame, if it is neither an event nor a gap.
    end: Option<String>,
}

/// Tallies the frames. Asserts that the only missing events are those counted in a gap.
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
            // With `latest_by`, the gap's ID is the position that the client already had.
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
            assert!(id > account.last, "{id} after {}", account.last);
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
