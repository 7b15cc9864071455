//! [`History`]: the items that a client receives, with the time and the node of each item.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;

/// Data that a client has received, or a change in the state of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) at: Duration,
    /// The number of the node, or `None` if the client does not know it.
    pub(crate) node: Option<usize>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A response has begun. `last` is the id that the client has sent.
    Opened { status: u16, last: Option<String> },
    /// The frame of an event. `bytes` is `None` if the client does not expose them.
    Event {
        id: String,
        data: String,
        value: u64,
        bytes: Option<Bytes>,
    },
    /// A frame that contains only an id.
    Position { id: String },
    Gap {
        reason: String,
        missed: Option<u64>,
        id: String,
    },
    /// A `close` event.
    Close { data: String },
    /// A `done` event.
    Done { id: String },
    /// The node has not responded to the request.
    Unanswered { last: Option<String> },
    /// The connection was closed or could not be opened.
    Broken,
}

impl Kind {
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Event { id, .. }
            | Self::Position { id }
            | Self::Gap { id, .. }
            | Self::Done { id } => Some(id),
            Self::Opened { .. } | Self::Unanswered { .. } | Self::Close { .. } | Self::Broken => {
                None
            }
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self
            .node
            .map_or("?".to_owned(), |number| number.to_string());
        write!(f, "{:8.3} node {node}: ", self.at.as_secs_f64())?;
        match &self.kind {
            Kind::Opened { status, last } => {
                let last = last.as_deref().unwrap_or("-");
                write!(f, "{status}, sent {last}")
            }
            Kind::Event { id, value, .. } => write!(f, "event {id} {value}"),
            Kind::Position { id } => write!(f, "position {id}"),
            Kind::Gap { reason, missed, id } => write!(f, "gap {reason} {missed:?} {id}"),
            Kind::Close { data } => write!(f, "close {data}"),
            Kind::Done { id } => write!(f, "done {id}"),
            Kind::Unanswered { last } => write!(f, "no response, sent {last:?}"),
            Kind::Broken => write!(f, "disconnected"),
        }
    }
}

/// Records the items of one client.
#[derive(Clone)]
pub(crate) struct History {
    start: Instant,
    items: Arc<Mutex<Vec<Item>>>,
}

impl History {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            items: Arc::default(),
        }
    }

    pub(crate) fn record(&self, node: Option<usize>, kind: Kind) {
        let at = self.start.elapsed();
        self.items.lock().unwrap().push(Item { at, node, kind });
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        self.items.lock().unwrap().clone()
    }

    /// Returns the id that the client would send if it reconnected now.
    pub(crate) fn last_id(&self) -> Option<String> {
        let items = self.items.lock().unwrap();
        let last = items.iter().rev().find_map(|item| item.kind.id());
        last.map(ToOwned::to_owned)
    }

    /// Returns the number of items for which `is_wanted` returns `true`.
    pub(crate) fn count(&self, is_wanted: impl Fn(&Kind) -> bool) -> usize {
        let items = self.items.lock().unwrap();
        items.iter().filter(|item| is_wanted(&item.kind)).count()
    }
}

/// Converts an event into an item. `bytes` are the bytes of its frame.
pub(crate) fn parse(
    name: &str,
    id: Option<String>,
    data: Option<String>,
    bytes: Option<Bytes>,
) -> Option<Kind> {
    let Some(data) = data else {
        return id.map(|id| Kind::Position { id });
    };
    let id = || id.unwrap_or_else(|| panic!("the event has no id: {name} {data}"));
    let json = || serde_json::from_str::<serde_json::Value>(&data).unwrap();
    Some(match name {
        "gap" => Kind::Gap {
            reason: json()["reason"].as_str().unwrap().to_owned(),
            missed: json()["missed"].as_u64(),
            id: id(),
        },
        "close" => Kind::Close { data },
        "done" => Kind::Done { id: id() },
        "message" => {
            let json = json();
            let variant = json.as_object().unwrap().values().next().unwrap();
            let value = variant["value"].as_u64().unwrap();
            Kind::Event {
                id: id(),
                value,
                data,
                bytes,
            }
        }
        name => panic!("an unexpected event: {name} {data}"),
    })
}
