//! The item types of a stream, and the values that `yield_!` accepts for each of them.
#![deny(warnings)]

use axum::{Router, response::Html};
use sse_runtime::{Event, SseRouterExt, Stream, Text, sse_endpoint};

#[derive(serde::Serialize)]
struct Tick {
    price: u32,
}

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Tick> {
    let tick = Tick { price: 1 };
    yield_!(&tick);
    yield_!(Event::json(&tick).id(1_u64).event("tick"));
    yield_!(Event::json(Tick { price: 2 }));
    yield_!(Event::text("[DONE]"));
    yield_!(Event::comment("nothing else"));
    yield_!(Event::empty().id("cursor"));
    yield_!(tick);
    yield_!(Event::done());
}

#[sse_endpoint("/text")]
async fn text() -> impl Stream<Item = Text<String>> {
    yield_!(Text("two\nlines".to_owned()));
    yield_!(Event::json(Text(String::new())));
}

#[sse_endpoint("/html")]
async fn html() -> impl Stream<Item = Html<&'static str>> {
    yield_!(Html("<p>"));
}

#[sse_endpoint("/option")]
async fn option() -> impl Stream<Item = Option<Tick>> {
    yield_!(None);
    yield_!(Some(Tick { price: 1 }));
}

#[sse_endpoint("/vec")]
async fn vec() -> impl Stream<Item = Vec<Tick>> {
    yield_!(vec![]);
    yield_!(Vec::new());
    yield_!(vec![Tick { price: 1 }],);
}

#[sse_endpoint("/literals")]
async fn float() -> impl Stream<Item = f32> {
    yield_!(1.5);
}

#[sse_endpoint("/str")]
async fn str() -> impl Stream<Item = &'static str> {
    yield_!("one");
}

#[sse_endpoint("/tuple")]
async fn tuple() -> impl Stream<Item = (u8, String)> {
    yield_!((1, "one".to_owned()));
}

#[sse_endpoint("/unit")]
async fn unit() -> impl Stream<Item = ()> {
    yield_!(());
}

fn main() {
    let _: Router = Router::new()
        .sse(ticks)
        .sse(text)
        .sse(html)
        .sse(option)
        .sse(vec)
        .sse(float)
        .sse(str)
        .sse(tuple)
        .sse(unit);
}
