//! The server: connections, HTTP versions, TLS and shutdown.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod browser;
mod input;
mod listener;
mod readiness;
mod shutdown;
mod takeover;
mod tls;
mod versions;
