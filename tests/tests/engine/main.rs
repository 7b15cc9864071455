//! Tests stored topics against a simulated engine that injects faults.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod by_id;
mod checker;
mod clients;
mod fake;
mod faults;
mod model;
mod publishing;
mod server;
mod unavailable;
