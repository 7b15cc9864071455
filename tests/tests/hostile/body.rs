//! Slow and endless request bodies.

use std::time::Duration;

use support::{Client, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

use super::{Bystander, LATE, LIMIT, MUCH, pour, read_all, send_and_read, server};

#[tokio::test]
async fn request_fails_if_its_body_does_not_arrive() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    let head = |framing: &str| {
        let head = "POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json";
        format!("{head}\r\n{framing}\r\n\r\n")
    };
    let stops = head("content-length: 100") + "[1,2,";
    let stops_in_a_chunk = head("transfer-encoding: chunked") + "64\r\n[1,2,";
    let drips = head("content-length: 1000000") + "[";
    let (stopped, stopped_in_a_chunk, dripped) = tokio::join!(
        send_and_read(addr, stops.as_bytes()),
        send_and_read(addr, stops_in_a_chunk.as_bytes()),
        async {
            let mut socket = TcpStream::connect(addr).await.unwrap();
            socket.write_all(drips.as_bytes()).await.unwrap();
            let (reads, mut writes) = socket.into_split();
            let dripping = async {
                while writes.write_all(b" ").await.is_ok() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::join!(read_all(reads), dripping).0
        },
    );
    for got in [stopped, stopped_in_a_chunk, dripped] {
        assert_eq!(got.status(), Some(400), "{got:?}");
        assert!(got.after > LIMIT / 2, "{got:?}");
        assert!(got.after < LIMIT + LATE, "{got:?}");
    }
    // Only the bystander's generator has started.
    assert_eq!(generators.count().started, 1);
    bystander.assert_undisturbed(addr).await;
}

/// Returns the chunk that is sent repeatedly.
fn chunk() -> Vec<u8> {
    [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat()
}

#[tokio::test]
async fn endless_body_is_not_buffered() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    // The extractor reads the body up to the size limit.
    let socket = TcpStream::connect(addr).await.unwrap();
    let head = b"POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let (_, got) = pour(socket, head, &chunk()).await;
    // If the server closes a socket that has unread bytes, the kernel sends a reset, which may
    // discard the response.
    assert_eq!(got.status().unwrap_or(413), 413, "{got:?}");

    // This body is neither read nor buffered.
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    let (socket, received) = client.into_parts();
    assert_eq!(received.len(), 0);
    let (mut reads, mut writes) = socket.into_split();
    let (sent, mut poured) = watch::channel(0);
    let pouring = tokio::spawn(async move {
        while writes.write_all(&chunk()).await.is_ok() {
            sent.send_modify(|len| *len += 0x10000);
        }
    });
    // Loop until the server has stopped reading for a while. Events continue to arrive meanwhile.
    let mut event = [0; 64];
    let mut quiet = 0;
    while quiet < 5 {
        let before = *poured.borrow_and_update();
        assert!(before < MUCH, "the server reads without limit");
        let len = within("an event", reads.read(&mut event)).await.unwrap();
        assert!(len > 0, "the stream ended");
        let has_moved = *poured.borrow() > before;
        quiet = if has_moved { 0 } else { quiet + 1 };
    }
    assert_eq!(generators.count().alive, 2);
    pouring.abort();
    let _ = pouring.await;
    drop(reads);
    generators.until_alive(1).await;
    bystander.assert_undisturbed(addr).await;
}

#[tokio::test]
async fn client_can_send_slowly_during_a_stream() {
    let (addr, generators) = server().await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /talk HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    // Each pause is longer than the body timeout, which applies only before the response starts.
    for word in ["one", "two", "six"] {
        sleep(LIMIT + LIMIT / 2).await;
        client.send(format!("3\r\n{word}\r\n").as_bytes()).await;
        assert_eq!(client.expect_chunk().await, format!("data: \"{word}\"\n\n"));
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.expect_chunk().await, "data: \"good-bye\"\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(generators.count().started, 1);
}
