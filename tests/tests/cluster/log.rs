//! [`Log`]: the events of a topic, read directly from the server.

use bytes::Bytes;
use redis::Value;
use sse_runtime::topic::{
    Key,
    engine::{Body, Epoch, Place},
};

use crate::{
    node::HUB,
    redis_servers::{server::Server, until},
};

/// An event in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The event's id, as clients receive it.
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) key: Key,
    pub(crate) value: u64,
    /// The frame without its id.
    pub(crate) frame: Bytes,
}

/// The events of a topic, from the oldest to the newest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) epoch: String,
    pub(crate) events: Vec<Stored>,
    pub(crate) is_ended: bool,
}

pub(crate) fn log_key(topic: &str) -> String {
    format!("sse:log:{HUB}/{topic}")
}

impl Log {
    pub(crate) async fn read(server: &Server, topic: &str) -> Self {
        let log = log_key(topic);
        let mut entries: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        // The server may be paused.
        until("the log is read", async || {
            let read = server.try_run(&["XRANGE", &log, "-", "+"]).await;
            read.map(|read| entries = read).is_ok()
        })
        .await;
        let mut read = Self::default();
        for (id, fields) in entries {
            let (epoch, number) = id.split_once('-').unwrap();
            let epoch = epoch_of(epoch.parse().unwrap());
            read.epoch = format!("{epoch:?}");
            let [_, key, _, time, _, _, kind, body] = &*fields else {
                continue;
            };
            if kind == b"e" {
                read.is_ended = true;
                continue;
            }
            let number = number.parse().unwrap();
            let key = Key::from(<[u8; 16]>::try_from(&**key).unwrap());
            let time = str::from_utf8(time).unwrap().parse().unwrap();
            let frame = Body::decode(body.clone().into()).unwrap().frame;
            let data = frame.strip_prefix(b"data: ").unwrap();
            let json: serde_json::Value = serde_json::from_slice(data).unwrap();
            let variant = json.as_object().unwrap().values().next().unwrap();
            let place = Place {
                number,
                mark: Some(key.mark(time)),
            };
            read.events.push(Stored {
                id: format!("{epoch:?}-{number}.{}", place.mark.unwrap()),
                number,
                key,
                value: variant["value"].as_u64().unwrap(),
                frame,
            });
        }
        read
    }

    /// Returns the id of the newest event.
    pub(crate) fn newest(&self) -> Option<&str> {
        self.events.last().map(|event| &*event.id)
    }
}

/// Returns the number of entries of a topic's log.
pub(crate) async fn entries(server: &Server, topic: &str) -> u64 {
    let entries: Value = server.run(&["XLEN", &log_key(topic)]).await;
    redis::from_redis_value(entries).unwrap()
}

/// Decodes the epoch in the ids of a stream.
fn epoch_of(number: u64) -> Epoch {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digit = |place: usize| DIGITS[usize::try_from(number >> (5 * place) & 31).unwrap()];
    Epoch::from_bytes(std::array::from_fn(|index| digit(Epoch::LEN - 1 - index))).unwrap()
}
