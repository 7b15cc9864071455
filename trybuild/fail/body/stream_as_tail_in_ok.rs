use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, String> {
    Ok(tokio_stream::iter([1]))
}

fn main() {
    let _ = ticks();
}
