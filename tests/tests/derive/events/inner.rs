//! Types that serde serializes through an inner enum. The event must not be named after a variant
//! of that enum.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sse_runtime::{SseEvent, Stream, sse_endpoint, testing::Client};
use support::SseRouterExt as _;

use super::{Chat, token};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Inner {
    A { x: u8 },
    B { x: u8 },
    Unit,
    Number(u128),
}

#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    One(Inner),
}

#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Transparent(Inner);

#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Outer(Chat);

#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
#[serde(into = "Inner", from = "Inner")]
struct Into(Inner);

impl From<Into> for Inner {
    fn from(into: Into) -> Self {
        into.0
    }
}

impl From<Inner> for Into {
    fn from(inner: Inner) -> Self {
        Self(inner)
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Untagged(Untagged),
    Transparent(Transparent),
    Into(Into),
}

/// Yields the value in the form selected by the path.
#[sse_endpoint("/{form}", flush = "ready")]
async fn forms(
    Path(form): Path<u8>,
    State(inner): State<Arc<Inner>>,
) -> impl Stream<Item = Either> {
    let inner = (*inner).clone();
    match form {
        0 => yield_!(Either::Untagged(Untagged::One(inner))),
        1 => yield_!(Either::Transparent(Transparent(inner))),
        _ => yield_!(Either::Into(Into(inner))),
    }
}

#[tokio::test]
async fn inner_variant_does_not_name_the_event() {
    for (inner, data) in [
        (Inner::A { x: 1 }, r#"{"A":{"x":1}}"#),
        (Inner::B { x: 1 }, r#"{"B":{"x":1}}"#),
        (Inner::Unit, r#""Unit""#),
        (
            Inner::Number(u128::MAX),
            r#"{"Number":340282366920938463463374607431768211455}"#,
        ),
    ] {
        let frame = |event: &str| format!("event: {event}\ndata: {data}\n\n");
        let app = Router::new().sse(forms).with_state(Arc::new(inner.clone()));
        let client = Client::new(app);
        assert_eq!(client.get("/0").await.text().await, frame("one"));
        assert_eq!(client.get("/1").await.text().await, frame("transparent"));
        assert_eq!(client.get("/2").await.text().await, frame("into"));
        let mut events = client.get("/1").await.events();
        let transparent = events.expect_event().await.decode::<Transparent>();
        assert_eq!(transparent, Transparent(inner.clone()));
        let mut events = client.get("/2").await.events();
        assert_eq!(
            events.expect_event().await.decode::<Into>(),
            Into(inner.clone())
        );
        // serde itself cannot deserialize a `u128` in an `untagged` enum.
        if !matches!(inner, Inner::Number(_)) {
            let mut events = client.get("/0").await.events();
            let untagged = events.expect_event().await.decode::<Untagged>();
            assert_eq!(untagged, Untagged::One(inner));
        }
    }

    // The event is named after the outer type.
    assert_eq!(
        wire!(Outer: Outer(token("a"))),
        "event: outer\ndata: {\"Token\":{\"text\":\"a\"}}\n\n"
    );
}
