#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

type Result<T> = std::result::Result<T, String>;

#[sse_endpoint("/orders")]
async fn orders() -> Result<impl Stream<Item = Result<u32>>> {
    yield_all!(tokio_stream::iter([Ok::<_, String>(1)]));
    let Some(_) = std::env::args().nth(1) else { return Err("no order".to_owned()) };
    yield_!(2);
}

fn main() {}
