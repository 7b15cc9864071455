//! Topics and hubs, compared with a model and tested on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod endpoints;
mod hub;
mod readers;
