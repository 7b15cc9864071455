use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[sse(rename_all = "kebab")]
enum Chat {
    Token,
}

fn main() {}
