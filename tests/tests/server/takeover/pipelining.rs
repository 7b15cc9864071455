//! Requests before and after a stream on the same connection.

use std::task::Poll;

use axum::{Router, body::Body, extract::State, routing::get};
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::watch;

use support::{Client, SseRouterExt as _, body, soon};

use super::{app, ask, expect_page, expect_two, page, serve};

#[tokio::test]
async fn pipelined_requests_are_answered_after_the_stream() {
    let mut client = Client::connect(serve(app()).await).await;
    let requests = [
        ask("/page/10"),
        ask("/two"),
        ask("/page/20"),
        ask("/two"),
        ask("/two"),
        ask("/page/30"),
    ];
    client.send(requests.concat().as_bytes()).await;
    expect_page(&mut client, 10).await;
    expect_two(&mut client).await;
    expect_page(&mut client, 20).await;
    expect_two(&mut client).await;
    expect_two(&mut client).await;
    expect_page(&mut client, 30).await;
    // The client then requests another stream.
    client.send(ask("/two").as_bytes()).await;
    expect_two(&mut client).await;
}

/// The server may take hyper's connection apart only once the kernel has accepted every earlier
/// response. hyper does not guarantee that these responses have already been written.
#[tokio::test]
async fn responses_before_the_stream_are_not_lost() {
    let addr = serve(app()).await;
    for bytes in [1_000, 3_000_000, 8_000_000] {
        let mut client = Client::connect_narrow(addr).await;
        let page = format!("/page/{bytes}");
        let requests = [ask(&page), ask("/page/1"), ask("/two"), ask("/page/2")];
        client.send(requests.concat().as_bytes()).await;
        expect_page(&mut client, bytes).await;
        expect_page(&mut client, 1).await;
        expect_two(&mut client).await;
        expect_page(&mut client, 2).await;
    }
}

/// If the previous response ended between two polls of its body, hyper may poll the next response
/// again within the poll of the connection in which the server took that response over.
#[tokio::test]
async fn taken_response_is_requested_once() {
    /// Returns a body that needs two polls to report its end.
    async fn ends_late() -> Body {
        let (mut data, mut has_waited) = (Some(body::data("x")), false);
        body::poll_fn(move |cx| {
            if let Some(data) = data.take() {
                return Poll::Ready(Some(Ok(data)));
            }
            if !std::mem::replace(&mut has_waited, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None)
        })
    }
    let app = app().route("/ends-late", get(ends_late));
    let mut client = Client::connect(serve(app).await).await;
    for _ in 0..2 {
        client.send(ask("/ends-late").as_bytes()).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "x");
        assert_eq!(client.chunk().await, Ok(None));
        client.send(ask("/two").as_bytes()).await;
        expect_two(&mut client).await;
    }
    client
        .send((ask("/ends-late") + &ask("/two")).as_bytes())
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "x");
    assert_eq!(client.chunk().await, Ok(None));
    expect_two(&mut client).await;
}

/// The second half of the request arrives while the previous stream is still open.
#[tokio::test]
async fn request_split_by_a_stream_is_reassembled() {
    #[sse_endpoint("/until")]
    async fn until(State(over): State<watch::Receiver<bool>>) -> impl Stream<Item = u32> {
        let mut over = over;
        yield_!(1);
        let _ = over.wait_for(|over| *over).await;
    }
    let (over, receiver) = watch::channel(false);
    let app = Router::new()
        .sse(until)
        .route("/page/{bytes}", get(page))
        .with_state(receiver);
    let mut client = Client::connect(serve(app).await).await;
    let next = ask("/page/5");
    let (first, second) = next.split_at(7);
    client.send((ask("/until") + first).as_bytes()).await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(second.as_bytes()).await;
    over.send(true).unwrap();
    assert_eq!(client.chunk().await, Ok(None));
    expect_page(&mut client, 5).await;
}

#[tokio::test]
async fn request_body_ends_before_its_stream() {
    let mut client = Client::connect(serve(app()).await).await;
    let head = "POST /posted HTTP/1.1\r\nhost: test\r\n";
    for framed in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let requests = [head, framed, &ask("/two"), head, framed];
        client.send(requests.concat().as_bytes()).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
        expect_two(&mut client).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
    }
    // An unread request body is not parsed as the next request.
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(b"GET /page/1").await;
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let mut client = Client::connect(serve(app()).await).await;
    for _ in 0..2 {
        client
            .send(b"POST /posted HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            .await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 100 Continue");
        client.send(b"hello").await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK");
        assert_eq!(client.expect_chunk().await, "data: hello\n\n");
        assert_eq!(client.chunk().await, Ok(None));
    }
}

#[tokio::test]
async fn head_response_around_a_stream_has_no_body() {
    let mut client = Client::connect(serve(app()).await).await;
    let head = "HEAD /two HTTP/1.1\r\nhost: test\r\n\r\n";
    let requests = [head, &ask("/two"), head, &ask("/two")];
    client.send(requests.concat().as_bytes()).await;
    for _ in 0..2 {
        let head = client.head().await;
        assert_eq!(
            head.get("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        expect_two(&mut client).await;
    }
}

#[tokio::test]
async fn pipelined_requests_beyond_the_buffer_are_dropped() {
    #[sse_endpoint("/until")]
    async fn until(State(numbers): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
        let mut numbers = numbers;
        for number in 1..=3 {
            let _ = numbers.wait_for(|last| *last >= number).await;
            yield_!(number);
        }
    }
    let (numbers, receiver) = watch::channel(1);
    let app = Router::new()
        .sse(until)
        .route("/page/{bytes}", get(page))
        .with_state(receiver);
    let mut client = Client::get(serve(app).await, "/until").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    client.send(ask("/page/5").repeat(20_000).as_bytes()).await;
    // By the time the second event arrives, the server has received the requests sent above.
    numbers.send_replace(2);
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    numbers.send_replace(3);
    assert_eq!(client.expect_chunk().await, "data: 3\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(soon("the connection to close", client.rest()).await, "");
}
