use sse_runtime::{Stream, sse_endpoint};

struct Helper;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    impl Helper {
        fn tick() {
            yield_!(1);
        }
    }
}

fn main() {}
