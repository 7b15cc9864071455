//! Event names that the framework or a client's `EventSource` uses for its own events.

/// The name of the warning.
pub(crate) const RESERVED_NAME: &str = "reserved_name";

/// Explains why an event should not have the name in `event`. Returns `None` if the name is not
/// reserved.
pub(crate) fn problem(event: &str) -> Option<String> {
    match event {
        "close" | "done" | "error" | "gap" => Some(format!(
            "the framework sends events of the name `{event}` itself, and a client cannot tell them apart; take another"
        )),
        "open" => Some(
            "`EventSource` fires `open` itself when it has connected, and `onopen` receives both; take another name"
                .to_owned(),
        ),
        _ => None,
    }
}
