//! The places where `yield_!` can be used.
#![deny(warnings)]

use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/places")]
async fn places() -> impl Stream<Item = u32> {
    for tick in 0..3 {
        yield_!(tick);
    }
    let mut waiting = vec![1, 2, 3];
    while let Some(tick) = waiting.pop() {
        yield_!(tick)
    }
    match waiting.first() {
        Some(tick) => yield_!(tick),
        None => yield_!(0),
    }
    if let Some(tick) = waiting.last() {
        yield_!(tick);
    } else {
        yield_!(1);
    }
    let found = 'outer: loop {
        loop {
            yield_!(2);
            break 'outer 3;
        }
    };
    let () = yield_!(found);
    let Some(tick) = waiting.first().copied() else {
        yield_!(4);
        return;
    };
    yield_!({
        let twice = tick * 2;
        twice + 1
    });
    yield_!(next(tick).await);
    yield_![tick];
    yield_! { tick }
    #[allow(clippy::identity_op)]
    yield_!(tick + 0);
    unsafe_free({
        yield_!(5);
        6
    });
}

/// `yield_!` in the function's last expression.
#[sse_endpoint("/last")]
async fn last() -> impl Stream<Item = u32> {
    if true { yield_!(1) } else { yield_!(2) }
}

/// The function ends in an expression of type `!`.
#[sse_endpoint("/never")]
async fn never() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
        tokio::task::yield_now().await;
    }
}

async fn next(tick: u32) -> u32 {
    tick + 1
}

fn unsafe_free(_: u32) {}

fn main() {
    let _: Router = Router::new().sse(places).sse(last).sse(never);
}
