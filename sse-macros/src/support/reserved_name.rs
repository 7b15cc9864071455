//! Event names that the framework or a client's `EventSource` uses for its own events.

/// The name of the warning.
pub(crate) const RESERVED_NAME: &str = "reserved_name";

/// Returns a message that explains why the event name is reserved, or `None` if it is not.
pub(crate) fn problem(event: &str) -> Option<String> {
    match event {
        "close" | "done" | "error" | "gap" => Some(format!(
            "the framework also sends `{event}` events, so clients cannot tell the two apart; choose another name"
        )),
        "open" => Some(
            "`EventSource` fires its own `open` event when it connects, and `onopen` would receive both; choose another name"
                .to_owned(),
        ),
        _ => None,
    }
}
