//! The four return types, the values that can be yielded, and the places where `yield_!` can be
//! used.

mod errors;
mod places;
mod values;

use std::num::ParseIntError;

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use sse_runtime::{
    Stream, sse_endpoint,
    testing::{Client, Events},
};
use support::SseRouterExt as _;

/// The stream's error type.
#[derive(Debug, serde::Serialize, JsonSchema)]
struct Oops {
    message: String,
}

impl From<ParseIntError> for Oops {
    fn from(error: ParseIntError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

/// The response's error type.
struct Refused(StatusCode);

impl From<ParseIntError> for Refused {
    fn from(_: ParseIntError) -> Self {
        Self(StatusCode::BAD_REQUEST)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

async fn values(events: &mut Events) -> Vec<u64> {
    let mut values = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        assert_eq!(event.event, "message", "{event:?}");
        values.push(event.json());
    }
    values
}

async fn get(app: Router, uri: &str) -> sse_runtime::testing::Response {
    Client::new(app).get(uri).await
}

#[sse_endpoint("/stream/{n}")]
async fn stream(Path(n): Path<u64>) -> impl Stream<Item = u64> {
    for i in 0..n {
        if i == 3 {
            return;
        }
        yield_!(i);
    }
}

#[sse_endpoint("/try-stream/{n}", error_event = "failure")]
async fn try_stream(Path(n): Path<String>) -> impl Stream<Item = Result<u64, Oops>> {
    let n: u64 = n.parse()?;
    yield_!(n);
    if n == 1 {
        return;
    }
    if n == 2 {
        return Err(Oops {
            message: "two".to_owned(),
        });
    }
    let _: u64 = "x".parse()?;
    yield_!(0);
}

#[sse_endpoint("/response/{n}")]
async fn response(Path(n): Path<String>) -> Result<impl Stream<Item = u64>, Refused> {
    let n: u64 = n.parse()?;
    match n {
        0 => return,
        1 => return Err(Refused(StatusCode::NOT_FOUND)),
        _ => {}
    }
    yield_!(n);
    if n == 2 {
        return;
    }
    yield_!(n + 1);
}

#[sse_endpoint("/try-response/{n}")]
async fn try_response(
    Path(n): Path<String>,
) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
    let n: u64 = n.parse()?;
    if n == 0 {
        return;
    }
    if n == 1 {
        return Err(Refused(StatusCode::NOT_FOUND));
    }
    yield_!(n);
    match n {
        2 => return,
        3 => {
            return Err(Oops {
                message: "three".to_owned(),
            });
        }
        _ => {}
    }
    let _: u64 = "x".parse()?;
}

fn app() -> Router {
    Router::new()
        .sse(stream)
        .sse(try_stream)
        .sse(response)
        .sse(try_response)
}

impl From<Oops> for Refused {
    fn from(_: Oops) -> Self {
        Self(StatusCode::TOO_MANY_REQUESTS)
    }
}
