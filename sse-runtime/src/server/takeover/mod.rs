//! The takeover: an HTTP/1 connection that carries an event stream is no longer hyper's, but ours.
//!
//! Once the app has answered with an event stream, hyper has nothing left to do for as long as that lasts, which may be
//! hours. It would hold 16 KiB of buffers for it, look at the connection's state in each turn, and gather frames for a
//! `writev`, which costs more than the `send` of one buffer. So the answer is taken out of hyper's hands before it has
//! seen it: the service stays pending, hyper's connection is taken apart, and [`TakenOver`] writes the head and drives
//! the body on the socket. After a clean end the socket goes back to hyper, for the next request.
//!
//! ```text
//! hyper: request -> Service -> ResponseFuture -> event stream? --no--> hyper sends it
//!                                             |
//!                                            yes -> Slot -> Connection::into_parts -> TakenOver -> end -> hyper anew, or closed
//! ```
//!
//! # What it relies on
//!
//! - hyper calls the service for a request only when all that it has answered before is with the kernel, so that there is
//!   nothing in its write buffer when it is taken apart (`try_keep_alive`, behind a flush that has finished). hyper does not
//!   promise this, so a test pins it (the tests of `takeover`). It would not hold with `pipeline_flush`, which must stay off.
//! - `into_parts` gives back all that hyper has read and not parsed. What was read of a request's body is lost with it:
//!   only a request whose body has been read to its end, or that has none, is taken over
//!   ([`Course::has_arrived`](crate::server::body_timeout::Course::has_arrived)).
//! - The body is the one that came out of the router, with all layers around it; it is dropped when the client leaves, as
//!   hyper would drop it. Whatever it knows of the connection, it knows by the [`Wire`](crate::lifecycle::wire::Wire) in its request, whose flushes
//!   are counted here as well.
//! - A [`Socket`] gives up a client that takes nothing, and is what TLS is spoken on as well: nothing here knows of either.
//!
//! # What it must never do
//!
//! - Count a flush before all that was written is with the kernel. The body is polled also while its last frame is on its
//!   way, as hyper does, since its time may be over; the generator in it waits for the flush.
//! - Take more than one frame from a body whose last one is on its way: backpressure begins there.
//! - Hold what has been sent, or a buffer for what is to be: between two frames a quiet stream costs its state alone.
//! - Read without a bound, or stop looking whether the client is there.
//! - End a body that failed with the last chunk.
//!
//! # What stays with hyper
//!
//! HTTP/2; everything that is not a `200` with `text/event-stream` and a body of unknown length; `HEAD`; requests that expect
//! `100-continue`, or could be upgraded; those whose body is chunked, or was not read to its end; and all of it, where
//! [`Server::takeover`](crate::Server::takeover) says so.

pub(crate) mod candidate;
pub(crate) mod chunk;
pub(crate) mod driver;
