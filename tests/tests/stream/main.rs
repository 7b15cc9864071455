//! Tests streams over real sockets, from the request to the end of the stream.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod connection;
mod disconnect;
mod ends;
mod first_poll;
mod flush;
mod forms;
mod layers;
mod life;
mod permanent;
mod relay;
mod response_headers;
mod testing_kit;
mod wire;
