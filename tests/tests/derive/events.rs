//! `#[derive(SseEvent)]`: on the wire, as JSON of a REST handler, and read back.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use eventsource_stream::Eventsource as _;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{
    Event, EventId, RouterExt as _, SseEvent, Stream, Text, sse_endpoint, testing::Client,
};
use support::{log::Log, text::text};
use tokio_stream::StreamExt as _;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Call {
    tool: String,
    arguments: Value,
}

/// Every kind of variant there is, with every attribute of serde's that touches a field.
#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
enum Chat {
    Token {
        text: String,
    },
    #[sse(event = "tool-call")]
    ToolCall(Call),
    #[sse(text)]
    Html(String),
    #[sse(message)]
    Plain(Vec<i64>),
    Numbered {
        #[sse(id)]
        seq: u64,
        #[serde(rename = "T")]
        text: Option<String>,
    },
    Keyed {
        #[sse(id)]
        #[serde(skip)]
        key: Option<EventId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        #[serde(with = "as_text")]
        price: i64,
        #[serde(flatten)]
        call: Call,
    },
    #[serde(rename = "nested!")]
    Nested(Box<Self>),
    Empty {},
    Finished,
}

/// A number that travels as text.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(crate) fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[sse_endpoint("/chat", flush = "ready")]
async fn chat(State(script): State<Arc<Vec<Chat>>>) -> impl Stream<Item = Chat> {
    for event in script.iter() {
        yield_!(event);
    }
}

fn client(script: Vec<Chat>) -> Client {
    Client::new(Router::new().sse(chat).with_state(Arc::new(script)))
}

fn call() -> Call {
    Call {
        tool: "search".to_owned(),
        arguments: json!({"q": [1]}),
    }
}

fn keyed() -> Chat {
    Chat::Keyed {
        key: Some(EventId::from("k1")),
        tags: Vec::new(),
        price: -3,
        call: call(),
    }
}

fn token(text: &str) -> Chat {
    Chat::Token {
        text: text.to_owned(),
    }
}

/// What a stream of this one item sends; the endpoint is made for its type.
macro_rules! wire {
    ($item:ty: $value:expr) => {{
        #[sse_endpoint("/item")]
        async fn item() -> impl Stream<Item = $item> {
            yield_!($value);
        }
        Client::new(Router::new().sse(item))
            .get("/item")
            .await
            .text()
            .await
    }};
}

#[tokio::test]
async fn every_kind_of_variant_has_its_bytes() {
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
async fn an_event_type_is_plain_json_for_everybody_else() {
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
    let answer = Client::new(rest).get("/rest").await.json::<Value>().await;
    assert_eq!(answer, json!({"Token": {"text": "a"}}));
}

#[tokio::test]
async fn a_value_around_it_that_json_sees_through_is_seen_through() {
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
async fn inside_of_another_value_it_is_plain_json() {
    #[derive(Serialize)]
    struct Around {
        chat: Chat,
    }
    /// As serde's derive has it, with the same names.
    #[derive(Serialize)]
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
async fn no_head_is_left_for_another_value() {
    /// Writes an event type with another serializer, then something else with ours.
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

    /// serde refuses a variant that is skipped before it calls the serializer.
    #[derive(SseEvent)]
    enum Refused {
        #[serde(skip)]
        Skipped,
    }
    #[sse_endpoint("/refused")]
    async fn refused() -> impl Stream<Item = Refused> {
        yield_!(Refused::Skipped);
    }
    let mut events = Client::new(Router::new().sse(refused))
        .get("/refused")
        .await
        .events();
    events.next().await.unwrap_err();
    // `Ipv4Addr` asks its serializer whether it is human readable, as an event type does.
    assert_eq!(
        wire!(std::net::Ipv4Addr: std::net::Ipv4Addr::LOCALHOST),
        "data: \"127.0.0.1\"\n\n"
    );
}

#[tokio::test]
async fn a_head_is_for_the_value_that_brings_it() {
    /// On its way into the event it is made of another event, by another serializer.
    #[derive(Clone, SseEvent)]
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

#[tokio::test]
async fn a_struct_is_an_event_too() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    struct PriceChange {
        #[sse(id)]
        seq: u32,
        price: u8,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[sse(event = "html", text)]
    struct Markup(Cow<'static, str>);
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[sse(message)]
    struct Flattened {
        #[serde(flatten)]
        call: Call,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
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
async fn a_variant_is_read_back_whatever_serde_knows_it_by() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    enum Aliased {
        #[serde(alias = "old", alias = "older")]
        First {
            n: u8,
        },
        #[serde(skip)]
        #[allow(dead_code, reason = "it is there for its attribute")]
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
async fn a_tag_stays_in_the_data_for_those_who_read_it_there() {
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Delta {
        TextDelta { text: String },
        Stop,
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
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
async fn what_serde_hands_on_is_not_mistaken_for_the_variant() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Inner {
        A { x: u8 },
        B { x: u8 },
        Unit,
        Number(u128),
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        One(Inner),
    }
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[serde(transparent)]
    struct Transparent(Inner);
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
    #[serde(transparent)]
    struct Outer(Chat);
    #[derive(Clone, Debug, PartialEq, SseEvent, Deserialize)]
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
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Either {
        Untagged(Untagged),
        Transparent(Transparent),
        Into(Into),
    }
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
        // serde itself does not read a `u128` behind `untagged`.
        if !matches!(inner, Inner::Number(_)) {
            let mut events = client.get("/0").await.events();
            let untagged = events.expect_event().await.decode::<Untagged>();
            assert_eq!(untagged, Untagged::One(inner));
        }
    }

    // The outer one says what the event is.
    assert_eq!(
        wire!(Outer: Outer(token("a"))),
        "event: outer\ndata: {\"Token\":{\"text\":\"a\"}}\n\n"
    );
}

#[tokio::test]
async fn generics_and_lifetimes_and_names_by_rule() {
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
        #[allow(dead_code, reason = "it is there for its attribute")]
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
async fn what_is_set_on_the_event_wins_over_the_value() {
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
async fn the_id_of_a_field_is_the_clients_cursor() {
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
async fn as_the_error_of_a_stream_it_has_its_own_name() {
    #[derive(SseEvent)]
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
async fn a_text_that_is_none_breaks_off_and_is_logged() {
    #[derive(SseEvent)]
    enum Odd {
        #[sse(text)]
        Text(Seven),
    }
    /// Text to the compiler, a number to serde.
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

#[tokio::test]
#[should_panic(expected = "there is no event `unknown`")]
async fn what_the_type_does_not_know_is_not_decoded() {
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

/// What the standard's parser hands over, put together again by hand: the name says the variant.
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
        unknown => panic!("no variant is called {unknown:?}"),
    };
    serde_json::from_value(tagged).unwrap()
}

/// A line break of any kind in text arrives as LF, which is the only one that the format has.
fn as_received(chat: Chat) -> Chat {
    match chat {
        Chat::Html(text) => Chat::Html(text.replace("\r\n", "\n").replace('\r', "\n")),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_sent_is_read_back(script in prop::collection::vec(any_chat(), 1..6)) {
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
