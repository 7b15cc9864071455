//! Tests the IDs that a stream sends automatically, both with events and without.

use std::sync::Arc;

use axum::{Router, extract::State};
use sse_runtime::{Event, LastEventId, Start, Stream, Topic, sse_endpoint};
use support::{Client, Generators, SseRouterExt as _, Store, serve, within};
use test_case::test_case;
use tokio::sync::Notify;

use super::{all, four_of_ten, gap, number_frame, reconnect, thousands, thousands_by_hand};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn keep_alive_of_a_filtered_stream_contains_the_id(store: Store) {
    let (topic, _) = four_of_ten(&store).await;
    let app = Router::new().sse(thousands).sse(thousands_by_hand);
    let addr = serve(app.with_state(topic.clone())).await;
    for (path, plain) in [
        ("/thousands", ":\n"),
        ("/thousands_by_hand", "event: ping\ndata: null\n\n"),
    ] {
        let last = topic.subscribe(Start::Now).position().to_string();
        let mut client = reconnect(addr, path, last.as_bytes(), false).await;
        let with_id = |id: &str| match plain {
            ":\n" => format!("id: {id}\n\n"),
            _ => format!("event: ping\nid: {id}\ndata: null\n\n"),
        };
        let newest = topic.publish(&1).await.unwrap().to_string();
        // If a keep-alive is sent before the reader has read the newest event, the keep-alive
        // contains the previous ID.
        let before = with_id(&last);
        let chunk = first_other(&mut client, &[plain, &before]).await;
        assert_eq!(chunk, with_id(&newest), "{path}");
        // The new ID is sent only once.
        assert_eq!(client.expect_chunk().await, plain, "{path}");
        // An event that passes the filter is sent with its own ID.
        let id = topic.publish(&1000).await.unwrap();
        let frame = format!("id: {id}\ndata: 1000\n\n");
        let chunk = first_other(&mut client, &[plain]).await;
        assert_eq!(chunk, frame, "{path}");
        assert_eq!(client.expect_chunk().await, plain, "{path}");
    }
}

/// Returns the next chunk that is not in `but`.
async fn first_other(client: &mut Client, but: &[&str]) -> String {
    within("another chunk", async {
        loop {
            let chunk = client.expect_chunk().await;
            if !but.contains(&chunk.as_str()) {
                return chunk;
            }
        }
    })
    .await
}

#[derive(Clone)]
struct Paused {
    topic: Topic<u64>,
    waits: Generators,
    resume: Arc<Notify>,
}

/// Waits after each yielded event until `resume` is notified.
#[sse_endpoint("/pauses", keep_alive = "20ms")]
async fn pauses(State(paused): State<Paused>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut updates = paused.topic.subscribe(last.or(Start::First));
    while let Some(update) = updates.next().await {
        if *update % 1000 == 0 {
            yield_!(update);
            let _waits = paused.waits.enter();
            paused.resume.notified().await;
        }
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn keep_alive_never_moves_the_id_back(store: Store) {
    let paused = Paused {
        topic: store.topic(Topic::builder().keep(16)).await,
        waits: Generators::new(),
        resume: Arc::default(),
    };
    let topic = paused.topic.clone();
    let start = topic.subscribe(Start::Now).position();
    let addr = serve(Router::new().sse(pauses).with_state(paused.clone())).await;
    topic.publish(&1).await.unwrap();
    let second = topic.publish(&2).await.unwrap();
    let mut client = Client::get(addr, "/pauses").await;
    client.head().await;
    // The handler does not yield the first two events. Unless the third event is sent first, the
    // next keep-alive contains the second ID.
    let third = topic.publish(&1000).await.unwrap();
    loop {
        let chunk = client.expect_chunk().await;
        if chunk == format!("id: {third}\ndata: 1000\n\n") {
            break;
        }
        // The ID in a keep-alive is either the initial position or the current one.
        let positions = [&start, &second].map(|id| format!("id: {id}\n\n"));
        assert!(chunk == ":\n" || positions.contains(&chunk), "{chunk}");
    }
    paused.waits.until_started(1).await;
    for _ in 0..3 {
        assert_eq!(client.expect_chunk().await, ":\n");
    }
}

#[derive(Clone)]
struct Noise {
    topic: Topic<u64>,
    noises: Arc<Notify>,
}

/// Yields a topic's updates, interleaved with events that have no ID.
#[sse_endpoint("/beside")]
async fn beside(State(noise): State<Noise>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut updates = noise.topic.subscribe(last);
    loop {
        tokio::select! {
            biased;
            update = updates.next() => match update {
                Some(update) => yield_!(update),
                None => return,
            },
            () = noise.noises.notified() => yield_!(0),
        }
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn client_without_events_can_resume(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(16)).await;
    let start = topic.subscribe(Start::Now).position();
    let first = topic.publish(&1).await.unwrap();
    let noises = Arc::new(Notify::new());
    let quiet = Router::new().sse(all).with_state(topic.clone());
    let noisy = Router::new().sse(beside).with_state(Noise {
        topic: topic.clone(),
        noises: Arc::clone(&noises),
    });
    let addr = serve(quiet.merge(noisy)).await;
    let position = format!("id: {first}\n\n");
    let mut client = Client::get(addr, "/all").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, position);
    noises.notify_one();
    let mut noisy = Client::get(addr, "/beside").await;
    noisy.head().await;
    let both = "data: 0\n\n".to_owned() + &position;
    assert_eq!(noisy.expect_chunk().await, both);
    drop((client, noisy));

    let second = topic.publish(&2).await.unwrap();
    let id = first.to_string();
    for path in ["/all", "/beside"] {
        let mut back = reconnect(addr, path, id.as_bytes(), false).await;
        let missed = number_frame(&second, 2) + "\n\n";
        assert_eq!(back.expect_chunk().await, missed, "{path}");
    }
    // If a client receives an event immediately, no separate ID is sent.
    let mut late = reconnect(addr, "/all", b"nonsense", false).await;
    let told = gap("unknown", "null", &start);
    assert!(late.expect_chunk().await.starts_with(&told));
}

/// Converts a topic's updates into events that have the handler's own IDs.
#[sse_endpoint("/own", keep_alive = "20ms")]
async fn own(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut news = topic.subscribe(Start::First);
    let mut others = topic.subscribe(last);
    loop {
        // The handler reads the second subscription's updates but does not send them.
        let Some(number) = (tokio::select! {
            biased;
            number = news.next() => number,
            _ = others.next() => continue,
        }) else {
            return;
        };
        yield_!(Event::json(*number).id(*number * 100));
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn ids_of_the_handler_are_kept(store: Store) {
    let topic = store.topic(Topic::builder().keep(16)).await;
    let addr = serve(Router::new().sse(own).with_state(topic.clone())).await;
    topic.publish(&7).await.unwrap();
    let mut client = Client::get(addr, "/own").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "id: 700\ndata: 7\n\n");
    for _ in 0..3 {
        assert_eq!(client.expect_chunk().await, ":\n");
    }
}
