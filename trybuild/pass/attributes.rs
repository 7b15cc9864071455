//! Other attributes above and below `#[sse_endpoint]`.
#![deny(warnings)]
#![deny(missing_docs)]

use axum::{Router, extract::Path};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

/// First line.
///
/// Third line.
#[sse_endpoint("/documented")]
pub async fn documented() -> impl Stream<Item = u32> {
    yield_!(1);
}

/// Above.
#[sse_endpoint("/split")]
/// Below.
#[doc = "Last."]
pub(crate) async fn split() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[cfg(any())]
#[sse_endpoint("/gone", nonsense = 1)]
async fn gone_above() {}

#[sse_endpoint("/gone")]
#[cfg(any())]
async fn gone_below() -> impl Stream<Item = Unknown> {
    yield_!(Unknown);
}

#[sse_endpoint("/there")]
#[cfg(not(any()))]
#[cfg_attr(all(), doc = "Conditional.")]
#[cfg_attr(any(), nonsense)]
#[must_use]
async fn there() -> impl Stream<Item = u32> {
    #[cfg(any())]
    yield_!("gone");
    #[cfg(not(any()))]
    yield_!(1);
}

#[sse_endpoint("/deprecated")]
#[deprecated(note = "use `there`")]
async fn deprecated() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/allowed")]
#[allow(unused_variables)]
async fn allowed(path: Path<()>) -> impl Stream<Item = u32> {
    let unused = 1;
    yield_!(1);
}

#[sse_endpoint("/expected")]
#[expect(unused_variables)]
async fn expected() -> impl Stream<Item = u32> {
    let unused = 1;
    yield_!(1);
}

#[sse_endpoint("/rooms/{room}", allow(unread_capture))]
async fn room() -> impl Stream<Item = u32> {
    yield_!(1);
}

mod inner {
    use sse_runtime::{Stream, sse_endpoint};

    #[sse_endpoint("/shared")]
    pub(super) async fn shared() -> impl Stream<Item = u32> {
        yield_!(1);
    }
}

fn main() {
    #[allow(deprecated)]
    let _: Router = Router::new()
        .sse(documented)
        .sse(split)
        .sse(there)
        .sse(deprecated)
        .sse(allowed)
        .sse(expected)
        .sse(room)
        .sse(inner::shared);
    assert_eq!(documented().docs(), "First line.\n\nThird line.");
    assert_eq!(split().docs(), "Above.\nBelow.\nLast.");
}
