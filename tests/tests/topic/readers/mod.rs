//! Tests that each reader of a topic receives the expected events under arbitrary sequences of
//! operations.

mod compare;
mod limits;
mod model;
mod threads;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use sse_runtime::EventId;

#[derive(Clone, Debug, serde::Serialize)]
struct Item {
    number: u64,
    key: u8,
    fill: String,
}

/// Splits an event ID into the topic's epoch and the event's sequence number.
fn parts(id: &EventId) -> (String, u64) {
    let id = id.to_string();
    let (epoch, number) = id.split_once('-').unwrap();
    (epoch.to_owned(), number.parse().unwrap())
}

fn number(id: &EventId) -> u64 {
    parts(id).1
}

fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}
