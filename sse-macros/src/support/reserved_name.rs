//! Event names that clients also receive from the framework, or from their own `EventSource`.

/// The name of the warning.
pub(crate) const RESERVED_NAME: &str = "reserved_name";

/// Explains why an event should not be called `event`. `None` if the name is not reserved.
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
