use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat<T> {
    Token(T),
}

fn sends(token: Chat<fn()>) -> impl serde::Serialize {
    token
}

fn main() {}
