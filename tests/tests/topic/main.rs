//! Topics and hubs: against a model, and on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod endpoints;
mod hub;
mod readers;
