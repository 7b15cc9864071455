//! Macros from other crates that the attribute recognizes by their last path segment.

/// Macros from std and tracing that never yield. Any other macro might.
pub(crate) const KNOWN_MACROS: [&str; 27] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "column",
    "concat",
    "dbg",
    "debug",
    "debug_assert",
    "env",
    "eprintln",
    "error",
    "file",
    "format",
    "include_str",
    "info",
    "line",
    "matches",
    "panic",
    "pin",
    "print",
    "println",
    "stringify",
    "todo",
    "trace",
    "unreachable",
    "vec",
    "warn",
];

/// tokio's macros, which wait for futures but have no other effects.
pub(crate) const TOKIOS_MACROS: [&str; 3] = ["join", "select", "try_join"];

/// Macros that create their own generator. A `return` or `?` inside such a macro applies to that
/// generator.
pub(crate) const OWN_GENERATORS: [&str; 2] = ["stream", "try_stream"];
