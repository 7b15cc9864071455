//! The derive macros. Each macro has two stages, `model` and `expand`.

mod case;
mod serde_attribute;
mod sse_attribute;
pub(crate) mod sse_error;
pub(crate) mod sse_event;
