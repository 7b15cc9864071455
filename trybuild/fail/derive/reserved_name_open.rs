#![deny(warnings)]

use sse_runtime::SseEvent;

#[derive(SseEvent)]
pub enum Door {
    Open,
    Shut,
}

fn main() {}
