//! Tests filters, maps and other ways to read a topic.

use axum::{Router, extract::State};
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint, testing};
use support::{SseRouterExt as _, Store};
use test_case::test_case;

use super::{all, four_of_ten, gap, is_waiting, numbers};

/// Yields references to updates and then an owned value.
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
    let even = topic.subscribe(last).filter(|number| number % 2 == 0);
    yield_all!(even.map(|number| format!("number {number}")));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn views_keep_ids_gaps_and_end(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    topic.finish().await.unwrap();
    let app = Router::new()
        .sse(numbers)
        .sse(all)
        .sse(by_reference)
        .sse(texts)
        .sse(even_texts);
    let client = testing::Client::new(app.with_state(topic));
    let told = gap("too_old", "4", &ids[6]) + "\n\n";
    let frame = |number: usize, data: &str| format!("id: {}\ndata: {data}\n\n", ids[number]);
    let done = format!("event: done\nid: {}~done\ndata: null\n\n", ids[10]);
    let get = async |path: &str| {
        let answer = client.get(path).last_event_id(&ids[2]).await;
        answer.text().await
    };
    let plain: String = (7..=10)
        .map(|number: usize| frame(number, &number.to_string()))
        .collect();
    let whole = format!("{told}{plain}{done}");
    assert_eq!(get("/numbers").await, whole);
    assert_eq!(get("/all").await, whole);
    let with_sum = format!("{told}{plain}data: 34\n\n{done}");
    assert_eq!(get("/by_reference").await, with_sum);
    let text = |number: usize| frame(number, &format!("\"number {number}\""));
    let every: String = (7..=10).map(text).collect();
    assert_eq!(get("/texts").await, format!("{told}{every}{done}"));
    let even: String = [8, 10].into_iter().map(text).collect();
    assert_eq!(get("/even_texts").await, format!("{told}{even}{done}"));
}

/// A filter that rejects every event of an endless topic must not block the thread. The filter
/// calls `try_publish`, which a log does not support, so the topic is in memory.
#[tokio::test]
async fn filter_that_rejects_all_yields_to_other_tasks() {
    let topic: Topic<u64> = Topic::in_memory(1_024);
    topic.publish(&1).await.unwrap();
    let feeds = topic.clone();
    let mut endless = topic.subscribe(Start::First).filter(move |_| {
        feeds.try_publish(&1).unwrap();
        false
    });
    assert!(is_waiting(endless.next()));
}
