use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token {
        #[sse(id)]
        at: f64,
    },
}

fn main() {}
