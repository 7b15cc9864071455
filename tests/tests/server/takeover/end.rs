//! How a stream ends, and what happens to its connection afterwards.

use std::time::Duration;

use axum::{Router, extract::State};
use sse_runtime::{Server, Shutdown, Start, Stream, Text, Topic, sse_endpoint};
use tokio::net::TcpListener;

use support::{Client, CutOff, SseRouterExt as _, soon};

use super::{app, ask, expect_page, expect_two, serve, two};

const TWO: &str = "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n";

#[tokio::test]
async fn connection_closes_if_the_head_announced_it() {
    let addr = serve(app()).await;
    for request in [
        "GET /two HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "GET /two HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::connect(addr).await;
        client.send(request.as_bytes()).await;
        let head = client.head().await;
        let rest = soon("the connection to close", client.rest()).await;
        let is_chunked = head.get("transfer-encoding").is_some();
        let body = if is_chunked {
            TWO
        } else {
            "data: 1\n\ndata: 2\n\n"
        };
        assert_eq!(rest, body);
    }
}

/// If a socket with unread bytes is closed, the kernel sends a reset, which discards data that the
/// client has not read.
#[tokio::test]
async fn excess_request_bytes_do_not_cut_the_stream() {
    const EVENTS: usize = 300;
    #[sse_endpoint("/much")]
    async fn much() -> impl Stream<Item = Text<String>> {
        for _ in 0..EVENTS {
            yield_!(Text("x".repeat(1000)));
        }
    }
    let addr = serve(Router::new().sse(much)).await;
    let mut client = Client::connect_narrow(addr).await;
    client
        .send(b"GET /much HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    client.head().await;
    for _ in 0..20 {
        client.send(&[b'x'; 10_000]).await;
        for _ in 0..10 {
            assert_eq!(client.expect_chunk().await.len(), 1008);
        }
    }
    // The server finished the stream long ago but must not close the connection while the client is
    // still sending.
    for _ in 200..EVENTS {
        client.send(b"and so on").await;
        assert_eq!(client.expect_chunk().await.len(), 1008);
    }
    assert_eq!(client.chunk().await, Ok(None));
}

/// Panics after the first event.
#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = u32> {
    yield_!(1);
    tokio::task::yield_now().await;
    panic!("on purpose");
}

#[tokio::test]
async fn failed_stream_drops_pipelined_requests() {
    let addr = serve(Router::new().sse(fails).sse(two)).await;
    let mut client = Client::connect(addr).await;
    client.send((ask("/fails") + &ask("/two")).as_bytes()).await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.chunk().await, Err(CutOff));

    let mut response = reqwest::get(format!("http://{addr}/fails")).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    assert!(response.chunk().await.is_err());
}

/// Each event is one chunk. Only chunks up to a certain size are copied into one buffer, and the
/// sizes of these chunks range from well below to well above that limit.
#[tokio::test]
async fn slow_reader_receives_events_of_any_size() {
    const SIZES: [usize; 9] = [0, 1, 4_000, 5_000, 32_700, 32_760, 40_000, 3_000_000, 7];
    #[sse_endpoint("/own")]
    async fn own() -> impl Stream<Item = Text<String>> {
        for size in SIZES {
            yield_!(Text("x".repeat(size)));
        }
    }
    #[sse_endpoint("/shared")]
    async fn shared(State(topic): State<Topic<Text<String>>>) -> impl Stream<Item = Text<String>> {
        yield_all!(topic.subscribe(Start::First));
    }
    let topic = Topic::in_memory(SIZES.len());
    for size in SIZES {
        topic.publish(&Text("x".repeat(size))).await.unwrap();
    }
    topic.finish().await.unwrap();
    let app = Router::new().sse(own).sse(shared).with_state(topic);
    let addr = serve(app).await;
    for path in ["/own", "/shared"] {
        let mut client = Client::connect_narrow(addr).await;
        client.send((ask(path) + &ask(path)).as_bytes()).await;
        for _ in 0..2 {
            client.head().await;
            let mut stream = String::new();
            while let Some(chunk) = client.chunk().await.unwrap() {
                stream += &chunk;
                tokio::task::yield_now().await;
            }
            // A finished topic sends `done`.
            let events = stream.split("event: done\n").next().unwrap();
            let data = events.lines().filter_map(|line| line.strip_prefix("data:"));
            let data: Vec<_> = data.map(str::trim_start).collect();
            assert_eq!(
                data.iter().map(|data| data.len()).collect::<Vec<_>>(),
                SIZES
            );
            assert!(
                data.iter()
                    .all(|data| data.bytes().all(|byte| byte == b'x'))
            );
        }
    }
}

/// An idle connection whose stream has ended does not delay a shutdown.
#[tokio::test]
async fn shutdown_closes_the_connection_after_its_stream() {
    let shutdown = Shutdown::within(Duration::from_secs(10));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server::new(app())
        .bypass_hyper(true)
        .shutdown(shutdown.clone());
    let serving = tokio::spawn(server.serve(listener));
    let mut client = Client::get(addr, "/two").await;
    expect_two(&mut client).await;
    // By now, hyper drives the connection again.
    client.send(ask("/page/1").as_bytes()).await;
    expect_page(&mut client, 1).await;
    client.send(ask("/two").as_bytes()).await;
    expect_two(&mut client).await;
    shutdown.begin();
    assert_eq!(soon("the connection to close", client.rest()).await, "");
    soon("the server to stop", serving).await.unwrap().unwrap();
}
