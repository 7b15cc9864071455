//! `line!()` and panic locations report the user's own line numbers.
#![deny(warnings)]

use std::{panic, sync::Mutex};

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint, testing::Client};

#[sse_endpoint("/line")]
async fn lines() -> impl Stream<Item = u32> {
    yield_!(line!());
    tokio::select! {
        () = async {} => yield_!(line!()),
    }
    let none: Option<u32> = None;
    yield_!(none.unwrap());
}

static PANICKED_AT: Mutex<u32> = Mutex::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    panic::set_hook(Box::new(|panic| {
        *PANICKED_AT.lock().unwrap() = panic.location().unwrap().line();
    }));
    let mut events = Client::new(Router::new().sse(lines))
        .get("/line")
        .await
        .events();
    let lines = [events.expect_event().await, events.expect_event().await];
    assert_eq!(lines.map(|event| event.json::<u32>()), [11, 13]);
    let is_cut_off = tokio::spawn(async move { events.next().await.is_err() });
    assert!(is_cut_off.await.unwrap_or(true));
    assert_eq!(*PANICKED_AT.lock().unwrap(), 16);
}
