//! The bytes on the wire for each kind of type and each attribute.

use std::{borrow::Cow, time::Duration};

use axum::{Router, extract::Path, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sse_runtime::{Event, EventId, SseEvent, Stream, sse_endpoint, testing::Client};
use support::{SseRouterExt as _, log::Log};

use super::{Call, Chat, call, client, token};

fn keyed() -> Chat {
    Chat::Keyed {
        key: Some(EventId::from("k1")),
        tags: Vec::new(),
        price: -3,
        call: call(),
    }
}

#[tokio::test]
async fn each_kind_of_variant_has_the_expected_bytes() {
    for (event, bytes) in [
        (
            token("a\u{2028}b"),
            "event: token\ndata: {\"text\":\"a\\u2028b\"}\n\n",
        ),
        (
            Chat::ToolCall(call()),
            "event: tool-call\ndata: {\"tool\":\"search\",\"arguments\":{\"q\":[1]}}\n\n",
        ),
        (
            Chat::Html("<p>\r\n \"x\"</p>\n".to_owned()),
            "event: html\ndata: <p>\ndata:  \"x\"</p>\ndata: \n\n",
        ),
        (Chat::Plain(vec![1, -2]), "data: [1,-2]\n\n"),
        (
            Chat::Numbered { seq: 7, text: None },
            "event: numbered\nid: 7\ndata: {\"seq\":7,\"T\":null}\n\n",
        ),
        (
            keyed(),
            "event: keyed\nid: k1\ndata: {\"price\":\"-3\",\"tool\":\"search\",\"arguments\":{\"q\":[1]}}\n\n",
        ),
        (
            Chat::Nested(Box::new(Chat::Finished)),
            "event: nested\ndata: \"Finished\"\n\n",
        ),
        (Chat::Empty {}, "event: empty\ndata: {}\n\n"),
        (Chat::Finished, "event: finished\ndata: \n\n"),
    ] {
        let response = client(vec![event.clone()]).get("/chat").await;
        assert_eq!(response.text().await, bytes, "{event:?}");
    }
}

#[tokio::test]
async fn struct_can_be_an_event() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    struct PriceChange {
        #[sse(id)]
        seq: u32,
        price: u8,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    #[sse(event = "html", text)]
    struct Markup(Cow<'static, str>);
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    #[sse(message)]
    struct Flattened {
        #[serde(flatten)]
        call: Call,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
    struct Ended;

    let change = PriceChange { seq: 3, price: 9 };
    assert_eq!(
        wire!(PriceChange: PriceChange { seq: 3, price: 9 }),
        "event: price_change\nid: 3\ndata: {\"seq\":3,\"price\":9}\n\n"
    );
    assert_eq!(
        serde_json::to_value(&change).unwrap(),
        json!({"seq": 3, "price": 9})
    );
    assert_eq!(
        wire!(Markup: Markup("a\nb".into())),
        "event: html\ndata: a\ndata: b\n\n"
    );
    assert_eq!(
        wire!(Flattened: Flattened { call: call() }),
        "data: {\"tool\":\"search\",\"arguments\":{\"q\":[1]}}\n\n"
    );
    assert_eq!(wire!(Ended: Ended), "event: ended\ndata: \n\n");

    #[sse_endpoint("/all")]
    async fn all() -> impl Stream<Item = PriceChange> {
        yield_!(PriceChange { seq: 3, price: 9 });
    }
    let mut events = Client::new(Router::new().sse(all))
        .get("/all")
        .await
        .events();
    assert_eq!(events.expect_event().await.decode::<PriceChange>(), change);
}

#[tokio::test]
async fn generics_lifetimes_and_rename_rules_work() {
    #[derive(SseEvent)]
    #[sse(rename_all = "SCREAMING-KEBAB-CASE")]
    #[serde(rename_all = "camelCase", rename_all_fields = "UPPERCASE")]
    enum Update<'a, T: Iterator, const N: usize>
    where
        T::Item: Clone,
    {
        PriceChange {
            last: T::Item,
            all: &'a [T::Item],
        },
        #[serde(skip)]
        #[allow(dead_code, reason = "only its attribute is tested")]
        Never(std::marker::PhantomData<T>),
        ByName(std::marker::PhantomData<[u8; N]>),
    }
    type Concrete = Update<'static, std::vec::IntoIter<u8>, 0>;

    assert_eq!(
        wire!(Concrete: Concrete::PriceChange { last: 1, all: &[2] }),
        "event: PRICE-CHANGE\ndata: {\"LAST\":1,\"ALL\":[2]}\n\n"
    );
    let tagged = serde_json::to_value(Concrete::ByName(std::marker::PhantomData)).unwrap();
    assert_eq!(tagged, json!({"byName": null}));
}

#[tokio::test]
async fn fields_of_event_override_those_of_the_value() {
    assert_eq!(
        wire!(Chat: Event::json(Chat::Numbered { seq: 7, text: None }).event("other").id(9_u8)),
        "event: other\nid: 9\ndata: {\"seq\":7,\"T\":null}\n\n"
    );
    assert_eq!(
        wire!(Chat: Event::json(Chat::Numbered { seq: 7, text: None }).retry(Duration::from_secs(1))),
        "event: numbered\nid: 7\nretry: 1000\ndata: {\"seq\":7,\"T\":null}\n\n"
    );
    assert_eq!(
        wire!(Chat: Event::json(Chat::Finished).with_comment("last")),
        ": last\nevent: finished\ndata: \n\n"
    );
}

#[tokio::test]
async fn id_field_becomes_the_last_event_id() {
    #[sse_endpoint("/cursor", end = "stop")]
    async fn cursor() -> impl Stream<Item = Chat> {
        yield_!(Chat::Numbered { seq: 7, text: None });
        yield_!(token("a"));
    }
    let client = Client::new(Router::new().sse(cursor));
    let mut events = client.get("/cursor").await.events();
    assert_eq!(events.expect_event().await.id, "7");
    assert_eq!(events.expect_event().await.id, "7");
    assert_eq!(events.expect_event().await.id, "7~done");
    events.expect_end().await;
    let again = client.get("/cursor").last_event_id("7~done").await;
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn error_of_a_stream_has_its_own_event_name() {
    #[derive(SseEvent, JsonSchema)]
    enum Failure {
        Overloaded {
            load: u8,
        },
        #[sse(message)]
        Other(String),
    }
    #[sse_endpoint("/fails/{other}", error_event = "failed")]
    async fn fails(Path(other): Path<bool>) -> impl Stream<Item = Result<u8, Failure>> {
        yield_!(1);
        if other {
            return Err(Failure::Other("why".to_owned()));
        }
        return Err(Failure::Overloaded { load: 9 });
    }
    let client = Client::new(Router::new().sse(fails));
    assert_eq!(
        client.get("/fails/false").await.text().await,
        "data: 1\n\nevent: overloaded\ndata: {\"load\":9}\n\n"
    );
    assert_eq!(
        client.get("/fails/true").await.text().await,
        "data: 1\n\nevent: failed\ndata: \"why\"\n\n"
    );
}

#[tokio::test]
async fn stream_is_cut_off_if_text_is_not_a_string() {
    #[derive(SseEvent)]
    enum Odd {
        #[sse(text)]
        Text(Seven),
    }
    /// Implements `AsRef<str>` but serializes as a number.
    struct Seven;
    impl AsRef<str> for Seven {
        fn as_ref(&self) -> &'static str {
            "seven"
        }
    }
    impl Serialize for Seven {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u8(7)
        }
    }
    #[sse_endpoint("/odd")]
    async fn odd() -> impl Stream<Item = Odd> {
        yield_!(Odd::Text(Seven));
    }
    let log = Log::capture();
    let mut events = Client::new(Router::new().sse(odd))
        .get("/odd")
        .await
        .events();
    events.next().await.unwrap_err();
    assert!(log.text().contains("`#[sse(text)]`"), "{}", log.text());
}
