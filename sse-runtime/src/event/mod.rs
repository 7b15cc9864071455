//! Events, their values, ids and names, and the traits for types that can be sent.

// The modules below encode values as events. `payload` defines which values can be sent, `frame`
// writes the fields, and `data` and `json` write the `data` field. None of these modules depends on
// requests, streams or sockets.
#[cfg(feature = "openapi")]
pub(crate) mod contract;
pub(crate) mod data;
pub(crate) mod decode;
pub(crate) mod describe;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod gap;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod last_event_id;
pub(crate) mod media_type;
pub(crate) mod name;
pub(crate) mod payload;
pub(crate) mod position;
pub(crate) mod problem;
pub(crate) mod sse_event;
pub(crate) mod try_later;

pub use self::{
    decode::{DecodeError, decode},
    event::{Event, NoJson},
    frame::EncodeError,
    id::{EventId, EventIdError},
    last_event_id::{LastEventId, LastEventIdError},
    name::{Comment, EventName, EventNameError, IntoField, LineBreak},
    payload::{AsHtml, AsJson, AsNever, AsText, Payload, Text},
    problem::SseError,
    sse_event::SseEvent,
};
