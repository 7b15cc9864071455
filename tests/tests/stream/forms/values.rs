//! Tests the values that can be yielded.

use std::sync::Arc;

use axum::{Router, extract::State};
use sse_runtime::{Event, Stream, sse_endpoint};
use support::SseRouterExt as _;

use super::{Oops, get};

#[sse_endpoint("/mixed")]
async fn mixed() -> impl Stream<Item = Option<u64>> {
    yield_!(None);
    yield_!(Some(1));
    let two = Some(2);
    yield_!(&two);
    yield_!(Event::json(&two).id(2_u64));
    yield_!(Event::json(Some(3)).event("three"));
    yield_!(Event::comment("between"));
    yield_!(Event::text("[DONE]"));
}

#[tokio::test]
async fn values_references_and_events_can_be_mixed() {
    let text = get(Router::new().sse(mixed), "/mixed").await.text().await;
    assert_eq!(
        text,
        "data: null\n\ndata: 1\n\ndata: 2\n\nid: 2\ndata: 2\n\nevent: three\ndata: 3\n\n: between\ndata: [DONE]\n\n"
    );
}

#[sse_endpoint("/guards")]
async fn guards(State(numbers): State<Arc<std::sync::Mutex<Vec<u64>>>>) -> impl Stream<Item = u64> {
    // The guard is a temporary in the value expression, so it is dropped before the generator
    // waits.
    yield_!(numbers.lock().unwrap()[0]);
    yield_!(numbers.lock().unwrap().len() as u64);
}

#[tokio::test]
async fn guard_in_a_value_is_dropped_before_the_wait() {
    let numbers = Arc::new(std::sync::Mutex::new(vec![5]));
    let app = Router::new().sse(guards).with_state(Arc::clone(&numbers));
    let mut events = get(app, "/guards").await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 5);
    numbers.try_lock().unwrap().push(6);
    assert_eq!(events.expect_event().await.json::<u64>(), 2);
}

/// The description of a route comes from this comment.
#[sse_endpoint("/described", method = PUT)]
async fn described() -> impl Stream<Item = Oops> {
    yield_!(Event::comment("nothing"));
}

#[test]
fn route_describes_itself() {
    let route = described();
    assert_eq!(route.path(), "/described");
    assert_eq!(route.method(), "PUT");
    assert_eq!(route.name(), "described");
    assert_eq!(
        route.docs(),
        "The description of a route comes from this comment."
    );
    assert_eq!(route.item_type(), "stream::forms::Oops");
}
