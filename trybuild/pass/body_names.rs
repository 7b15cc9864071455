//! A user-defined type with the same name as one of axum's body extractors must not be mistaken for that extractor.
#![deny(warnings)]

use axum::{Router, extract::FromRequestParts, http::{Method, request::Parts}};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

struct Json<T>(T);

impl<S: Send + Sync> FromRequestParts<S> for Json<u32> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(1))
    }
}

#[sse_endpoint("/own", method = POST)]
async fn own(json: crate::Json<u32>, method: Method) -> impl Stream<Item = u32> {
    yield_!(json.0 + method.as_str().len() as u32);
}

fn main() {
    let _: Router = Router::new().sse(own);
}
