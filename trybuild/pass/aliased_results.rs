//! The error type is found even if the return type uses an alias of `Result`.
#![deny(warnings)]

use axum::{Router, http::StatusCode, response::IntoResponse};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct MyErr;

impl IntoResponse for MyErr {
    fn into_response(self) -> axum::response::Response {
        StatusCode::IM_A_TEAPOT.into_response()
    }
}

type Result<T> = std::result::Result<T, MyErr>;

fn one() -> Result<u32> {
    Ok(1)
}

#[sse_endpoint("/outer")]
async fn outer() -> Result<impl Stream<Item = u32>> {
    let one = one()?;
    yield_!(one);
}

#[sse_endpoint("/item")]
async fn item() -> impl Stream<Item = Result<u32>> {
    yield_!(one()?);
}

#[sse_endpoint("/both")]
async fn both() -> Result<impl Stream<Item = Result<u32>>> {
    let first = one()?;
    yield_!(first);
    yield_!(one()?);
    return Err(MyErr);
}

/// axum's own `Result` alias accepts any response as an error.
#[sse_endpoint("/axum")]
async fn axums() -> axum::response::Result<impl Stream<Item = u32>> {
    let one: u32 = "1".parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let two: u32 = "2".parse().map_err(|_| "not a number")?;
    yield_!(one + two);
}

fn main() {
    let _: Router = Router::new().sse(outer).sse(item).sse(both).sse(axums);
}
