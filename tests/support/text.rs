//! Text strategies for property tests.

use proptest::prelude::*;

/// Generates strings with many characters that have a special meaning in the event stream format.
pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just(" "),
        Just(":"),
        Just("data: "),
        Just("id: 1"),
        Just("event: spoof"),
        Just("\u{feff}"),
        Just("\u{2028}"),
        Just("\u{2029}"),
        Just("\u{85}"),
        Just("\0"),
        Just("\""),
        Just("\\"),
        Just("a"),
        Just("é"),
        Just("📡"),
        Just("\u{b}"),
        Just("\u{c}"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}
