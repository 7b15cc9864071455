//! Parts of the TypeScript module that the rooms do not cover.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sse_runtime::{
    Connection, SseError, SseEvent, Stream, Text, openapi::Api, relay, sse_endpoint,
};

#[derive(Debug, SseError)]
#[sse(status = 500)]
enum Failed {
    Badly,
}

#[sse_endpoint("/text-with-problem", allow(early_yield))]
async fn text_with_problem() -> impl Stream<Item = Result<Text<String>, Failed>> {
    yield_!(Text("token".to_owned()));
    return Err(Failed::Badly);
}

#[sse_endpoint("/json-with-text", allow(early_yield))]
async fn json_with_text() -> impl Stream<Item = Result<u32, Text<String>>> {
    yield_!(1);
    return Err(Text("failed".to_owned()));
}

#[sse_endpoint("/relays")]
async fn relays() -> impl Stream<Item = Value> {
    yield_all!(relay(Body::empty().into_data_stream()).abort_on_error());
}

#[derive(Debug, SseEvent, JsonSchema)]
enum Inherited {
    Constructor {
        value: u8,
    },
    #[sse(event = "toString")]
    ToString,
}

#[sse_endpoint("/inherited")]
async fn inherited() -> impl Stream<Item = Inherited> {
    yield_!(Inherited::Constructor { value: 1 });
    yield_!(Inherited::ToString);
}

#[derive(Serialize, JsonSchema)]
struct Blob {
    size: u8,
}

#[sse_endpoint("/upload", method = POST)]
async fn upload(bytes: Bytes) -> impl Stream<Item = Blob> {
    let size = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    yield_!(Blob { size });
}

#[derive(Deserialize, JsonSchema)]
struct Sent {
    number: u64,
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
struct Received {
    number: u64,
}

#[sse_endpoint("/numbers", method = POST)]
async fn numbers(Json(sent): Json<Sent>) -> impl Stream<Item = Received> {
    let number = sent.number + sent.others.len() as u64;
    yield_!(Received { number });
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
enum Mode {
    Fast,
    Slow,
}

#[derive(Deserialize, JsonSchema)]
struct Page {
    page: u32,
    #[serde(flatten)]
    mode: Mode,
}

#[sse_endpoint("/pages")]
async fn pages(Query(page): Query<Page>) -> impl Stream<Item = u32> {
    yield_!(page.page + u32::from(matches!(page.mode, Mode::Fast)));
}

#[derive(Deserialize, JsonSchema)]
struct Room {
    room: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Wrapped(Room);

#[sse_endpoint("/wrapped/{room}")]
async fn wrapped(Path(Wrapped(room)): Path<Wrapped>) -> impl Stream<Item = u32> {
    yield_!(room.room);
}

#[sse_endpoint("/observed")]
async fn observed(connection: Connection) -> impl Stream<Item = u32> {
    connection.on_close(async |_| {});
    yield_!(1);
}

#[sse_endpoint("/helped")]
async fn helped(connection: Connection) -> impl Stream<Item = u32> {
    connection.spawn(async {});
    yield_!(1);
}

#[derive(Debug, SseError)]
#[sse(status = 404)]
enum NotFound {
    NoRoom,
    Custom { code: String },
}

#[sse_endpoint("/refused")]
async fn refused() -> Result<impl Stream<Item = Result<u32, Failed>>, Failed> {
    yield_!(1);
}

#[sse_endpoint("/found", method = POST)]
async fn found(code: String) -> Result<impl Stream<Item = u32>, NotFound> {
    if code.is_empty() {
        return Err(NotFound::NoRoom);
    }
    if code != "found" {
        return Err(NotFound::Custom { code });
    }
    yield_!(1);
}

fn api() -> Api {
    let api = Api::new("Module", "1.0.0");
    drop(api.of(text_with_problem));
    drop(api.of(json_with_text));
    drop(api.of(relays));
    drop(api.of(inherited));
    drop(api.of(upload));
    drop(api.of(numbers));
    drop(api.of(pages));
    drop(api.of(wrapped));
    drop(api.of(observed));
    drop(api.of(helped));
    drop(api.of(refused));
    drop(api.of(found));
    api
}

/// Returns the line that contains the endpoint's description for the client.
fn description(endpoint: &str) -> String {
    let module = api().typescript();
    let path = format!("path: \"/{endpoint}\"");
    let line = module.lines().find(|line| line.contains(&path));
    line.unwrap().to_owned()
}

#[test]
fn errors_are_decoded_apart_from_items() {
    let text = description("text-with-problem");
    assert!(
        text.contains("error: \"error\", events: {}, other: \"text\""),
        "{text}"
    );
    let json = description("json-with-text");
    assert!(
        json.contains("error: \"error\", problem: \"text\", events: {}, other: \"json\""),
        "{json}"
    );
}

#[test]
fn relayed_events_can_be_anything() {
    let relays = description("relays");
    assert!(!relays.contains("other:"), "{relays}");
    let untyped = api().untyped();
    assert!(
        untyped.contains(&"relays: the relayed events".to_owned()),
        "{untyped:?}"
    );
}

#[test]
fn inherited_names_are_constants() {
    let inherited = description("inherited");
    assert!(
        inherited.contains("{ constructor: \"json\" as const, toString: \"empty\" as const }"),
        "{inherited}"
    );
}

#[test]
fn types_of_the_page_are_not_replaced() {
    let module = api().typescript();
    assert!(module.contains("export type Blob2 = { size: number };"));
    assert!(module.contains("body?: string | Blob | ArrayBuffer | ArrayBufferView"));
}

#[test]
fn large_integers_of_requests_are_numbers() {
    let module = api().large_integers_as_strings().typescript();
    assert!(module.contains("export type Received = { number: number | string };"));
    assert!(
        module
            .contains("export type Sent = { number: number; [member: string]: string | number };")
    );
}

#[test]
fn newtype_of_captures_is_read_like_its_content() {
    assert!(
        api()
            .typescript()
            .contains("wrapped: (input: { room: number },")
    );
}

#[test]
fn missing_query_parameters_are_reported() {
    let expected = "pages: the query parameters of a flattened enum or map".to_owned();
    assert!(api().untyped().contains(&expected));
}

#[test]
fn only_tasks_add_an_internal_error() {
    let module = api().typescript();
    assert!(module.contains("EventStream<ObservedEvent, never>"));
    assert!(module.contains("EventStream<HelpedEvent, { code: \"internal_error\"; "));
    // A task may still panic, because the function may pass the connection on.
    let observed = description("observed");
    assert!(observed.contains("error: \"error\""), "{observed}");
    assert!(!observed.contains("codes"), "{observed}");
    let helped = description("helped");
    assert!(helped.contains("codes: [\"internal_error\"]"), "{helped}");
}

#[test]
fn declared_problems_have_known_codes() {
    assert!(description("refused").contains("codes: [\"badly\"]"));
    // The field `code` of a variant replaces the code, but not the status.
    let found = description("found");
    assert!(found.contains("codes: [\"no_room\", 404]"), "{found}");
}

#[test]
fn errors_without_codes_are_unchecked() {
    assert!(description("json-with-text").contains("unchecked: true"));
    assert!(!description("text-with-problem").contains("unchecked"));
    assert!(description("relays").contains("unchecked: true"));
}

#[test]
fn names_contain_only_characters_of_identifiers() {
    let api = Api::new("Module", "1.0.0");
    drop(api.named("a\u{b2}", inherited));
    assert!(api.typescript().contains("export type AEvent ="));
}
