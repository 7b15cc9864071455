//! If the type of a yielded expression has to be inferred, the compiler infers the item type, even though `yield_!`
//! also accepts other types.
#![deny(warnings)]

use sse_runtime::{Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Bad;

impl From<std::num::ParseIntError> for Bad {
    fn from(_: std::num::ParseIntError) -> Self {
        Self
    }
}

#[sse_endpoint("/texts")]
async fn texts() -> impl Stream<Item = String> {
    yield_!("one".into());
    yield_!(Default::default());
    yield_!(['3', '4'].into_iter().collect());
    yield_!(std::future::ready("5").await.into());
    tokio::select! {
        () = std::future::ready(()) => yield_!("six".into()),
    }
}

#[sse_endpoint("/numbers")]
async fn numbers() -> Result<impl Stream<Item = Result<u32, Bad>>, String> {
    yield_!("1".parse()?);
    yield_!("2".parse().unwrap());
    yield_!("x".parse().unwrap_or_default());
    yield_!([1_u32, 2].into_iter().sum());
    yield_!(3_u64.try_into().expect("3 fits"));
}

#[sse_endpoint("/more_numbers")]
async fn more_numbers() -> impl Stream<Item = Result<u32, Bad>> {
    yield_!("1".parse()?);
}

/// If an expression has an explicit type, it can be any type that `yield_!` accepts.
#[sse_endpoint("/said")]
async fn said() -> impl Stream<Item = Vec<u32>> {
    yield_!([1, 2].into_iter().collect::<Vec<_>>());

}

fn main() {
    let _ = (texts(), numbers(), more_numbers(), said());
}
