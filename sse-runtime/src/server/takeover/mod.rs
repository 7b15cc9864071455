//! The takeover: drives an event stream over HTTP/1 directly on its socket, without hyper.
//!
//! An event stream may last for hours. Once the app has responded with one, hyper has no more work
//! to do. However, hyper would keep 16 KiB of buffers, check the connection state on every poll,
//! and gather frames for a `writev`, which costs more than a `send` of a single buffer. Therefore,
//! the response never reaches hyper. The service stays pending, hyper's connection is taken apart,
//! and [`TakenOver`] writes the head and drives the body on the socket. If the stream ends cleanly,
//! the socket is returned to hyper for the next request.
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
//! - `try_keep_alive`, which lets hyper read the next request, runs only after a completed flush,
//!   so hyper calls the service for a request only once all earlier responses are in the kernel.
//!   Therefore, its write buffer is empty when the connection is taken apart. hyper does not
//!   guarantee this, so the `takeover` tests check it. With `pipeline_flush`, the buffer might not
//!   be empty, so that option must stay off.
//! - `into_parts` returns all bytes that hyper has read but not parsed. Any part of a request body
//!   that hyper has already read is lost, so a request is taken over only if it has no body or its
//!   entire body has been read
//!   ([`RequestProgress::has_arrived`](crate::server::body_timeout::RequestProgress::has_arrived)).
//! - The body is the response body returned by the router, with all layers around it. The takeover
//!   drops the body when the client disconnects, just as hyper would. The body learns about the
//!   connection only through the [`Wire`](crate::lifecycle::wire::Wire) in the request's
//!   extensions. The takeover counts flushes there.
//! - [`Socket`] handles TLS and returns an error if a client stops reading, so the takeover does
//!   not have to.
//!
//! # Invariants
//!
//! The takeover must never do any of the following:
//!
//! - Count a flush before all written data is in the kernel. As in hyper, the body is polled even
//!   while its last frame is being written, because the body's deadline may have passed. Therefore,
//!   if a flush were counted too early, a generator waiting for that frame to be flushed would
//!   resume before the frame reached the kernel.
//! - Take more than one frame from a body whose previous frame is still being written. This is
//!   where backpressure begins.
//! - Keep data after it has been sent, or keep a buffer for later data. Between two frames, a quiet
//!   stream must not use any memory beyond its own state.
//! - Read without a limit, or stop checking whether the client is still connected.
//! - Write the last chunk after the body has failed.
//!
//! # What stays with hyper
//!
//! hyper keeps driving the following:
//!
//! - HTTP/2.
//! - Every response that is not a `200` with `text/event-stream` and a body of unknown length.
//! - Responses to `HEAD` requests.
//! - Requests with `expect: 100-continue`, with an upgrade, or with a body that is chunked or has
//!   not been read completely.
//! - All requests, if [`Server::bypass_hyper`](crate::Server::bypass_hyper) is off.

pub(crate) mod candidate;
pub(crate) mod chunk;
pub(crate) mod driver;
