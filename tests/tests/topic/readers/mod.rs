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

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Item {
    number: u64,
    key: u8,
    fill: String,
}

fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}
