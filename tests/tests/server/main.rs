//! The server around the streams: connections, HTTP versions, TLS and shutdown.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

mod browser;
mod input;
mod shutdown;
mod takeover;
mod tls;
mod versions;
