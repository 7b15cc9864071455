//! The gaps and IDs that the framework adds to a topic's stream.

use axum::extract::State;
use sse_runtime::LastEventId;

use super::*;

#[sse_endpoint("/own", method = POST, keep_alive = "20ms")]
async fn own(
    State(topic): State<Topic<u32>>,
    last: LastEventId,
    connection: Connection,
    Extension(reasons): Extension<Reasons>,
) -> impl Stream<Item = u32> {
    connection.on_close(move |reason| async move {
        let _ = reasons.send(reason);
    });
    yield_!(1);
    yield_all!(topic.subscribe(last).filter(|number| *number > 100));
}

#[sse_endpoint("/handed-out", method = POST)]
async fn handed_out(
    State(topic): State<Topic<u32>>,
    last: LastEventId,
) -> impl Stream<Item = String> {
    let mut updates = topic.subscribe(last);
    while let Some(next) = updates.recv().await {
        match next {
            Ok(update) => yield_!(update.to_string()),
            Err(gap) => {
                yield_!(format!("gap: {}", gap.reason()));
                return;
            }
        }
    }
}

async fn start(topic: &Topic<u32>) -> (SocketAddr, mpsc::UnboundedReceiver<CloseReason>) {
    let (reasons, reason) = mpsc::unbounded_channel();
    let app = Router::new().sse(own).sse(handed_out);
    let app = app.layer(Extension(reasons)).with_state(topic.clone());
    (support::serve(app).await, reason)
}

async fn post(addr: SocketAddr, path: &str, id: &str) -> support::Client {
    let mut client = support::Client::connect(addr).await;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nlast-event-id: {id}\r\n\r\n"
    );
    client.send(request.as_bytes()).await;
    client.head().await;
    client
}

#[tokio::test]
async fn gap_fails_a_stream_of_own_events() {
    let (addr, mut reason) = start(&Topic::in_memory(2)).await;
    let mut client = post(addr, "/own", "another-1").await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.chunk().await, Err(support::CutOff));
    let reason = within("the close hook", reason.recv()).await;
    assert_eq!(reason, Some(CloseReason::Failed));
}

#[tokio::test]
async fn recv_returns_the_gap() {
    let (addr, _reason) = start(&Topic::in_memory(2)).await;
    let mut client = post(addr, "/handed-out", "another-1").await;
    assert_eq!(client.expect_chunk().await, "data: \"gap: unknown\"\n\n");
    assert_eq!(client.chunk().await, Ok(None));
}

#[tokio::test]
async fn keep_alive_of_a_post_contains_no_id() {
    let topic = Topic::in_memory(2);
    let (addr, _reason) = start(&topic).await;
    let position = topic.subscribe(Start::Now).position();
    let mut client = post(addr, "/own", &position.to_string()).await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    // The topic's position advances, but the keep-alives do not contain the new position.
    topic.publish(&2).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.expect_chunk().await, ":\n");
    }
}
