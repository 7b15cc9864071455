use sse_runtime::{Stream, sse_endpoint};

struct DbError;

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = Result<u32, String>>, DbError> {
    if true {
        return Err(DbError);
    }
    yield_!(1);
}

fn main() {}
