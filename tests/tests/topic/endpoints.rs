//! What the client of a topic's endpoint gets: gaps, cursors, ends, and how many writes it takes.

use std::{
    fmt::Write as _,
    future::{Future, pending},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
};
use sse_runtime::{
    Event, LastEventId, LastEventIdError, PublishError, RouterExt as _, SseEvent, Start, Stream,
    Topic, sse_endpoint, testing,
};
use support::{Client, Generators, log::Log, serve, within};
use tokio::sync::{Notify, Semaphore};
use tokio_stream::StreamExt as _;
use tower_service::Service as _;

#[sse_endpoint("/numbers")]
async fn numbers(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut updates = topic.subscribe(last);
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
}

#[sse_endpoint("/all")]
async fn all(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last));
}

/// Holds the numbers 7 to 10.
async fn four_of_ten() -> (Topic<u64>, String) {
    let topic = Topic::in_memory(4);
    for number in 1..=10_u64 {
        topic.publish(&number).await.unwrap();
    }
    let epoch = epoch(&topic);
    (topic, epoch)
}

fn epoch<T: Send + Sync + 'static>(topic: &Topic<T>) -> String {
    let position = topic.subscribe(Start::Now).position().to_string();
    position.split_once('-').unwrap().0.to_owned()
}

/// Whether a future that is polled once, and dropped, had nothing.
fn is_waiting<F: Future>(future: F) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut context).is_pending()
}

/// Lets a stream of which there is nothing yet come to where it waits: the head goes first.
fn has_subscribed(events: &mut testing::Events) {
    for _ in 0..2 {
        assert!(is_waiting(events.next()), "there is nothing yet");
    }
}

/// The frames of a chunk, without the blank lines that end them.
fn frames(chunk: &str) -> Vec<String> {
    let chunk = chunk.strip_suffix("\n\n").unwrap();
    chunk.split("\n\n").map(str::to_owned).collect()
}

fn gap(reason: &str, missed: &str, id: impl std::fmt::Display) -> String {
    format!("event: gap\nid: {id}\ndata: {{\"reason\":\"{reason}\",\"missed\":{missed}}}")
}

fn number_frame(epoch: &str, number: u64) -> String {
    format!("id: {epoch}-{number}\ndata: {number}")
}

/// Asks with this id in the header, byte for byte, or in the query.
async fn come_back(addr: SocketAddr, path: &str, id: &[u8], in_query: bool) -> Client {
    let mut client = Client::connect(addr).await;
    let request = if in_query {
        let mut query = String::new();
        for byte in id {
            write!(query, "%{byte:02x}").unwrap();
        }
        format!("GET {path}?lastEventId={query} HTTP/1.1\r\nhost: test\r\n\r\n").into_bytes()
    } else {
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: ");
        [head.as_bytes(), id, b"\r\n\r\n"].concat()
    };
    client.send(&request).await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    client
}

#[tokio::test]
async fn whatever_a_client_comes_back_with_it_is_told_what_it_missed() {
    let (topic, epoch) = four_of_ten().await;
    let addr = serve(Router::new().sse(numbers).with_state(topic.clone())).await;
    let behind = |number: &str| format!("{epoch}-{number}").into_bytes();
    let long = |len| vec![b'x'; len];
    // What was sent, and the gap that it is told of; behind a gap all that is held.
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (behind("0"), "too_old", "6"),
        (behind("3"), "too_old", "3"),
        (behind("5"), "too_old", "1"),
        (behind("11"), "unknown", "null"),
        (behind("18446744073709551615"), "unknown", "null"),
        (behind("18446744073709551616"), "unknown", "null"),
        (behind("007"), "unknown", "null"),
        (behind("+7"), "unknown", "null"),
        (behind("-7"), "unknown", "null"),
        (behind(""), "unknown", "null"),
        (behind("7 8"), "unknown", "null"),
        (b"0123456789ab-0".to_vec(), "other_epoch", "null"),
        (b"0123456789ab-99".to_vec(), "other_epoch", "null"),
        (b"7".to_vec(), "unknown", "null"),
        (b"-".to_vec(), "unknown", "null"),
        (b"%".to_vec(), "unknown", "null"),
        (b"m1:a=0123456789ab-7".to_vec(), "unknown", "null"),
        ("☃".into(), "unknown", "null"),
        (b"\xff\xfe".to_vec(), "unknown", "null"),
        (long(4_097), "unknown", "null"),
        (long(20_000), "unknown", "null"),
    ];
    for (sent, reason, missed) in cases {
        for in_query in [false, true] {
            let name = String::from_utf8_lossy(&sent[..sent.len().min(40)]).into_owned();
            let mut client = come_back(addr, "/numbers", &sent, in_query).await;
            let mut got = frames(&client.expect_chunk().await);
            let told = gap(reason, missed, format_args!("{epoch}-6"));
            assert_eq!(got.remove(0), told, "{name:?}");
            while got.len() < 4 {
                got.extend(frames(&client.expect_chunk().await));
            }
            let held: Vec<_> = (7..=10)
                .map(|number| number_frame(&epoch, number))
                .collect();
            assert_eq!(got, held, "{name:?}");
        }
    }
    // The id of the gap is as good as any other: whoever comes back with it gets the rest, and is told nothing.
    for (sent, first) in [("6", 7), ("7", 8), ("9", 10)] {
        let mut client = come_back(addr, "/numbers", &behind(sent), false).await;
        let got = frames(&client.expect_chunk().await);
        assert_eq!(got[0], number_frame(&epoch, first));
    }
    // Nothing is behind this one, so the next event is the first.
    let mut client = come_back(addr, "/numbers", &behind("10"), true).await;
    topic.publish(&11).await.unwrap();
    assert_eq!(
        client.expect_chunk().await,
        format!("{}\n\n", number_frame(&epoch, 11))
    );
}

/// Longer than any id can be, in the header; as long as the server takes a URL.
#[tokio::test]
async fn a_huge_id_stops_nobody() {
    let (topic, epoch) = four_of_ten().await;
    let addr = serve(Router::new().sse(numbers).with_state(topic)).await;
    for (len, in_query) in [(30_000, false), (20_000, true)] {
        let mut client = come_back(addr, "/numbers", &vec![b'x'; len], in_query).await;
        let got = frames(&client.expect_chunk().await);
        assert_eq!(got[0], gap("unknown", "null", format_args!("{epoch}-6")));
    }
}

#[sse_endpoint("/thousands", keep_alive = "20ms")]
async fn thousands(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last).only(|number| number % 1000 == 0));
}

/// As a person writes a filter.
#[sse_endpoint("/thousands_by_hand", keep_alive = "20ms", keep_alive_event = "ping")]
async fn thousands_by_hand(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> impl Stream<Item = u64> {
    let mut updates = topic.subscribe(last);
    while let Some(update) = updates.next().await {
        if *update % 1000 == 0 {
            yield_!(update);
        }
    }
}

#[tokio::test]
async fn a_gap_passes_a_filter_and_comes_before_anything_else() {
    let (topic, epoch) = four_of_ten().await;
    let app = Router::new().sse(thousands).sse(thousands_by_hand);
    let addr = serve(app.with_state(topic.clone())).await;
    for path in ["/thousands", "/thousands_by_hand"] {
        let id = format!("{epoch}-2");
        let mut client = come_back(addr, path, id.as_bytes(), false).await;
        let got = frames(&client.expect_chunk().await);
        // Nothing passes the filter, and the gap is told all the same.
        assert_eq!(got, [gap("too_old", "4", format_args!("{epoch}-6"))]);
    }
}

#[tokio::test]
async fn the_keep_alive_of_a_filtered_stream_carries_the_cursor() {
    let (topic, epoch) = four_of_ten().await;
    let app = Router::new().sse(thousands).sse(thousands_by_hand);
    let addr = serve(app.with_state(topic.clone())).await;
    for (path, plain) in [
        ("/thousands", ":\n"),
        ("/thousands_by_hand", "event: ping\ndata: null\n\n"),
    ] {
        let last = topic.subscribe(Start::Now).position().to_string();
        let mut client = come_back(addr, path, last.as_bytes(), false).await;
        let with_id = |number: u64| match plain {
            ":\n" => format!("id: {epoch}-{number}\n\n"),
            _ => format!("event: ping\nid: {epoch}-{number}\ndata: null\n\n"),
        };
        let newest = topic.publish(&1).await.unwrap().to_string();
        let newest: u64 = newest.rsplit_once('-').unwrap().1.parse().unwrap();
        // It may fire before the reader has read what has just been published.
        let before = with_id(newest - 1);
        let chunk = first_other(&mut client, &[plain, &before]).await;
        assert_eq!(chunk, with_id(newest), "{path}");
        // It is said once.
        assert_eq!(client.expect_chunk().await, plain, "{path}");
        // What passes moves the cursor itself.
        topic.publish(&1000).await.unwrap();
        let frame = format!("id: {epoch}-{}\ndata: 1000\n\n", newest + 1);
        let chunk = first_other(&mut client, &[plain]).await;
        assert_eq!(chunk, frame, "{path}");
        assert_eq!(client.expect_chunk().await, plain, "{path}");
    }
}

/// The next chunk that is none of these, of which there may be many.
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
    go_on: Arc<Notify>,
}

/// Stays with each event for as long as it likes.
#[sse_endpoint("/pauses", keep_alive = "20ms")]
async fn pauses(State(paused): State<Paused>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut updates = paused.topic.subscribe(last.or(Start::First));
    while let Some(update) = updates.next().await {
        if *update % 1000 == 0 {
            yield_!(update);
            let _waits = paused.waits.enter();
            paused.go_on.notified().await;
        }
    }
}

#[tokio::test]
async fn a_keep_alive_never_takes_the_cursor_back() {
    let paused = Paused {
        topic: Topic::in_memory(16),
        waits: Generators::new(),
        go_on: Arc::default(),
    };
    let topic = paused.topic.clone();
    let epoch = epoch(&topic);
    let addr = serve(Router::new().sse(pauses).with_state(paused.clone())).await;
    topic.publish(&1).await.unwrap();
    topic.publish(&2).await.unwrap();
    let mut client = Client::get(addr, "/pauses").await;
    client.head().await;
    // Read, and filtered out: the cursor is to be carried by the next keep-alive, if nothing comes before it.
    topic.publish(&1000).await.unwrap();
    loop {
        let chunk = client.expect_chunk().await;
        if chunk == format!("id: {epoch}-3\ndata: 1000\n\n") {
            break;
        }
        // Where it begins, and where it stands.
        let places = [0, 2].map(|number| format!("id: {epoch}-{number}\n\n"));
        assert!(chunk == ":\n" || places.contains(&chunk), "{chunk}");
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

/// A topic, and something beside it that has no ids.
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

#[tokio::test]
async fn whoever_has_had_no_event_yet_has_a_place_to_come_back_to() {
    let topic: Topic<u64> = Topic::in_memory(16);
    topic.publish(&1).await.unwrap();
    let epoch = epoch(&topic);
    let noises = Arc::new(Notify::new());
    let quiet = Router::new().sse(all).with_state(topic.clone());
    let noisy = Router::new().sse(beside).with_state(Noise {
        topic: topic.clone(),
        noises: Arc::clone(&noises),
    });
    let addr = serve(quiet.merge(noisy)).await;
    let place = format!("id: {epoch}-1\n\n");
    let mut client = Client::get(addr, "/all").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, place);
    noises.notify_one();
    let mut noisy = Client::get(addr, "/beside").await;
    noisy.head().await;
    let both = "data: 0\n\n".to_owned() + &place;
    assert_eq!(noisy.expect_chunk().await, both);
    drop((client, noisy));

    topic.publish(&2).await.unwrap();
    let id = format!("{epoch}-1");
    for path in ["/all", "/beside"] {
        let mut back = come_back(addr, path, id.as_bytes(), false).await;
        let missed = number_frame(&epoch, 2) + "\n\n";
        assert_eq!(back.expect_chunk().await, missed, "{path}");
    }
    // Whoever gets an event at once has its id.
    let mut late = come_back(addr, "/all", b"nonsense", false).await;
    let told = gap("unknown", "null", format_args!("{epoch}-0"));
    assert!(late.expect_chunk().await.starts_with(&told));
}

/// Events of its own, with ids of its own, made of what a topic says.
#[sse_endpoint("/own", keep_alive = "20ms")]
async fn own(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let mut news = topic.subscribe(Start::First);
    let mut others = topic.subscribe(last);
    loop {
        // The second is there to be read, and is not sent.
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

#[tokio::test]
async fn the_ids_of_a_handler_are_left_alone() {
    let topic = Topic::in_memory(16);
    let addr = serve(Router::new().sse(own).with_state(topic.clone())).await;
    topic.publish(&7).await.unwrap();
    let mut client = Client::get(addr, "/own").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "id: 700\ndata: 7\n\n");
    for _ in 0..3 {
        assert_eq!(client.expect_chunk().await, ":\n");
    }
}

#[derive(Clone)]
struct Total {
    changes: Topic<u64>,
    /// The sum of all that was published, and of nothing else.
    sum: Arc<std::sync::Mutex<u64>>,
}

#[sse_endpoint("/total")]
async fn total(State(total): State<Total>) -> impl Stream<Item = u64> {
    let updates = total.changes.subscribe(Start::Now);
    let sum = *total.sum.lock().unwrap();
    yield_!(Event::json(sum).event("sum").id(updates.position()));
    yield_all!(updates);
}

#[tokio::test]
async fn a_snapshot_and_what_comes_behind_it_are_the_whole() {
    let total_of = Total {
        changes: Topic::in_memory(1024),
        sum: Arc::default(),
    };
    let client = testing::Client::new(Router::new().sse(total).with_state(total_of.clone()));
    let publish = async |number: u64| {
        // Under the lock: a snapshot is behind the one, or in front of it.
        let mut sum = total_of.sum.lock().unwrap();
        *sum += number;
        total_of.changes.publish_now(&number).unwrap()
    };
    for number in 1..=10 {
        publish(number).await;
    }
    let mut events = client.get("/total").await.events();
    let snapshot = events.expect_event().await;
    assert_eq!(
        (snapshot.event.as_str(), snapshot.data.as_str()),
        ("sum", "55")
    );
    let id = publish(11).await;
    let change = events.expect_event().await;
    assert_eq!((change.data, change.id), ("11".to_owned(), id.to_string()));
    assert!(snapshot.id.ends_with("-10"), "{}", snapshot.id);
}

#[tokio::test]
async fn a_topic_that_is_finished_is_replayed_then_ends_then_stops_its_client() {
    for path in ["/numbers", "/all"] {
        let topic: Topic<u64> = Topic::in_memory(16);
        let app = Router::new().sse(numbers).sse(all);
        let client = testing::Client::new(app.with_state(topic.clone()));
        let mut waits = client.get(path).await.events();
        has_subscribed(&mut waits);
        let first = topic.publish(&1).await.unwrap();
        let second = topic.publish(&2).await.unwrap();
        topic.finish();
        let refused = topic.publish(&3).await;
        assert!(matches!(refused, Err(PublishError::Finished)));
        for id in [&first, &second] {
            assert_eq!(waits.expect_event().await.id, id.to_string());
        }
        let done = waits.expect_event().await;
        assert_eq!(done.event, "done");
        waits.expect_end().await;
        let done = done.id;
        assert_eq!(done, format!("{second}~done"));

        // One that was away gets what it missed, then the end.
        let back = client.get(path).last_event_id(&first).await;
        let all = back.text().await;
        assert_eq!(
            all,
            format!("id: {second}\ndata: 2\n\nevent: done\nid: {done}\ndata: null\n\n")
        );

        // One that has seen the end is stopped.
        let stopped = client.get(path).last_event_id(&done).await;
        assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    }
}

/// Reads a topic in the form that can still answer with a status.
#[sse_endpoint("/checked")]
async fn checked(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    tokio::task::yield_now().await;
    yield_all!(topic.subscribe(last));
}

/// Counts its runs, and has ids of its own.
#[sse_endpoint("/counted", end = "stop")]
async fn counted(
    State(runs): State<Generators>,
    LastEventId(last): LastEventId<u64>,
) -> impl Stream<Item = String> {
    let _run = runs.enter();
    yield_!(Event::json(format!("{last:?}")).id(7));
}

async fn ask(addr: SocketAddr, path: &str, id: &str) -> Client {
    let mut client = Client::connect(addr).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n");
    client.send(request.as_bytes()).await;
    client
}

#[tokio::test]
async fn done_stops_clients_of_the_same_topic_only() {
    let log = Log::capture_debug();
    let (topic, epoch) = four_of_ten().await;
    let app = Router::new().sse(numbers).sse(all).sse(checked);
    let addr = serve(app.with_state(topic.clone())).await;
    for is_finished in [false, true] {
        if is_finished {
            topic.finish();
        }
        for path in ["/numbers", "/all", "/checked"] {
            for (sent, reason) in [
                ("0123456789ab-7~done".to_owned(), "other_epoch"),
                ("of-another-job~done".to_owned(), "unknown"),
                ("7~done".to_owned(), "unknown"),
                ("~done".to_owned(), "unknown"),
                (format!("{epoch}-11~done"), "unknown"),
            ] {
                let mut client = ask(addr, path, &sent).await;
                assert_eq!(
                    client.head().await.status_line,
                    "HTTP/1.1 200 OK",
                    "{path} {sent}"
                );
                let told = gap(reason, "null", format_args!("{epoch}-6"));
                let mut got = String::new();
                while !got.contains("data: 10\n") {
                    got.push_str(&client.expect_chunk().await);
                }
                assert!(got.starts_with(&told), "{path} {sent}: {got}");
            }
            // It has received all of this topic, or its handler said that it was enough.
            let mut client = ask(addr, path, &format!("{epoch}-10~done")).await;
            let head = client.head().await;
            assert_eq!(head.status_line, "HTTP/1.1 204 No Content", "{path}");
        }
    }
    let text = log.text();
    for id in [format!("{epoch}-10~done"), "0123456789ab-7~done".to_owned()] {
        assert!(text.contains("DEBUG") && text.contains(&id), "{text}");
    }
}

#[tokio::test]
async fn done_in_the_query_is_left_to_the_handler() {
    let (topic, epoch) = four_of_ten().await;
    topic.finish();
    let runs = Generators::new();
    let app = Router::new().sse(all).with_state(topic);
    let app = app.merge(Router::new().sse(counted).with_state(runs.clone()));
    let addr = serve(app).await;
    let mut client = come_back(addr, "/all", format!("{epoch}-10~done").as_bytes(), true).await;
    let done = format!("event: done\nid: {epoch}-10~done\ndata: null\n\n");
    assert_eq!(client.expect_chunk().await, done);
    assert_eq!(client.chunk().await, Ok(None));
    let mut client = come_back(addr, "/all", b"0123456789ab-7~done", true).await;
    let told = gap("other_epoch", "null", format_args!("{epoch}-6"));
    assert!(client.expect_chunk().await.starts_with(&told));

    let mut client = come_back(addr, "/counted", b"7~done", true).await;
    let first = client.expect_chunk().await;
    assert!(first.contains("Done") && first.contains('7'), "{first}");
    // A header is the browser's own doing: this endpoint has no topic, so it has sent any such id.
    for sent in ["7~done", "0123456789ab-7~done"] {
        let mut client = ask(addr, "/counted", sent).await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
    }
    assert_eq!(runs.count().started, 1);
}

/// Takes the id, and waits for something else than a topic.
#[sse_endpoint("/waits", keep_alive = "1s")]
async fn waits(_last: LastEventId) -> impl Stream<Item = u64> {
    pending::<()>().await;
    yield_!(1);
}

/// The same, without ever waiting.
#[sse_endpoint("/spins")]
async fn spins(_last: LastEventId) -> impl Stream<Item = u64> {
    loop {
        tokio::task::consume_budget().await;
        if false {
            yield_!(1);
        }
    }
}

/// The same after its mark.
#[sse_endpoint("/waits_begun", keep_alive = "1s")]
async fn waits_begun(_last: LastEventId) -> Result<impl Stream<Item = u64>, StatusCode> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if true {
        pending::<()>().await;
        yield_!(1);
    }
}

/// Resumes by an id of its own, after which there is nothing left.
#[sse_endpoint("/resumes", end = "stop")]
async fn resumes(LastEventId(last): LastEventId) -> Result<impl Stream<Item = u64>, StatusCode> {
    let from = match last {
        Err(LastEventIdError::Done { last, .. }) => last.parse().unwrap_or(0),
        _ => 0,
    };
    for number in from + 1..=3_u64 {
        yield_!(Event::json(number).id(number));
    }
}

/// Uses up the turn of its task before it subscribes.
#[sse_endpoint("/busy")]
async fn busy(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let free = Semaphore::new(1);
    for _ in 0..1_000 {
        drop(free.acquire().await);
    }
    yield_all!(topic.subscribe(last));
}

#[tokio::test]
async fn done_stops_clients_of_streams_without_topics() {
    let (topic, epoch) = four_of_ten().await;
    let app = Router::new()
        .sse(waits)
        .sse(spins)
        .sse(waits_begun)
        .sse(resumes);
    let addr = serve(app.sse(busy).with_state(topic)).await;
    for (path, id) in [
        ("/waits", "made-up~done"),
        ("/spins", "made-up~done"),
        ("/waits_begun", "made-up~done"),
        ("/resumes", "3~done"),
    ] {
        let mut client = ask(addr, path, id).await;
        let head = within("the head", client.head()).await;
        assert_eq!(head.status_line, "HTTP/1.1 204 No Content", "{path}");
    }
    let mut client = ask(addr, "/busy", "0123456789ab-7~done").await;
    let text = within("the events", client.read_to("data: 10\n")).await;
    let told = gap("other_epoch", "null", format_args!("{epoch}-6"));
    assert!(text.contains(&told), "{text}");
}

#[tokio::test]
async fn done_names_the_position_if_nothing_was_sent() {
    let topic: Topic<u64> = Topic::in_memory(4);
    let epoch = epoch(&topic);
    topic.finish();
    let addr = serve(Router::new().sse(all).with_state(topic)).await;
    let mut client = Client::get(addr, "/all").await;
    client.head().await;
    let done = format!("event: done\nid: {epoch}-0~done\ndata: null\n\n");
    assert_eq!(client.expect_chunk().await, done);
    let mut client = ask(addr, "/all", &format!("{epoch}-0~done")).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
}

/// Answers when there is something to answer.
#[sse_endpoint("/once_there")]
async fn once_there(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    let mut updates = topic.subscribe(last);
    let Some(first) = updates.next().await else {
        return;
    };
    yield_!(first);
    yield_all!(updates);
}

#[tokio::test]
async fn a_gap_before_the_response_is_told_also_where_nothing_follows() {
    let topic: Topic<u64> = Topic::in_memory(16);
    let position = topic.subscribe(Start::Now).position();
    topic.finish();
    let app = Router::new().sse(once_there).with_state(topic);
    let client = testing::Client::new(app);
    let nothing = client.get("/once_there").last_event_id(&position).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    let foreign = client.get("/once_there").last_event_id("7").await;
    assert_eq!(foreign.status(), StatusCode::OK);
    let told = gap("unknown", "null", &position);
    assert_eq!(
        foreign.text().await,
        format!("{told}\n\nevent: done\nid: {position}~done\ndata: null\n\n")
    );
}

/// Looks into the topic that it is published to when it is serialised.
#[derive(Clone)]
struct Newest(Topic<u64>);

impl serde::Serialize for Newest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut updates = self.0.subscribe(Start::Latest(1));
        let mut context = Context::from_waker(Waker::noop());
        match pin!(updates.next()).poll(&mut context) {
            Poll::Ready(Some(newest)) => serializer.serialize_u64(*newest),
            _ => serializer.serialize_none(),
        }
    }
}

#[sse_endpoint("/newest")]
async fn newest(State(topic): State<Topic<u64>>) -> impl Stream<Item = Newest> {
    yield_!(Newest(topic));
}

#[tokio::test]
async fn a_value_that_reads_a_topic_while_it_is_written_stops_nobody() {
    let topic: Topic<u64> = Topic::in_memory(16);
    topic.publish(&7).await.unwrap();
    let client = testing::Client::new(Router::new().sse(newest).with_state(topic));
    let all = client.get("/newest").await.text().await;
    assert_eq!(all, "data: 7\n\n");
}

#[derive(Clone)]
struct Two {
    ends: Topic<u64>,
    goes_on: Topic<u64>,
}

/// Reads one topic to its end, then another, until it has enough.
#[sse_endpoint("/two")]
async fn two(State(two): State<Two>) -> impl Stream<Item = u64> {
    yield_all!(two.ends.subscribe(Start::First));
    let mut updates = two.goes_on.subscribe(Start::First);
    while let Some(update) = updates.next().await {
        if *update == 0 {
            return;
        }
        yield_!(update);
    }
}

#[tokio::test]
async fn the_end_of_one_topic_is_not_the_end_of_a_stream_that_reads_another() {
    let two_of = Two {
        ends: Topic::in_memory(4),
        goes_on: Topic::in_memory(4),
    };
    let client = testing::Client::new(Router::new().sse(two).with_state(two_of.clone()));
    two_of.ends.publish(&1).await.unwrap();
    two_of.ends.finish();
    let mut events = client.get("/two").await.events();
    assert_eq!(events.expect_event().await.data, "1");
    two_of.goes_on.publish(&2).await.unwrap();
    assert_eq!(events.expect_event().await.data, "2");
    two_of.goes_on.publish(&0).await.unwrap();
    events.expect_end().await;
    let last = events.last_event_id();
    assert!(
        !last.ends_with("~done"),
        "{last} stops a client that is to come back"
    );
}

#[derive(Clone, SseEvent)]
struct WithId {
    #[sse(id)]
    id: u64,
}

#[tokio::test]
async fn what_can_be_published() {
    let topic: Topic<u64> = Topic::in_memory(16);
    let client = testing::Client::new(Router::new().sse(all).with_state(topic.clone()));
    let mut events = client.get("/all").await.events();
    has_subscribed(&mut events);
    let now = topic.publish_now(&1).unwrap();
    let named = Event::json(2)
        .event("named")
        .retry(Duration::from_secs(3))
        .with_comment("two");
    let named = topic.publish_event(named).await.unwrap();
    let got = events.expect_event().await;
    assert_eq!(
        (got.event, got.data, got.id),
        ("message".into(), "1".into(), now.to_string())
    );
    let got = events.expect_event().await;
    assert_eq!(
        (got.event, got.data, got.id),
        ("named".into(), "2".into(), named.to_string())
    );
    assert_eq!(events.retry(), Some(Duration::from_secs(3)));

    let refused = topic.publish_event(Event::json(3).id(7_u64)).await;
    assert!(
        matches!(refused, Err(PublishError::NotForTopics { what: "an id" })),
        "{refused:?}"
    );
    let ids: Topic<WithId> = Topic::in_memory(16);
    let refused = ids.publish(&WithId { id: 7 }).await;
    assert!(
        matches!(refused, Err(PublishError::NotForTopics { what: "an id" })),
        "{refused:?}"
    );
    let next = topic.publish(&4).await.unwrap();
    // None of those that were refused took a number.
    assert!(next.to_string().ends_with("-3"), "{next}");
}

/// By reference, and a plain value where it is to be.
#[sse_endpoint("/by_reference")]
async fn by_reference(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> impl Stream<Item = u64> {
    let mut updates = topic.subscribe(last);
    let mut sum = 0;
    while let Some(update) = updates.next().await {
        yield_!(&update);
        sum += *update;
    }
    yield_!(sum);
}

#[sse_endpoint("/texts")]
async fn texts(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = String> {
    yield_all!(
        topic
            .subscribe(last)
            .map(|number| format!("number {number}"))
    );
}

#[sse_endpoint("/even_texts")]
async fn even_texts(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> impl Stream<Item = String> {
    let even = topic.subscribe(last).only(|number| number % 2 == 0);
    yield_all!(even.map(|number| format!("number {number}")));
}

#[tokio::test]
async fn views_have_the_ids_the_gaps_and_the_end_of_what_they_show() {
    let (topic, epoch) = four_of_ten().await;
    topic.finish();
    let app = Router::new()
        .sse(numbers)
        .sse(all)
        .sse(by_reference)
        .sse(texts)
        .sse(even_texts);
    let client = testing::Client::new(app.with_state(topic));
    let told = gap("too_old", "4", format_args!("{epoch}-6")) + "\n\n";
    let frame = |number: u64, data: &str| format!("id: {epoch}-{number}\ndata: {data}\n\n");
    let done = format!("event: done\nid: {epoch}-10~done\ndata: null\n\n");
    let get = async |path: &str| {
        let answer = client.get(path).last_event_id(format!("{epoch}-2")).await;
        answer.text().await
    };
    let plain: String = (7..=10)
        .map(|number: u64| frame(number, &number.to_string()))
        .collect();
    let whole = format!("{told}{plain}{done}");
    assert_eq!(get("/numbers").await, whole);
    assert_eq!(get("/all").await, whole);
    let with_sum = format!("{told}{plain}data: 34\n\n{done}");
    assert_eq!(get("/by_reference").await, with_sum);
    let text = |number: u64| frame(number, &format!("\"number {number}\""));
    let every: String = (7..=10).map(text).collect();
    assert_eq!(get("/texts").await, format!("{told}{every}{done}"));
    let even: String = [8, 10].into_iter().map(text).collect();
    assert_eq!(get("/even_texts").await, format!("{told}{even}{done}"));
}

#[tokio::test]
async fn updates_that_wait_already_share_a_write() {
    const EVENTS: u64 = 1_000;
    for path in ["/numbers", "/all"] {
        let topic = Topic::in_memory(4_096);
        for number in 1..=EVENTS {
            topic.publish(&number).await.unwrap();
        }
        let epoch = epoch(&topic);
        let app = Router::new().sse(numbers).sse(all);
        let addr = serve(app.with_state(topic.clone())).await;
        let start = format!("{epoch}-0");
        let mut client = come_back(addr, path, start.as_bytes(), false).await;
        let (mut chunks, mut got) = (0, Vec::new());
        while (got.len() as u64) < EVENTS {
            got.extend(frames(&client.expect_chunk().await));
            chunks += 1;
        }
        let expected = (1..=EVENTS).map(|number| number_frame(&epoch, number));
        assert!(got.iter().eq(&expected.collect::<Vec<_>>()), "{path}");
        // 64 at a time, and less where others had their turn.
        assert!(chunks <= 60, "{chunks} writes for {EVENTS} events");
        // Who has all of it gets the next at once, and each by itself.
        for number in 1..=3 {
            topic.publish(&number).await.unwrap();
            assert_eq!(frames(&client.expect_chunk().await).len(), 1);
        }
    }
}

#[tokio::test]
async fn a_large_event_is_a_write_of_its_own() {
    let topic: Topic<String> = Topic::in_memory(64);
    for _ in 0..8 {
        topic.publish(&"x".repeat(10_000)).await.unwrap();
    }
    topic.finish();
    let client = testing::Client::new(Router::new().sse(strings).with_state(topic));
    let all = client.get("/strings").await.text().await;
    assert_eq!(all.matches("data: \"x").count(), 8);
}

#[sse_endpoint("/strings")]
async fn strings(State(topic): State<Topic<String>>) -> impl Stream<Item = String> {
    yield_all!(topic.subscribe(Start::First));
}

/// What a filter lets nothing of through, and is fed for ever, does not hold its thread.
#[tokio::test]
async fn a_filter_lets_others_run() {
    let topic: Topic<u64> = Topic::in_memory(1_024);
    topic.publish(&1).await.unwrap();
    let feeds = topic.clone();
    let mut endless = topic.subscribe(Start::First).only(move |_| {
        feeds.publish_now(&1).unwrap();
        false
    });
    assert!(is_waiting(endless.next()));
}

#[tokio::test]
async fn a_topic_that_is_to_hold_nothing_holds_the_newest() {
    let topic: Topic<u64> = Topic::in_memory(0);
    let mut updates = topic.subscribe(Start::Now);
    topic.publish(&1).await.unwrap();
    assert_eq!(**updates.recv().await.unwrap().as_ref().unwrap(), 1);
}

/// An event that looks at its topic when it is dropped.
#[derive(Clone, serde::Serialize)]
struct Curious {
    #[serde(skip)]
    _looks: Arc<Looks>,
}

struct Looks(std::sync::Weak<Topic<Curious>>);

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(topic) = self.0.upgrade() {
            topic.subscribers();
        }
    }
}

#[test]
fn an_event_is_not_dropped_under_the_lock() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let topic: Arc<Topic<Curious>> = Arc::new(
            Topic::builder()
                .events(2)
                .latest_by(|_: &Curious| ())
                .build(),
        );
        for _ in 0..4 {
            let looks = Looks(Arc::downgrade(&topic));
            let event = Curious {
                _looks: Arc::new(looks),
            };
            topic.publish_now(&event).unwrap();
        }
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(Duration::from_secs(15))
        .expect("a publisher that does not wait for itself");
}

#[tokio::test]
async fn a_test_that_leaves_in_the_middle_comes_back_for_the_rest() {
    let (topic, _) = four_of_ten().await;
    let client = testing::Client::new(Router::new().sse(all).with_state(topic.clone()));
    let first = topic.subscribe(Start::First).position();
    let mut events = client.get("/all").last_event_id(&first).await.events();
    // All four are there at once, and one of them is looked at.
    assert_eq!(events.expect_event().await.json::<u64>(), 7);
    let seen = events.last_event_id().to_owned();
    let mut events = client.get("/all").last_event_id(&seen).await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 8);
}

#[sse_endpoint("/letters")]
async fn letters(State(topic): State<Topic<String>>) -> impl Stream<Item = String> {
    yield_all!(topic.subscribe(Start::First));
}

#[tokio::test]
async fn a_large_event_is_in_memory_once_whoever_waits_for_it() {
    let topic: Topic<String> = Topic::in_memory(16);
    for text in ["small", &"large ".repeat(2_000), "small again"] {
        topic.publish(&text.to_owned()).await.unwrap();
    }
    topic.finish();
    let app = Router::new().sse(letters).with_state(topic);
    let mut larges = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/letters").body(Body::empty()).unwrap();
        let Ok(response) = app.clone().call(request).await;
        let mut frames = response.into_body().into_data_stream();
        let (mut all, mut large) = (String::new(), None);
        while let Some(frame) = frames.next().await {
            let frame = frame.unwrap();
            all.push_str(std::str::from_utf8(&frame).unwrap());
            if frame.len() > 10_000 {
                large = Some(frame);
            }
        }
        let places =
            ["\"small\"", "\"large ", "\"small again\"", "~done"].map(|what| all.find(what));
        assert!(places.is_sorted() && places[0].is_some(), "{all:?}");
        larges.push(large.unwrap());
    }
    // The very same bytes, and not a copy for each.
    assert_eq!(larges[0].as_ptr(), larges[1].as_ptr());
}

/// Two topics, of which one ends while there is more of the other to come.
#[derive(Clone)]
struct Pair {
    ends: Topic<u64>,
    goes_on: Topic<u64>,
}

#[sse_endpoint("/pair")]
async fn pair(State(pair): State<Pair>) -> impl Stream<Item = u64> {
    let mut ends = pair.ends.subscribe(Start::First);
    let mut goes_on = pair.goes_on.subscribe(Start::First);
    loop {
        tokio::select! {
            biased;
            update = ends.next() => match update {
                Some(update) => yield_!(update),
                None => return,
            },
            Some(update) = goes_on.next() => yield_!(update),
        }
    }
}

/// Reads only the one, and the other is a signal.
#[sse_endpoint("/signal")]
async fn signal(State(pair): State<Pair>) -> impl Stream<Item = u64> {
    let mut signal = pair.ends.subscribe(Start::Now);
    let mut goes_on = pair.goes_on.subscribe(Start::First);
    if let Some(update) = goes_on.next().await {
        yield_!(update);
    }
    while signal.recv().await.is_some() {}
}

#[tokio::test]
async fn a_stream_is_not_over_while_one_of_its_topics_goes_on() {
    for path in ["/pair", "/signal"] {
        let pair_of = Pair {
            ends: Topic::in_memory(4),
            goes_on: Topic::in_memory(4),
        };
        for number in 1..=2 {
            pair_of.goes_on.publish(&number).await.unwrap();
        }
        pair_of.ends.finish();
        let app = Router::new().sse(pair).sse(signal).with_state(pair_of);
        let client = testing::Client::new(app);
        let text = client.get(path).await.text().await;
        assert!(!text.contains("~done"), "{path}: {text:?}");
    }
}

#[tokio::test]
async fn whoever_lags_is_told_whatever_else_ends() {
    #[sse_endpoint("/lags", end = "stop")]
    async fn lags(State(pair): State<Pair>) -> impl Stream<Item = u64> {
        let mut slow = pair.goes_on.subscribe(Start::Now);
        let mut ends = pair.ends.subscribe(Start::Now);
        for number in 0..9 {
            let _ = pair.goes_on.publish(&number).await;
        }
        while slow.next().await.is_some() {}
        while ends.next().await.is_some() {}
        yield_!(7);
    }

    let pair_of = Pair {
        ends: Topic::in_memory(4),
        goes_on: Topic::builder().events(2).disconnect().build(),
    };
    pair_of.ends.finish();
    let client = testing::Client::new(Router::new().sse(lags).with_state(pair_of));
    let text = client.get("/lags").await.text().await;
    assert!(
        text.ends_with("event: close\ndata: {\"reason\":\"lagged\"}\n\n"),
        "{text:?}"
    );
}

/// The bare id that tells a client where it starts must not come after the id that stops it.
#[tokio::test]
async fn done_is_the_last_id_of_a_stream() {
    #[sse_endpoint("/ends-at-once", end = "stop", flush = "ready", retry = "3s")]
    async fn ends_at_once(
        State(topic): State<Topic<u64>>,
        last: LastEventId,
    ) -> impl Stream<Item = u64> {
        let _updates = topic.subscribe(last);
        yield_!(1);
    }
    let app = Router::new().sse(ends_at_once);
    let addr = serve(app.with_state(Topic::in_memory(4))).await;
    let mut client = Client::get(addr, "/ends-at-once").await;
    client.head().await;
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        text.push_str(&chunk);
    }
    assert!(
        text.ends_with("event: done\nid: ~done\ndata: null\n\n"),
        "{text}"
    );
}
