//! The takeover: drives an event stream over HTTP/1 directly on its socket, without hyper.
//!
//! Once the app has responded with an event stream, hyper has no work left to do while the stream
//! lasts, perhaps for hours. hyper would keep 16 KiB of buffers, check the connection state on each
//! poll, and gather frames for a `writev`. A `writev` costs more than a `send` of one buffer.
//! Therefore, the response never reaches hyper. The service stays pending, hyper's connection is
//! taken apart, and [`TakenOver`] writes the head and drives the body on the socket. After a clean
//! end, the socket returns to hyper for the next request.
//!
//! ```text
//! hyper: request -> Service -> ResponseFuture -> event stream? --no--> hyper sends it
//!                                             |
//!                                            yes
//!                                             |
//!                                             v
//!        Slot -> Connection::into_parts -> TakenOver -> end -> hyper again, or closed
//! ```
//!
//! # Assumptions
//!
//! - hyper calls the service for a request only after all earlier responses are in the kernel
//!   (`try_keep_alive`, after a completed flush). Therefore, hyper's write buffer is empty when the
//!   connection is taken apart. hyper does not guarantee this, so the `takeover` tests check it. It
//!   would not be true with `pipeline_flush`, so that option must stay off.
//! - `into_parts` returns all bytes that hyper has read but not parsed. Any part of a request body
//!   that hyper has read is lost, so a request is taken over only if it has no body or its body has
//!   been read to its end
//!   ([`RequestProgress::has_arrived`](crate::server::body_timeout::RequestProgress::has_arrived)).
//! - The body is the one that the router returned, with all layers around it. It is dropped when
//!   the client disconnects, just as hyper would drop it. The body gets information about the
//!   connection only from the [`Wire`](crate::lifecycle::wire::Wire) in its request, where the
//!   takeover also counts flushes.
//! - [`Socket`] returns an error if a client stops reading, and also handles TLS, so this code
//!   needs to do neither.
//!
//! # Invariants
//!
//! The takeover must never do any of the following:
//!
//! - Count a flush before all written data is in the kernel. As in hyper, the body is polled even
//!   while its last frame is being written, because its deadline may have passed. The generator
//!   waits for the flush.
//! - Take more than one frame from a body whose previous frame is still being written. Backpressure
//!   begins here.
//! - Keep data that has been sent, or a buffer for later data. Between two frames, a quiet stream
//!   must use no memory other than its state.
//! - Read without a limit, or stop checking whether the client is still connected.
//! - End a failed body with the last chunk.
//!
//! # What stays with hyper
//!
//! hyper keeps driving the following:
//!
//! - HTTP/2.
//! - Every response other than a `200` with `text/event-stream` and a body of unknown length.
//! - Responses to `HEAD` requests.
//! - Requests with `expect: 100-continue`, with an upgrade, or with a body that is chunked or has
//!   not been read to its end.
//! - All requests, if [`Server::bypass_hyper`](crate::Server::bypass_hyper) is off.

pub(crate) mod candidate;
pub(crate) mod chunk;
pub(crate) mod driver;
