use axum::Extension;
use sse_runtime::{Hub, Stream, sse_endpoint};

#[sse_endpoint("/runs")]
async fn runs(Extension(runs): Extension<Hub<u32>>) -> impl Stream<Item = u32> {
    if let Ok(events) = runs.resume_by_id("1-1", |_| true).await {
        yield_all!(events);
    }
}

fn main() {}
