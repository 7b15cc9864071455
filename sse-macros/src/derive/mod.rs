//! The derives: `tokens -> model -> expand`, a folder each.

mod case;
mod serde_attribute;
mod sse_attribute;
pub(crate) mod sse_error;
pub(crate) mod sse_event;
