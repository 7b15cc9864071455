//! The names that a module declares.

use std::collections::BTreeSet;

/// Returns whether a character other than `_` and `$` can be part of an identifier. Unlike
/// `is_alphanumeric`, excludes numbers that are not digits, such as `²`.
pub(super) fn is_in_identifiers(char: char) -> bool {
    char.is_alphabetic() || char.is_ascii_digit()
}

/// Converts `order_steps` to `OrderSteps`.
pub(super) fn pascal(name: &str) -> String {
    let words = name.split(|char: char| !is_in_identifiers(char));
    let words = words.map(|word| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_uppercase().to_string());
        format!("{}{}", first.unwrap_or_default(), chars.as_str())
    });
    words.collect()
}

/// The words that TypeScript does not accept as the name of a type. The others, such as `class`, occur
/// in the runtime or are not valid in Rust either.
pub(super) const RESERVED: [&str; 62] = [
    "any",
    "as",
    "asserts",
    "async",
    "await",
    "bigint",
    "boolean",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "infer",
    "instanceof",
    "interface",
    "is",
    "keyof",
    "let",
    "never",
    "new",
    "null",
    "number",
    "object",
    "package",
    "private",
    "protected",
    "public",
    "readonly",
    "return",
    "static",
    "string",
    "super",
    "switch",
    "symbol",
    "this",
    "throw",
    "true",
    "try",
    "type",
    "typeof",
    "undefined",
    "unique",
    "unknown",
    "var",
    "void",
];

/// Returns the identifiers in a module. A generated type must not have one of these names, because
/// it would change the meaning of the module.
pub(super) fn words(module: &str) -> BTreeSet<String> {
    let words = module.split(|char: char| !char.is_alphanumeric() && char != '_' && char != '$');
    words.map(str::to_owned).collect()
}
