//! Topics and hubs, compared with a model and tested on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod endpoints;
mod hub;
mod readers;
