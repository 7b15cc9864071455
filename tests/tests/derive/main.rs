//! The derives, tested on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod errors;
mod events;
