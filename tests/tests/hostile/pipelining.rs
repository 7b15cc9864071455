//! Requests pipelined after a stream request, and disconnects that the server must notice despite
//! such requests.

use support::{Client, serve_as, within};
use tokio::io::AsyncWriteExt as _;

use super::{app, impatient, read_all, server};

fn plain_requests(numbers: std::ops::Range<usize>) -> String {
    let request = |number| format!("GET /plain/{number} HTTP/1.1\r\nhost: test\r\n\r\n");
    numbers.map(request).collect()
}

#[tokio::test]
async fn disconnect_is_noticed_despite_pipelined_requests() {
    let (addr, generators) = server().await;
    let about_60_kb = 60_000 / plain_requests(10_000..10_001).len();
    for count in [1, 40, about_60_kb] {
        let requests = plain_requests(10_000..10_000 + count);
        // The pipelined requests are sent either in the same write as the stream request or after
        // the first event.
        for together in [true, false] {
            let head = "GET /quiet HTTP/1.1\r\nhost: test\r\n\r\n";
            let mut client = Client::connect(addr).await;
            if together {
                client.send((head.to_owned() + &requests).as_bytes()).await;
            } else {
                client.send(head.as_bytes()).await;
            }
            client.head().await;
            client.expect_chunk().await;
            if !together {
                client.send(requests.as_bytes()).await;
            }
            assert_eq!(generators.count().alive, 1);
            drop(client);
            generators.until_alive(0).await;
        }
    }
}

#[tokio::test]
async fn disconnect_before_response_is_noticed_if_pipelined() {
    let (addr, generators) = server().await;
    for (round, requests) in [1, 40].into_iter().enumerate() {
        for together in [true, false] {
            let head = "GET /before HTTP/1.1\r\nhost: test\r\n\r\n".to_owned();
            let requests = plain_requests(0..requests);
            let mut client = Client::connect(addr).await;
            let started = 2 * round + 1 + usize::from(!together);
            if together {
                client.send((head + &requests).as_bytes()).await;
                generators.until_started(started).await;
            } else {
                client.send(head.as_bytes()).await;
                generators.until_started(started).await;
                client.send(requests.as_bytes()).await;
            }
            drop(client);
            generators.until_alive(0).await;
        }
    }
}

/// Like hyper, the server treats a client that shuts down its sending side as disconnected.
#[tokio::test]
async fn half_close_counts_as_disconnect() {
    let (addr, generators) = server().await;
    for requests in [0, 3] {
        let mut client = Client::get(addr, "/quiet").await;
        client.head().await;
        client.expect_chunk().await;
        client.send(plain_requests(0..requests).as_bytes()).await;
        let (mut socket, _) = client.into_parts();
        socket.shutdown().await.unwrap();
        generators.until_alive(0).await;
        let got = read_all(socket).await;
        assert_eq!(got.bytes, b"", "{got:?}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    const FIRST: usize = 10;
    const ALL: usize = 1_000;
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let mut client = Client::connect(addr).await;
    let head = "GET /gate HTTP/1.1\r\nhost: test\r\n\r\n".to_owned();
    client
        .send((head + &plain_requests(0..FIRST)).as_bytes())
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    // The requests arrive during the stream and are split at arbitrary positions.
    for piece in plain_requests(FIRST..ALL).as_bytes().chunks(4_321) {
        client.send(piece).await;
    }
    assert_eq!(generators.count().alive, 1);
    open.send_replace(true);
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    let mut text = client.read_to(&format!("<{}>", ALL - 1)).await;
    for number in 0..ALL {
        let response = format!("<{number}>");
        let at = text.find(&response).expect("a response to each request");
        assert_eq!(text[..at].matches("HTTP/1.1 200 OK").count(), 1);
        text.drain(..at + response.len());
    }
}

/// `axum::serve` does not read past a pipelined request during a stream, so it notices a disconnect
/// only when it fails to write a keep-alive.
#[tokio::test]
async fn axum_serve_notices_pipelined_disconnect_later() {
    let (app, generators, _open) = app();
    let addr = support::serve_plain(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"GET /kept-alive HTTP/1.1\r\nhost: test\r\n\r\nGET /plain/1 HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    client.head().await;
    client.expect_chunk().await;
    drop(client);
    within("the keep-alive to fail", generators.until_gone()).await;
}
