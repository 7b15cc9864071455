//! Tests an independent `EventSource` implementation over an unreliable connection.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State};
use eventsource_client::{Client as _, SSE};
use launchdarkly_sdk_transport::HyperTransport;
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
use support::{SseRouterExt as _, Store, publish_all, serve, within};
use test_case::test_case;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

#[sse_endpoint("/numbers")]
async fn numbers(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

/// Forwards the request and a random number of response bytes, and then closes the connection.
async fn cutting(to: SocketAddr, cuts: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(to).await.unwrap();
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let (mut asks, mut is_told) = client.split();
                let (answers, mut is_asked) = server.split();
                let mut some = answers.take(fastrand::u64(1..6_000));
                tokio::select! {
                    _ = tokio::io::copy(&mut asks, &mut is_asked) => {}
                    _ = tokio::io::copy(&mut some, &mut is_told) => {}
                }
                cuts.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    addr
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn client_cut_off_repeatedly_sees_each_event_once(store: Store) {
    const EVENTS: u64 = 3_000;
    let topic: Topic<u64> = store.topic(Topic::builder().keep(4_096)).await;
    let addr = serve(Router::new().sse(numbers).with_state(topic.clone())).await;
    let cuts = Arc::new(AtomicUsize::new(0));
    let proxy = cutting(addr, Arc::clone(&cuts)).await;
    let transport = HyperTransport::builder().build_http().unwrap();
    let soon = Duration::from_millis(1);
    let client = eventsource_client::ClientBuilder::for_url(&format!("http://{proxy}/numbers"))
        .unwrap()
        .reconnect(
            eventsource_client::ReconnectOptions::reconnect(true)
                .retry_initial(true)
                .delay(soon)
                .delay_max(soon)
                .build(),
        )
        .build_with_transport(transport);
    let mut events = client.stream();
    let mut seen = 0;
    // Publish half of the events before the client connects, and the rest while the client reads.
    publish_all(&topic, 1..=EVENTS / 2).await;
    let mut published = EVENTS / 2;
    while seen < EVENTS {
        let next = poll_fn(|cx| Stream::poll_next(Pin::new(&mut events), cx));
        // This client reports a lost connection as an error and then reconnects.
        let Ok(SSE::Event(event)) = within("an event", next).await.unwrap() else {
            continue;
        };
        assert_eq!(event.event_type, "message", "{event:?}");
        assert_eq!(event.data, (seen + 1).to_string());
        seen += 1;
        while published < EVENTS && published < seen + 20 {
            published += 1;
            topic.publish(&published).await.unwrap();
        }
    }
    let cuts = cuts.load(Ordering::Relaxed);
    assert!(cuts > 10, "{cuts}");
}
