//! Tests that decoding an event returns the value that was sent.

use std::fmt;

use axum::Router;
use eventsource_stream::Eventsource as _;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sse_runtime::{Event, SseEvent, Stream, Text, sse_endpoint, testing::Client};
use support::{SseRouterExt as _, text::text};
use tokio_stream::StreamExt as _;

use super::{Call, Chat, client};

#[tokio::test]
async fn variant_is_decoded_by_event_name_despite_aliases() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    enum Aliased {
        #[serde(alias = "old", alias = "older")]
        First {
            n: u8,
        },
        #[serde(skip)]
        #[allow(dead_code, reason = "only its attribute is tested")]
        Hidden,
        Second {
            n: u8,
        },
        Third {
            n: u8,
        },
    }
    #[sse_endpoint("/aliased", flush = "ready")]
    async fn aliased() -> impl Stream<Item = Aliased> {
        yield_!(Aliased::First { n: 1 });
        yield_!(Aliased::Second { n: 2 });
        yield_!(Aliased::Third { n: 3 });
    }
    let client = Client::new(Router::new().sse(aliased));
    let mut events = client.get("/aliased").await.events();
    for expected in [
        Aliased::First { n: 1 },
        Aliased::Second { n: 2 },
        Aliased::Third { n: 3 },
    ] {
        assert_eq!(events.expect_event().await.decode::<Aliased>(), expected);
    }
}

#[tokio::test]
async fn serde_tag_stays_in_the_data() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Delta {
        TextDelta { text: String },
        Stop,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Nothing,
    }
    #[sse_endpoint("/delta", flush = "ready")]
    async fn delta() -> impl Stream<Item = Delta> {
        yield_!(Delta::TextDelta { text: "x".into() });
        yield_!(Delta::Stop);
    }
    #[sse_endpoint("/untagged", flush = "ready")]
    async fn untagged() -> impl Stream<Item = Untagged> {
        yield_!(Untagged::Number(7));
        yield_!(Untagged::Nothing);
    }
    let client = Client::new(Router::new().sse(delta).sse(untagged));
    assert_eq!(
        client.get("/delta").await.text().await,
        "event: text_delta\ndata: {\"type\":\"text_delta\",\"text\":\"x\"}\n\n\
         event: stop\ndata: {\"type\":\"stop\"}\n\n"
    );
    let mut events = client.get("/delta").await.events();
    let text = "x".to_owned();
    assert_eq!(
        events.expect_event().await.decode::<Delta>(),
        Delta::TextDelta { text }
    );
    assert_eq!(events.expect_event().await.decode::<Delta>(), Delta::Stop);

    assert_eq!(
        client.get("/untagged").await.text().await,
        "event: number\ndata: 7\n\nevent: nothing\ndata: null\n\n"
    );
    let mut events = client.get("/untagged").await.events();
    assert_eq!(
        events.expect_event().await.decode::<Untagged>(),
        Untagged::Number(7)
    );
    assert_eq!(
        events.expect_event().await.decode::<Untagged>(),
        Untagged::Nothing
    );
}

#[tokio::test]
#[should_panic(expected = "unknown event name `unknown`")]
async fn decode_panics_for_unknown_event_name() {
    let text = wire!(Text<&'static str>: Event::text("x").event("unknown"));
    assert_eq!(text, "event: unknown\ndata: x\n\n");
    #[sse_endpoint("/unknown")]
    async fn unknown() -> impl Stream<Item = u8> {
        yield_!(Event::text("x").event("unknown"));
    }
    let mut events = Client::new(Router::new().sse(unknown))
        .get("/unknown")
        .await
        .events();
    let _ = events.expect_event().await.decode::<Chat>();
}

fn any_call() -> impl Strategy<Value = Call> {
    (text(), text(), any::<i64>()).prop_map(|(tool, key, number)| Call {
        tool,
        arguments: json!({ key: number }),
    })
}

fn any_chat() -> impl Strategy<Value = Chat> {
    let leaf = prop_oneof![
        text().prop_map(|text| Chat::Token { text }),
        any_call().prop_map(Chat::ToolCall),
        text().prop_map(Chat::Html),
        prop::collection::vec(any::<i64>(), 0..3).prop_map(Chat::Plain),
        (any::<u64>(), prop::option::of(text()))
            .prop_map(|(seq, text)| Chat::Numbered { seq, text }),
        (
            prop::collection::vec(text(), 0..3),
            any::<i64>(),
            any_call()
        )
            .prop_map(|(tags, price, call)| Chat::Keyed {
                key: None,
                tags,
                price,
                call
            }),
        Just(Chat::Empty {}),
        Just(Chat::Finished),
    ];
    leaf.prop_recursive(2, 4, 1, |inner| {
        inner.prop_map(|chat| Chat::Nested(Box::new(chat)))
    })
}

/// Decodes a parsed event without using the derive. The event name determines the variant.
fn by_hand(event: &str, data: &str) -> Chat {
    let json = || serde_json::from_str::<Value>(data).unwrap();
    let tagged = match event {
        "html" => json!({ "Html": data }),
        "finished" => {
            assert_eq!(data, "");
            json!("Finished")
        }
        "token" => json!({ "Token": json() }),
        "tool-call" => json!({ "ToolCall": json() }),
        "message" => json!({ "Plain": json() }),
        "numbered" => json!({ "Numbered": json() }),
        "keyed" => json!({ "Keyed": json() }),
        "nested" => json!({ "nested!": json() }),
        "empty" => json!({ "Empty": json() }),
        unknown => panic!("no variant is named {unknown:?}"),
    };
    serde_json::from_value(tagged).unwrap()
}

/// Converts the line breaks in a text to LF, since a client decodes every line break as LF.
fn as_received(chat: Chat) -> Chat {
    match chat {
        Chat::Html(text) => Chat::Html(text.replace("\r\n", "\n").replace('\r', "\n")),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_script_is_decoded_to_the_same_values(script in prop::collection::vec(any_chat(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (independent, ours) = runtime.block_on(async {
            let body = client(script.clone()).get("/chat").await.text().await;
            let decoded = tokio_stream::once(Ok::<_, fmt::Error>(body)).eventsource();
            let decoded: Vec<Chat> = decoded.map(|event| event.unwrap()).map(|event| by_hand(&event.event, &event.data)).collect().await;
            let mut events = client(script.clone()).get("/chat").await.events();
            let mut ours = Vec::new();
            while let Some(event) = events.next().await.unwrap() {
                ours.push(event.decode::<Chat>());
            }
            (decoded, ours)
        });
        let expected: Vec<Chat> = script.into_iter().map(as_received).collect();
        prop_assert_eq!(&independent, &expected);
        prop_assert_eq!(&ours, &expected);
    }
}
