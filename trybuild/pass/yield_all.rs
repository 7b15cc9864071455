//! `yield_all!` with every kind of stream that it accepts.
#![deny(warnings)]

use std::num::ParseIntError;

use axum::{Router, http::StatusCode};
use sse_runtime::{Event, SseRouterExt, Stream, first_ok, sse_endpoint};
use tokio_stream::iter;

#[derive(serde::Serialize)]
struct Oops(String);

impl From<ParseIntError> for Oops {
    fn from(error: ParseIntError) -> Self {
        Self(error.to_string())
    }
}

impl From<Oops> for StatusCode {
    fn from(_: Oops) -> Self {
        Self::BAD_GATEWAY
    }
}

fn upstream() -> impl Stream<Item = Result<u32, Oops>> {
    iter([Ok(1), Err(Oops("over".to_owned()))])
}

/// Part of a long generator, moved into a separate function.
fn part(ticks: &[u32]) -> impl Stream<Item = &u32> {
    iter(ticks)
}

#[sse_endpoint("/plain")]
async fn plain() -> impl Stream<Item = u32> {
    let ticks = [1, 2, 3];
    yield_all!(part(&ticks));
    yield_all!(iter(ticks));
    yield_all!(iter([Event::json(4), Event::json(5)]));
    yield_all!(iter([Event::text("six")]),);
}

#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<u32, Oops>> {
    yield_all!(iter([1, 2]));
    yield_all!(upstream());
    yield_all!(iter(["1".parse::<u32>()]));
    yield_all!(iter([Ok::<_, Oops>(Event::json(3))]));
}

#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = u32>, StatusCode> {
    let numbers = first_ok(iter([Ok::<u32, StatusCode>(1)])).await?;
    drop(numbers);
    yield_all!(iter([1]));
}

#[sse_endpoint("/both")]
async fn both() -> Result<impl Stream<Item = Result<u32, Oops>>, StatusCode> {
    let numbers = first_ok(upstream()).await?;
    yield_all!(numbers);
    yield_all!(iter(["1".parse::<u32>()]));
    if true {
        yield_all!(iter([2]));
    }
}

fn main() {
    let _: Router = Router::new().sse(plain).sse(fails).sse(refuses).sse(both);
}
