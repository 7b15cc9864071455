//! Topics that an engine stores, tested against a simulated engine with faults.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod checker;
mod clients;
mod model;
mod server;
