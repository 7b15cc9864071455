use sse_runtime::{Stream, sse_endpoint};

struct DbError;

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, DbError> {
    if true {
        return Err(DbError);
    }
    yield_!(1);
}

fn main() {}
