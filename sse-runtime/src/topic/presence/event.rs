//! [`PresenceEvent`]: a change in presence.

use serde::Deserialize;

use crate::SseEvent;

/// A change in presence, sent as a `joined` or `left` event with the data `{"who":…,"count":…}`.
#[derive(Clone, Debug, PartialEq, Eq, SseEvent, Deserialize)]
#[sse(crate = crate)]
#[non_exhaustive]
pub enum PresenceEvent<K> {
    /// A member that was not present has joined.
    Joined {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
    /// A member left and did not return within the grace time.
    Left {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{event::Event, json},
        topic::{
            Topic,
            engine::{Body, EventTemplate},
        },
    };

    /// The engine creates the same record as publishing the event would.
    #[test]
    fn templates_equal_published_events() {
        type Change = PresenceEvent<String>;
        let topic: Topic<Change> = Topic::in_memory(1);
        let who = || "a\"d\u{2028}a".to_owned();
        let mut member = Vec::new();
        serde::Serialize::serialize(&who(), &mut json::line::serializer(&mut member)).unwrap();
        let member = String::from_utf8(member).unwrap();
        for (event, template) in [
            (
                Change::Joined {
                    who: who(),
                    count: 12,
                },
                EventTemplate::JOINED,
            ),
            (
                Change::Left {
                    who: who(),
                    count: 12,
                },
                EventTemplate::LEFT,
            ),
        ] {
            let fill = |text: &str| {
                text.replace(EventTemplate::MEMBER, &member)
                    .replace(EventTemplate::COUNT, "12")
            };
            let (frame, value) = (fill(template.frame), fill(template.value));
            let encoded = topic.encode(Event::json(event.clone())).unwrap();
            assert_eq!(frame, encoded.frame);
            assert_eq!(serde_json::from_str::<Change>(&value).unwrap(), event);
            // The parts of a body, as the engine concatenates them.
            let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
            let body = [&[1], &len[..], frame.as_bytes(), value.as_bytes()].concat();
            assert_eq!(body, Body::encode(frame.as_bytes(), value.as_bytes()));
        }
    }
}
