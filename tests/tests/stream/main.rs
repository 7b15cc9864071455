//! A stream from its request to its end, on real sockets.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod connection;
mod disconnect;
mod ends;
mod first_poll;
mod flush;
mod forms;
mod layers;
mod life;
mod wire;
