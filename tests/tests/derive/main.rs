//! The derives, on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod errors;
mod events;
