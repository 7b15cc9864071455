//! Compares the items that a client has received with all records that the server has ever stored.

use std::collections::HashSet;

use sse_runtime::{
    EventId,
    topic::{
        GapReason, Key,
        engine::{Epoch, Kind, Place},
    },
};

use super::server::{Identity, Server};

/// An item that a client has received. A client's history includes the items that it received before
/// it reconnected.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Event {
        id: String,
        value: u64,
    },
    Gap {
        reason: GapReason,
        missed: Option<u64>,
        id: String,
    },
    End,
}

/// Checks that a client's history is consistent with all records that were ever stored:
///
/// - Each event has the bytes that were stored under its id.
/// - If there is no gap between two events, the second directly follows the first in the log.
/// - If a gap states the number of missed events, the number is correct.
/// - No event arrives twice, unless a gap in between has a reason that permits repetition.
/// - Nothing follows the end.
///
/// If `is_consecutive` is `false`, the reader may skip events after a gap.
pub(crate) fn check_history(server: &Server, history: &[Seen], is_consecutive: bool) {
    let state = server.state();
    let find = |id: &str| {
        let found = state
            .ever
            .iter()
            .find(|((epoch, place), ..)| name(*epoch, *place) == id);
        found.unwrap_or_else(|| panic!("{id} was never stored"))
    };
    // The last record that the client has read, if it is known.
    let mut at: Option<Identity> = None;
    // The number of events skipped before the next event, if it is known.
    let mut skipped: Option<u64> = Some(0);
    let mut keys: HashSet<Key> = HashSet::new();
    let mut has_ended = false;
    for seen in history {
        assert!(!has_ended, "{seen:?} after the end");
        match seen {
            Seen::Event { id, value } => {
                let (identity, previous, record) = find(id);
                assert!(
                    String::from_utf8_lossy(&record.body).contains(&format!("data: {value}\n")),
                    "{id} does not have the value {value}"
                );
                match (at, skipped) {
                    (Some(at), Some(0)) => assert_eq!(at, *previous, "before {id}"),
                    (Some((epoch, place)), Some(count)) => {
                        assert_eq!(epoch, identity.0);
                        assert_eq!(place.number + count + 1, identity.1.number, "before {id}");
                    }
                    _ => {}
                }
                assert!(keys.insert(record.key), "{id} arrived twice");
                at = Some(*identity);
                skipped = (is_consecutive || skipped == Some(0)).then_some(0);
            }
            Seen::Gap { reason, missed, .. } => {
                skipped = match (skipped, missed) {
                    (Some(skipped), Some(missed)) if is_consecutive => Some(skipped + missed),
                    _ => None,
                };
                if matches!(
                    reason,
                    GapReason::RolledBack | GapReason::OtherEpoch | GapReason::Unknown
                ) {
                    keys.clear();
                }
            }
            Seen::End => has_ended = true,
        }
    }
}

/// Checks that the history of a client that has read everything agrees with the log. Every event
/// received since the last gap must be in the log or have been trimmed from it, and the last event
/// must be the log's newest event.
pub(crate) fn check_tail(server: &Server, history: &[Seen]) {
    let state = server.state();
    let log = &state.log;
    let in_log: Vec<String> = log
        .records
        .iter()
        .map(|stored| name(log.epoch, stored.place()))
        .collect();
    let since = history
        .iter()
        .rposition(|seen| matches!(seen, Seen::Gap { .. }))
        .map_or(0, |gap| gap + 1);
    for seen in &history[since..] {
        if let Seen::Event { id, .. } = seen {
            let (_, number) = id.split_once('-').unwrap();
            let (number, _) = number.split_once('.').unwrap();
            let is_trimmed = number.parse::<u64>().unwrap() <= log.before.number
                && id.starts_with(&format!("{:?}", log.epoch));
            assert!(
                is_trimmed || in_log.contains(id),
                "{id} is not in the log, but the client received no gap: {history:?}"
            );
        }
    }
    let newest = log
        .records
        .iter()
        .rev()
        .find(|stored| stored.record.kind == Kind::Event);
    let last = history.iter().rev().find_map(|seen| match seen {
        Seen::Event { id, .. } | Seen::Gap { id, .. } => Some(id.clone()),
        Seen::End => None,
    });
    if let (Some(newest), Some(last)) = (newest, last) {
        assert_eq!(last, name(log.epoch, newest.place()), "{history:?}");
    }
}

/// Returns an id without the number of events that have already been reported as missed.
pub(crate) fn without_count(id: &EventId) -> String {
    let id = id.to_string();
    let (epoch, place) = id.split_once('-').unwrap();
    let epoch = epoch.split_once('.').map_or(epoch, |(epoch, _)| epoch);
    format!("{epoch}-{place}")
}

pub(crate) fn name(epoch: Epoch, place: Place) -> String {
    match place.mark {
        Some(mark) => format!("{epoch:?}-{}.{mark}", place.number),
        None => format!("{epoch:?}-{}", place.number),
    }
}
