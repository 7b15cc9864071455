//! `#[tracing::instrument]` below `#[sse_endpoint]` records the arguments, but not the yielder.
#![deny(warnings)]

use axum::{Router, extract::Path, http::Method};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
use tracing::instrument;

struct Opaque;

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Opaque {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        _: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self)
    }
}

#[sse_endpoint("/bare/{room}")]
#[instrument]
async fn bare(Path(room): Path<u32>, method: Method) -> impl Stream<Item = u32> {
    yield_!(room + method.as_str().len() as u32);
}

#[sse_endpoint("/skip")]
#[tracing::instrument(skip(opaque))]
async fn skip(opaque: Opaque) -> impl Stream<Item = u32> {
    let _ = opaque;
    yield_!(1);
}

#[sse_endpoint("/skip-all")]
#[tracing::instrument(skip_all)]
async fn skip_all(opaque: Opaque) -> impl Stream<Item = u32> {
    let _ = opaque;
    yield_!(1);
}

#[sse_endpoint("/fields")]
#[instrument(name = "stream", level = "debug", fields(method = %method, skip = 1), skip(opaque))]
async fn fields(method: Method, opaque: Opaque) -> Result<impl Stream<Item = u32>, String> {
    let _ = opaque;
    if method == Method::POST {
        return Err("no".to_owned());
    }
    yield_!(1);
}

#[sse_endpoint("/err")]
#[instrument(fields(skip_all), err(Debug))]
async fn err() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    let one = "1".parse::<u32>().map_err(|error| error.to_string())?;
    yield_!(one);
    return Err("late".to_owned());
}

fn main() {
    let _: Router = Router::new()
        .sse(bare)
        .sse(skip)
        .sse(skip_all)
        .sse(fields)
        .sse(err);
}
