//! Upgrade requests on a connection that also carries streams.

use support::Client;

use super::{app, ask, expect_two, serve};

#[tokio::test]
async fn connection_can_be_upgraded_after_a_stream() {
    let mut client = Client::connect(serve(app()).await).await;
    let upgrade =
        "GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";
    client.send((ask("/two") + upgrade).as_bytes()).await;
    expect_two(&mut client).await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.rest().await, "hello");
}

/// The server ignores the upgrade header and sends a stream.
#[tokio::test]
async fn upgrade_request_can_be_answered_with_a_stream() {
    let mut client = Client::connect(serve(app()).await).await;
    let request = "GET /two HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    client.send(request.repeat(2).as_bytes()).await;
    expect_two(&mut client).await;
    expect_two(&mut client).await;
}
