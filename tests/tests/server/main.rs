//! The server around the streams: connections, versions of HTTP, TLS, and how it shuts down.
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
