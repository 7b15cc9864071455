use axum::http::StatusCode;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    tokio::select! {
        one = async { "1".parse::<u32>() } => yield_!(one?),
    }
}

fn main() {
    let _ = ticks();
}
