//! [`MountedEndpoint`]: an endpoint on a router, and the state that its streams share.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};

use crate::{
    config::Endpoint,
    event::{frame, id::EventId},
    lifecycle::{metrics::Instruments, record},
    stream::keep_alive::Beat,
};

/// Returns the keep-alive with `id` added. An event gains an `id` field, while a comment is
/// replaced by a frame that contains only the id.
pub(crate) fn with_id(id: &EventId, keep_alive: &Bytes) -> Bytes {
    let event = keep_alive.as_ref();
    let name_line = event
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (name, data) = event.split_at(name_line);
    if name.starts_with(b":") {
        format!("id: {id}\n\n").into()
    } else {
        [name, format!("id: {id}\n").as_bytes(), data]
            .concat()
            .into()
    }
}

/// Frames that are identical for every client, encoded once when the endpoint is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    /// Sent together with the response head.
    pub(crate) first: Option<Bytes>,
    pub(crate) keep_alive: Option<Arc<Beat>>,
}

impl Frames {
    fn new(endpoint: &Endpoint) -> Self {
        Self {
            first: endpoint.retry.map(|retry| {
                let mut buffer = BytesMut::new();
                frame::retry_line(&mut buffer, retry);
                buffer.freeze()
            }),
            keep_alive: endpoint.keep_alive.map(|after| {
                let frame = keep_alive_frame(endpoint);
                Arc::new(Beat { after, frame })
            }),
        }
    }
}

fn keep_alive_frame(endpoint: &Endpoint) -> Bytes {
    match endpoint.keep_alive_event {
        // No blank line follows the comment, because some decoders would emit an event there if an
        // `id` or `retry` field preceded the comment.
        None => Bytes::from_static(b":\n"),
        Some(name) => Bytes::from(format!("event: {name}\ndata: null\n\n")),
    }
}

/// An endpoint on a router, and the state that its streams share.
#[derive(Debug)]
pub(crate) struct MountedEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) frames: Frames,
    /// The metrics of each route. A route's metrics are created on the route's first request,
    /// because an application may mount the endpoint before installing its metrics recorder. An
    /// endpoint usually has one route, but it has two if its router is nested under two paths.
    instruments: Mutex<Vec<Arc<Instruments>>>,
}

impl MountedEndpoint {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            frames: Frames::new(&endpoint),
            endpoint,
            instruments: Mutex::default(),
        }
    }

    pub(crate) fn instruments(&self, parts: &Parts) -> Arc<Instruments> {
        let route = record::route(parts, &self.endpoint);
        let known = self.instruments.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(instruments) = known.iter().find(|known| known.is_of(route)) {
            return Arc::clone(instruments);
        }
        let instruments = Arc::new(Instruments::new(route));
        known.push(Arc::clone(&instruments));
        instruments
    }
}
