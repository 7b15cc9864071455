//! Tests the life cycle of a stream: the head, keep-alives, `max_duration` and the end.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State};
use sse_runtime::{
    Event, LastEventId, Stream, sse_endpoint,
    testing::{Client, Frame},
};
use tokio::{
    sync::Notify,
    time::{Instant, advance, sleep},
};

use support::{SseRouterExt as _, server_of};

fn comment() -> Frame {
    Frame::Comment(String::new())
}

#[tokio::test]
async fn head_is_sent_before_the_first_event() {
    #[sse_endpoint("/silent")]
    async fn silent(State(go): State<Arc<Notify>>) -> impl Stream<Item = u8> {
        go.notified().await;
        yield_!(1);
    }
    let go = Arc::new(Notify::new());
    let app = Router::new().sse(silent).with_state(Arc::clone(&go));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/silent", listener.local_addr().unwrap());
    tokio::spawn(server_of(app).serve(listener));

    // `get` returns once the head has arrived. Until the test notifies the generator, the generator
    // yields nothing.
    let mut response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    go.notify_one();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_is_a_comment_every_15_seconds() {
    #[sse_endpoint("/silent")]
    async fn silent() -> impl Stream<Item = u8> {
        pending::<()>().await;
        yield_!(1);
    }
    let client = Client::new(Router::new().sse(silent));
    let mut events = client.get("/silent").await.events();
    let start = Instant::now();
    for beat in 1..=3 {
        assert_eq!(events.next_frame().await.unwrap(), Some(comment()));
        assert_eq!(start.elapsed().as_secs(), 15 * beat);
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alive_waits_for_silence() {
    #[sse_endpoint("/busy", keep_alive = "2s")]
    async fn busy() -> impl Stream<Item = u8> {
        for tick in 0..10 {
            sleep(Duration::from_millis(1900)).await;
            yield_!(tick);
        }
        sleep(Duration::from_secs(3)).await;
        yield_!(10);
    }
    let client = Client::new(Router::new().sse(busy));
    let mut events = client.get("/busy").await.events();
    for tick in 0..10_u8 {
        let Some(Frame::Event(event)) = events.next_frame().await.unwrap() else {
            panic!("a keep-alive was sent between frequent events");
        };
        assert_eq!(event.json::<u8>(), tick);
    }
    // The keep-alive arrives two seconds after the last event, not at a fixed interval.
    let last = Instant::now();
    assert_eq!(events.next_frame().await.unwrap(), Some(comment()));
    assert_eq!(last.elapsed().as_millis(), 2000);
    assert_eq!(events.expect_event().await.json::<u8>(), 10);
    events.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn keep_alive_can_be_an_event_or_off() {
    #[sse_endpoint("/named", keep_alive = "1s", keep_alive_event = "ping")]
    async fn named() -> impl Stream<Item = u8> {
        pending::<()>().await;
        yield_!(1);
    }
    #[sse_endpoint("/off", keep_alive = "off")]
    async fn off() -> impl Stream<Item = u8> {
        sleep(Duration::from_secs(3600)).await;
        yield_!(1);
    }
    let client = Client::new(Router::new().sse(named).sse(off));

    let mut events = client.get("/named").await.events();
    let beat = events.expect_event().await;
    assert_eq!((beat.event.as_str(), beat.data.as_str()), ("ping", "null"));

    let text = client.get("/off").await.text().await;
    assert_eq!(text, "data: 1\n\n");
}

/// Advances the paused clock, which does not advance automatically while a hot loop keeps the
/// runtime busy.
fn run_clock() -> tokio::task::JoinHandle<()> {
    tokio::spawn(async {
        loop {
            advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn keep_alive_is_sent_despite_a_hot_loop() {
    #[sse_endpoint("/hot", keep_alive = "1s")]
    async fn hot() -> impl Stream<Item = u8> {
        loop {
            std::future::ready(()).await;
            if false {
                yield_!(1);
            }
        }
    }
    let client = Client::new(Router::new().sse(hot));
    let mut events = client.get("/hot").await.events();
    let clock = run_clock();
    assert_eq!(events.next_frame().await.unwrap(), Some(comment()));
    clock.abort();
    events.disconnect().await;
}

#[tokio::test]
async fn retry_is_sent_with_the_first_frame() {
    #[sse_endpoint("/retry", retry = "3s")]
    async fn retry() -> impl Stream<Item = u8> {
        yield_!(1);
    }
    let client = Client::new(Router::new().sse(retry));
    let text = client.get("/retry").await.text().await;
    assert_eq!(text, "retry: 3000\ndata: 1\n\n");

    let mut events = client.get("/retry").await.events();
    events.expect_event().await;
    assert_eq!(events.retry(), Some(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn max_duration_ends_a_waiting_generator() {
    #[sse_endpoint("/limited", max_duration = "100s", keep_alive = "off", end = "stop")]
    async fn limited() -> impl Stream<Item = u8> {
        yield_!(Event::json(1).id(1_u64));
        pending::<()>().await;
    }
    let client = Client::new(Router::new().sse(limited));
    let mut limits = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let mut events = client.get("/limited").await.events();
        events.expect_event().await;
        events.expect_end().await;
        // The generator did not finish, so the last ID does not stop the client from reconnecting.
        assert_eq!(events.last_event_id(), "1");
        limits.push(start.elapsed().as_millis());
    }
    assert!(
        limits
            .iter()
            .all(|limit| (80_000..=100_001).contains(limit)),
        "{limits:?}"
    );
    limits.dedup();
    assert!(
        limits.len() > 1,
        "all clients would reconnect at the same time"
    );
}

#[tokio::test(start_paused = true)]
async fn max_duration_ends_a_hot_loop() {
    #[sse_endpoint("/hot", max_duration = "1s", keep_alive = "off")]
    async fn hot() -> impl Stream<Item = u8> {
        loop {
            std::future::ready(()).await;
            if false {
                yield_!(1);
            }
        }
    }
    let client = Client::new(Router::new().sse(hot));
    let mut events = client.get("/hot").await.events();
    let clock = run_clock();
    events.expect_end().await;
    clock.abort();
}

#[sse_endpoint("/again")]
async fn again(State(runs): State<Arc<AtomicUsize>>) -> impl Stream<Item = usize> {
    yield_!(Event::json(runs.fetch_add(1, Ordering::Relaxed)).id(7_u64));
}

#[sse_endpoint("/once", end = "stop")]
async fn once(
    State(runs): State<Arc<AtomicUsize>>,
    _last: LastEventId<u64>,
) -> impl Stream<Item = usize> {
    yield_!(Event::json(runs.fetch_add(1, Ordering::Relaxed)).id(7_u64));
}

#[sse_endpoint("/done")]
async fn done(State(runs): State<Arc<AtomicUsize>>) -> impl Stream<Item = usize> {
    yield_!(runs.fetch_add(1, Ordering::Relaxed));
    yield_!(Event::done());
}

#[sse_endpoint("/fails", end = "stop")]
async fn fails() -> impl Stream<Item = Result<u8, String>> {
    yield_!(Event::json(1).id(7_u64));
    return Err("no".to_owned());
}

fn endings() -> Client {
    let app = Router::new().sse(again).sse(once).sse(done).sse(fails);
    Client::new(app.with_state(Arc::default()))
}

#[tokio::test]
async fn reconnect_starts_a_new_run() {
    let client = endings();
    for run in 0..2_usize {
        let mut events = client.get("/again").last_event_id(7).await.events();
        assert_eq!(events.expect_event().await.json::<usize>(), run);
        events.expect_end().await;
        assert_eq!(events.last_event_id(), "7");
    }
}

#[tokio::test]
async fn end_stop_sends_done_and_answers_with_204() {
    let client = endings();
    let mut events = client.get("/once").await.events();
    events.expect_event().await;
    // The ID is sent with an event because many clients ignore an ID without an event.
    assert_eq!(events.expect_event().await.event, "done");
    events.expect_end().await;
    let id = events.last_event_id().to_owned();
    assert_eq!(id, "7~done");

    let response = client.get("/once").last_event_id(&id).await;
    assert_eq!(response.status(), 204);
    // Only scripts set the query parameter, so the handler decides how to interpret the parameter's
    // value.
    let response = client.get(&format!("/once?lastEventId={id}")).await;
    assert!(response.is_stream());
    // A client with another ID has not received the `done` event and therefore gets a stream.
    assert!(client.get("/once").last_event_id(7).await.is_stream());
}

#[tokio::test]
async fn done_event_leads_to_204() {
    let client = endings();
    let mut events = client.get("/done").await.events();
    events.expect_event().await;
    let done = events.expect_event().await;
    assert_eq!((done.event.as_str(), done.data.as_str()), ("done", "null"));
    events.expect_end().await;
    let response = client.get("/done").last_event_id(&done.id).await;
    assert_eq!(response.status(), 204);
}

#[tokio::test]
async fn failed_generator_sends_no_done() {
    let mut events = endings().get("/fails").await.events();
    events.expect_event().await;
    assert_eq!(events.expect_event().await.event, "error");
    events.expect_end().await;
    assert_eq!(events.last_event_id(), "7");
}

#[tokio::test]
async fn independent_client_stops_at_204() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/once", listener.local_addr().unwrap());
    let app = Router::new().sse(once).with_state(Arc::default());
    tokio::spawn(server_of(app).serve(listener));

    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert_eq!(
        text,
        "id: 7\ndata: 0\n\nevent: done\nid: 7~done\ndata: null\n\n"
    );
    let back = reqwest::Client::new()
        .get(&url)
        .header("last-event-id", "7~done");
    assert_eq!(back.send().await.unwrap().status(), 204);
}
