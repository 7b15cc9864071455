#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/orders")]
async fn orders() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    yield_!(0);
    let order = "1".parse::<u32>().map_err(|_| "no order".to_owned())?;
    yield_!(order);
}

fn main() {}
