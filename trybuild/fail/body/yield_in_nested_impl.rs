use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    struct Helper;
    impl Helper {
        fn tick() {
            yield_!(1);
        }
    }
    Helper::tick();
}

fn main() {
    let _ = ticks();
}
