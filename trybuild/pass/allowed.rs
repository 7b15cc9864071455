//! Each warning can be silenced in the attribute.
#![deny(warnings)]

use std::sync::Arc;

use axum::{Json, Router, extract::State};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};
use tokio::sync::Mutex;

#[sse_endpoint("/rooms/{room}", allow(unread_capture))]
async fn unread_capture() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/rooms/{room}/{seat}", allow(few_captures))]
async fn few_captures(room: axum::extract::Path<u32>) -> impl Stream<Item = u32> {
    yield_!(room.0);
}

#[sse_endpoint("/answers", allow(body_on_get))]
async fn body_on_get(Json(question): Json<u32>) -> impl Stream<Item = u32> {
    yield_!(question);
}

#[sse_endpoint("/blocking", allow(blocking_call))]
async fn blocking_call() -> impl Stream<Item = bool> {
    yield_!(std::fs::exists("page.html").unwrap_or_default());
}

#[sse_endpoint("/detached", allow(detached_task))]
async fn detached_task() -> impl Stream<Item = u32> {
    tokio::spawn(std::future::ready(1));
    yield_!(1);
}

#[sse_endpoint("/two", allow(detached_task, blocking_call))]
async fn two() -> impl Stream<Item = u32> {
    tokio::spawn(async { std::thread::sleep(std::time::Duration::ZERO) });
    yield_!(1);
}

#[sse_endpoint("/busy", allow(busy_loop))]
async fn busy_loop() -> impl Stream<Item = u32> {
    yield_!(1);
    loop {}
}

#[sse_endpoint("/early", allow(early_yield))]
async fn early_yield() -> Result<impl Stream<Item = Result<u32, String>>, String> {
    yield_!(0);
    let order = "1".parse::<u32>().map_err(|_| "no order".to_owned())?;
    yield_!(order);
}

#[sse_endpoint("/finish", on_shutdown = "finish", allow(finish_without_end))]
async fn finish_without_end() -> impl Stream<Item = u32> {
    loop {
        yield_!(0);
    }
}

#[sse_endpoint("/lock", allow(lock_across_yield))]
async fn lock_across_yield(State(lock): State<Arc<Mutex<u32>>>) -> impl Stream<Item = u32> {
    let guard = lock.lock().await;
    yield_!(*guard);
}

#[sse_endpoint("/reserved", keep_alive_event = "open", error_event = "done", allow(reserved_name))]
async fn reserved_name() -> impl Stream<Item = u32> {
    yield_!(0);
}

#[sse_endpoint("/default", keep_alive_event = "ping", error_event = "error")]
async fn default_error_event() -> impl Stream<Item = u32> {
    yield_!(0);
}

fn main() {
    let _: Router<Arc<Mutex<u32>>> = Router::new()
        .sse(unread_capture)
        .sse(few_captures)
        .sse(body_on_get)
        .sse(blocking_call)
        .sse(detached_task)
        .sse(two)
        .sse(busy_loop)
        .sse(early_yield)
        .sse(finish_without_end)
        .sse(lock_across_yield)
        .sse(reserved_name)
        .sse(default_error_event);
}
