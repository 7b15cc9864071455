//! The response: the request context, the head, and a body that polls the generator and sends its
//! events.

pub(crate) mod body;
pub(crate) mod drain;
pub(crate) mod flush_gate;
pub(crate) mod keep_alive;
pub(crate) mod mounted;
pub(crate) mod request_context;
pub(crate) mod respond;
pub(crate) mod response;
