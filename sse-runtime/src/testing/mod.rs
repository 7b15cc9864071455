//! An in-process client for testing your endpoints. Requires the `testing` feature.
//!
//! The client calls a [`Router`](axum::Router) directly, without a socket. It sends a request and
//! reads the response. If the response is a stream, its events are read one by one. The generator
//! only runs while its next event is being awaited, so a test can also read the first few events of
//! an endless stream. With tokio's clock paused, an hour of streaming takes almost no real time.
//!
//! ```toml
//! [dev-dependencies]
//! sse-runtime = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["full", "test-util"] }
//! ```
//!
//! ```
//! use std::time::Duration;
//! use axum::Router;
//! use sse_runtime::{SseRouterExt, Stream, sse_endpoint, testing::Client};
//!
//! #[sse_endpoint("/ticks")]
//! async fn ticks() -> impl Stream<Item = u32> {
//!     for tick in 1.. {
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!         yield_!(tick);
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     let client = Client::new(Router::new().sse(ticks));
//!     let mut events = client.get("/ticks").await.events();
//!     assert_eq!(events.expect_event().await.json::<u32>(), 1);
//!     assert_eq!(events.expect_event().await.json::<u32>(), 2);
//!     // Disconnect, and wait until the generator has been dropped.
//!     events.disconnect().await;
//! }
//! ```
//!
//! To test how a stream ends when the server cuts it off, add a [`Shutdown`](crate::Shutdown) layer
//! to the router and begin the shutdown. For example, the response to a `POST` request continues
//! until the drain time has elapsed, at which point it is cut off:
//!
//! ```
//! use std::time::Duration;
//! use axum::Router;
//! use sse_runtime::{SseRouterExt, Shutdown, Stream, sse_endpoint, testing::Client};
//!
//! #[sse_endpoint("/answers", method = POST)]
//! async fn answer() -> impl Stream<Item = u32> {
//!     yield_!(1);
//!     std::future::pending::<()>().await;
//! }
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     let shutdown = Shutdown::within(Duration::from_secs(20));
//!     let client = Client::new(Router::new().sse(answer).layer(shutdown.clone()));
//!     let mut events = client.post("/answers").await.events();
//!     assert_eq!(events.expect_event().await.json::<u32>(), 1);
//!     shutdown.begin();
//!     events.expect_cut().await;
//! }
//! ```

mod client;
mod decode;
mod events;
mod patience;

pub use client::{Client, Request, Response};
pub use decode::{Frame, ReceivedEvent};
pub use events::{Events, StreamCut};
