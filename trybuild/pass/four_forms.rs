//! The four return types, and what `?` and `return` do in each of them.
#![deny(warnings)]

use axum::{Router, http::StatusCode};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Oops(String);

impl From<std::num::ParseIntError> for Oops {
    fn from(error: std::num::ParseIntError) -> Self {
        Self(error.to_string())
    }
}

fn parse(text: &str) -> Result<u32, StatusCode> {
    text.parse().map_err(|_| StatusCode::BAD_REQUEST)
}

#[sse_endpoint("/plain")]
async fn plain() -> impl Stream<Item = u32> {
    yield_!(1);
    if true {
        return;
    }
    yield_!(2);
}

#[sse_endpoint("/falls")]
async fn falls() -> impl Stream<Item = Result<u32, Oops>> {
    let one: u32 = "1".parse()?;
    yield_!(one);
    if one == 1 {
        return Err(Oops("one".to_owned()));
    }
    if one == 2 {
        return;
    }
    Err(Oops("late".to_owned()))?;
}

#[sse_endpoint("/refuses")]
async fn refuses() -> Result<impl Stream<Item = u32>, StatusCode> {
    let one = parse("1")?;
    if one == 2 {
        return Err(StatusCode::NOT_FOUND);
    }
    if one == 3 {
        return;
    }
    yield_!(one);
}

#[sse_endpoint("/both")]
async fn both() -> Result<impl Stream<Item = Result<u32, Oops>>, StatusCode> {
    let one = parse("1")?;
    if one == 2 {
        return Err(StatusCode::NOT_FOUND);
    }
    yield_!(one);
    let two: u32 = "2".parse()?;
    yield_!(two);
    if two == 2 {
        return Err(Oops("two".to_owned()));
    }
    return;
}

fn main() {
    let _: Router = Router::new().sse(plain).sse(falls).sse(refuses).sse(both);
}
