//! axum's extractors as arguments, in the order that axum requires.
#![deny(warnings)]

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{FromRef, Path, Query, State},
    http::{HeaderMap, Method as M, Uri},
};
use sse_runtime::{LastEventId, SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Deserialize)]
struct Question {
    text: String,
    r#type: u32,
}

#[derive(Clone)]
struct App {
    ticks: u32,
}

#[derive(Clone)]
struct Ticks(u32);

impl FromRef<App> for Ticks {
    fn from_ref(app: &App) -> Self {
        Self(app.ticks)
    }
}

#[sse_endpoint("/ask/{room}", method = POST)]
async fn ask(
    Path(room): Path<String>,
    State(App { ticks }): State<App>,
    State(Ticks(part)): State<Ticks>,
    Query(Question { text, r#type }): Query<Question>,
    last: LastEventId,
    _: HeaderMap,
    mut body: Bytes,
) -> impl Stream<Item = String> {
    let _ = (last, part);
    body.truncate(1);
    yield_!(format!(
        "{room} {ticks} {text} {type} {}",
        body.len(),
        r#type = r#type
    ));
}

#[sse_endpoint("/json", method = POST)]
async fn json(Json(question): Json<Question>) -> impl Stream<Item = u32> {
    yield_!(question.r#type + question.text.len() as u32);
}

#[sse_endpoint("/text", method = PUT)]
async fn text(text: String) -> impl Stream<Item = String> {
    yield_!(text);
}

#[sse_endpoint("/type/{type}")]
async fn r#type(Path(r#type): Path<u32>) -> impl Stream<Item = u32> {
    yield_!(r#type);
}

#[sse_endpoint("/{a}/{b}")]
async fn pair(Path((a, b)): Path<(u32, u32)>, mut uri: Uri) -> impl Stream<Item = u32> {
    yield_!(a + b + uri.path().len() as u32);
    uri = Uri::from_static("/");
    drop(uri);
}

#[rustfmt::skip]
#[sse_endpoint("/sixteen")]
async fn sixteen(
    a: M, b: M, c: M, d: M, e: M, f: M, g: M, h: M,
    i: M, j: M, k: M, l: M, m: M, n: M, o: M, p: Extension<u32>,
) -> impl Stream<Item = u32> {
    yield_!([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o].len() as u32 + p.0);
}

/// Works with any state.
fn anywhere<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().sse(text).sse(json).sse(pair).sse(sixteen)
}

struct Group;

impl Group {
    /// An endpoint that is an associated function.
    #[sse_endpoint("/group")]
    async fn stream() -> impl Stream<Item = u32> {
        yield_!(1);
    }
}

fn main() {
    let _: Router = anywhere::<App>()
        .sse(ask)
        .sse(r#type)
        .sse(Group::stream)
        .with_state(App { ticks: 1 });
    assert_eq!(r#type().name(), "type");
}
