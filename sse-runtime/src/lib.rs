//! Declarative Server-Sent Events for axum.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod arrival;
mod body;
mod channel;
mod encode;
mod endpoint;
mod event;
mod field;
mod first_ok;
mod flushes;
mod generator;
mod guard;
mod id;
mod json;
mod keep_alive;
mod last_event_id;
mod payload;
mod response;
mod route;
mod serve;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod unread;
mod yielder;

pub use event::{Event, NoJson};
pub use field::{Comment, EventName, EventNameError, LineBreak};
pub use first_ok::{FirstOk, first_ok};
pub use id::{EventId, EventIdError};
pub use last_event_id::{LastEventId, LastEventIdError};
pub use payload::{AsHtml, AsJson, AsText, Payload, Text};
pub use route::{Layered, Mount, RouterExt, SseRoute};
pub use serve::{Bind, serve};
pub use sse_macros::sse_endpoint;
#[doc(no_inline)]
pub use tokio_stream::Stream;
