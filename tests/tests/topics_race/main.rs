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

use support::Store;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

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
    /// The ID of the last event or gap.
    last_id: String,
    gaps: Vec<(String, u64)>,
    /// The sequence numbers of the events after the last gap.
    rest: Vec<u64>,
    /// The final frame, if it is neither an event nor a gap.
    end: Option<String>,
}

/// Tallies the frames. Asserts that the only missing events are those counted in a gap.
fn account(store: &Store, stream: &str, behind: u64) -> Account {
    let mut account = Account {
        last: behind,
        ..Account::default()
    };
    for frame in stream.split_terminator("\n\n") {
        if let Some(gap) = frame.strip_prefix("event: gap\n") {
            let (id, data) = gap.split_once('\n').unwrap();
            let data: serde_json::Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
            let missed = data["missed"].as_u64().unwrap();
            let id = id.strip_prefix("id: ").unwrap();
            assert!(missed > 0);
            // With `latest_by`, the gap's ID is the position that the client already had.
            let by_key = store.number(id) == account.last;
            if !by_key {
                account.last += missed;
                assert_eq!(store.number(id), account.last, "{gap}");
            }
            account.last_id = id.to_owned();
            let reason = data["reason"].as_str().unwrap().to_owned();
            account.gaps.push((reason, missed));
            account.rest.clear();
        } else if frame.starts_with("id: ") && frame.contains("\ndata: ") {
            let id = frame["id: ".len()..].lines().next().unwrap();
            let number = store.number(id);
            assert!(number > account.last, "{number} after {}", account.last);
            if account.gaps.is_empty() {
                assert_eq!(number, account.last + 1);
            }
            account.last = number;
            account.last_id = id.to_owned();
            account.events += 1;
            account.rest.push(number);
        } else {
            account.end = Some(frame.to_owned());
        }
    }
    account
}
