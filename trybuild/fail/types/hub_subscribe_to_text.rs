use sse_runtime::{Hub, LastEventId, Stream, sse_endpoint};

#[sse_endpoint("/room")]
async fn room(
    axum::Extension(rooms): axum::Extension<Hub<u32>>,
    last: LastEventId,
) -> impl Stream<Item = u32> {
    if let Ok(events) = rooms.subscribe("lobby", last).await {
        yield_all!(events);
    }
}

fn main() {}
