//! In an endpoint, the macro ignores all code that is disabled by `#[cfg(…)]`, wherever that code
//! appears.
#![deny(warnings)]

use axum::{
    Router,
    extract::{Path, State},
    http::Method,
};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

type Refused = &'static str;

/// Every `yield_!` before the `?` is disabled, so the response has not started yet and the error becomes a status.
#[sse_endpoint("/statements/{n}")]
async fn statements(Path(n): Path<String>) -> Result<impl Stream<Item = u32>, Refused> {
    #[cfg(any())]
    yield_!("gone");
    #[cfg(any())]
    {
        yield_!(gone);
    }
    #[cfg(any())]
    let n = yield_!(gone);
    if n.is_empty() {
        #[cfg(any())]
        yield_!("gone");
        return;
    }
    match n.len() {
        #[cfg(any())]
        0 => yield_!("gone"),
        #[cfg(all())]
        0 => return,
        _ => {}
    }
    let _ = (n.len(), #[cfg(any())] { yield_!("gone") });
    tokio::select! {
        () = std::future::ready(()) => {
            #[cfg(any())]
            yield_!("gone");
        }
    }
    let n: u32 = n.parse().map_err(|_| "not a number")?;
    #[cfg(not(any()))]
    yield_!(n);
    #[cfg(any())]
    "1".parse::<u32>()?;
}

#[sse_endpoint("/arguments/{n}")]
async fn arguments(
    #[cfg(any())] gone: Gone,
    #[cfg(all())] Path(n): Path<u32>,
    #[cfg_attr(all(), cfg(any()))] gone: Gone,
    #[allow(unused_variables)] method: Method,
    #[cfg_attr(all(), expect(unused_variables))] State(state): State<u8>,
) -> impl Stream<Item = u32> {
    yield_!(n);
}

#[sse_endpoint("/attributes")]
#[cfg_attr(all(), tracing::instrument(skip(method)), doc = "Documented.")]
#[cfg_attr(any(), nonsense)]
async fn attributes(method: Method) -> impl Stream<Item = u32> {
    let _ = method;
    yield_!(1);
}

fn main() {
    let _: Router<u8> = Router::new()
        .sse(statements)
        .sse(arguments)
        .sse(attributes);
    assert_eq!(attributes().docs(), "Documented.");
}
