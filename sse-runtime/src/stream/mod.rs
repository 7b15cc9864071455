//! The parts of a response: the request context, the head, and a body that polls the generator and
//! sends its events.

pub(crate) mod body;
mod closing;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod flush_gate;
pub(crate) mod keep_alive;
mod late_rejection;
pub(crate) mod mounted;
mod prelude;
pub(crate) mod request_context;
pub(crate) mod respond;
pub(crate) mod response;
mod settle;
mod unwind;
