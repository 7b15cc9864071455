#![deny(warnings)]

use sse_runtime::SseEvent;

#[derive(SseEvent)]
pub enum Chat {
    Error,
}

fn main() {}
