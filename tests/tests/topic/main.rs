//! Tests topics and hubs, both against a model and on the wire.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod endpoints;
mod hub;
mod readers;
