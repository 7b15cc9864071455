//! Event types serialized as JSON, both nested in other values and outside an event stream.

use axum::{Json, Router, routing::get};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{SseEvent, Stream, sse_endpoint, testing::Client};
use support::SseRouterExt as _;

use super::{Chat, token};

#[tokio::test]
async fn event_type_serializes_as_plain_json_elsewhere() {
    for (event, tagged) in [
        (token("a"), json!({"Token": {"text": "a"}})),
        (Chat::Html("x".to_owned()), json!({"Html": "x"})),
        (
            Chat::Nested(Box::new(Chat::Finished)),
            json!({"nested!": "Finished"}),
        ),
        (Chat::Finished, json!("Finished")),
    ] {
        assert_eq!(serde_json::to_value(&event).unwrap(), tagged);
        assert_eq!(serde_json::from_value::<Chat>(tagged).unwrap(), event);
    }

    let rest = Router::new().route("/rest", get(|| async { Json(token("a")) }));
    let response = Client::new(rest).get("/rest").await.json::<Value>().await;
    assert_eq!(response, json!({"Token": {"text": "a"}}));
}

#[tokio::test]
async fn transparent_wrapper_keeps_the_event_head() {
    // The description does not see through these types, so a schema would be wrong.
    #[derive(Serialize)]
    struct Wrapped(Chat);
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Either {
        Chat(Chat),
    }

    let named = "event: token\ndata: {\"text\":\"a\"}\n\n";
    assert_eq!(wire!(Option<Chat>: Some(token("a"))), named);
    assert_eq!(wire!(Box<Chat>: Box::new(token("a"))), named);
    assert_eq!(wire!(Wrapped: Wrapped(token("a"))), named);
    assert_eq!(wire!(Either: Either::Chat(token("a"))), named);
    assert_eq!(wire!(Option<Chat>: None::<Chat>), "data: null\n\n");
}

#[tokio::test]
async fn nested_event_type_is_plain_json() {
    #[derive(Serialize, JsonSchema)]
    struct Around {
        chat: Chat,
    }
    /// The same type with serde's own derive.
    #[derive(Serialize, JsonSchema)]
    enum Tagged {
        Token { text: &'static str },
        Chat(Chat),
        Finished,
    }

    assert_eq!(
        wire!(Around: Around { chat: token("a") }),
        "data: {\"chat\":{\"Token\":{\"text\":\"a\"}}}\n\n"
    );
    assert_eq!(
        wire!(Vec<Chat>: vec![token("a"), Chat::Finished]),
        "data: [{\"Token\":{\"text\":\"a\"}},\"Finished\"]\n\n"
    );
    assert_eq!(
        wire!((u8, Chat): (1, Chat::Finished)),
        "data: [1,\"Finished\"]\n\n"
    );
    assert_eq!(
        wire!(Tagged: Tagged::Token { text: "a" }),
        "data: {\"Token\":{\"text\":\"a\"}}\n\n"
    );
    assert_eq!(
        wire!(Tagged: Tagged::Chat(token("a"))),
        "data: {\"Chat\":{\"Token\":{\"text\":\"a\"}}}\n\n"
    );
    assert_eq!(wire!(Tagged: Tagged::Finished), "data: \"Finished\"\n\n");
}

#[tokio::test]
async fn event_head_does_not_leak_to_the_next_value() {
    /// A wrapper that serializes its event with `serde_json` and then passes the resulting string
    /// to our serializer.
    struct Quoted(Chat);
    impl Serialize for Quoted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(serializer.is_human_readable());
            let quoted = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
            serializer.serialize_newtype_variant("Quoted", 0, "quoted", &quoted)
        }
    }
    assert_eq!(
        wire!(Quoted: Quoted(token("a"))),
        "data: {\"quoted\":\"{\\\"Token\\\":{\\\"text\\\":\\\"a\\\"}}\"}\n\n"
    );

    /// An enum whose only variant is skipped. serde rejects the variant before calling the
    /// serializer.
    #[derive(SseEvent, JsonSchema)]
    enum Rejected {
        #[serde(skip)]
        Skipped,
    }
    #[sse_endpoint("/rejected")]
    async fn rejected() -> impl Stream<Item = Rejected> {
        yield_!(Rejected::Skipped);
    }
    let mut events = Client::new(Router::new().sse(rejected))
        .get("/rejected")
        .await
        .events();
    events.next().await.unwrap_err();
    // Like event types, `Ipv4Addr` checks whether the serializer is human-readable.
    assert_eq!(
        wire!(std::net::Ipv4Addr: std::net::Ipv4Addr::LOCALHOST),
        "data: \"127.0.0.1\"\n\n"
    );
}

#[tokio::test]
async fn event_head_applies_to_its_own_value() {
    /// An event whose serialization uses `serde_json` to serialize another event.
    #[derive(Clone, SseEvent, JsonSchema)]
    #[serde(into = "Json")]
    struct Outer;
    type Json = String;
    impl From<Outer> for String {
        fn from(_: Outer) -> Self {
            serde_json::to_string(&token("a")).unwrap()
        }
    }
    assert_eq!(
        wire!(Outer: Outer),
        "event: outer\ndata: \"{\\\"Token\\\":{\\\"text\\\":\\\"a\\\"}}\"\n\n"
    );
}
