use sse_runtime::{Stream, sse_endpoint};

struct DbError;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, DbError>> {
    yield_!(1);
    return Err(DbError);
}

fn main() {
    let _ = ticks();
}
