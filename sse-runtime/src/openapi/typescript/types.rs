//! Prints JSON schemas as TypeScript types.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::openapi::schemas::name_of;

/// Prints schemas. Ignores keywords that schemars does not generate and restrictions that
/// TypeScript cannot express. A printed type can therefore allow more values than its schema, but
/// never fewer.
pub(super) struct Printer {
    /// The identifiers of the schemas that have a name.
    pub(super) names: BTreeMap<String, String>,
    pub(super) has_large_integers: bool,
}

impl Printer {
    /// Returns the printer for requests. The server does not accept strings for integers.
    pub(super) fn of_requests(&self) -> Self {
        Self {
            names: self.names.clone(),
            has_large_integers: false,
        }
    }

    pub(super) fn print(&self, schema: &Value) -> String {
        match schema {
            Value::Bool(false) => "never".to_owned(),
            Value::Object(schema) => self.object(schema),
            _ => "unknown".to_owned(),
        }
    }

    /// Prints the intersection of everything that the schema requires.
    fn object(&self, schema: &Map<String, Value>) -> String {
        if let Some(value) = schema.get("const") {
            return literal(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return union(values.iter().map(literal));
        }
        let mut parts = Vec::new();
        if let Some(Value::String(reference)) = schema.get("$ref") {
            let name = name_of(reference).and_then(|name| self.names.get(name));
            parts.push(name.cloned().unwrap_or_else(|| "unknown".to_owned()));
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(Value::Array(schemas)) = schema.get(keyword) {
                parts.push(union(schemas.iter().map(|schema| self.print(schema))));
            }
        }
        if let Some(Value::Array(schemas)) = schema.get("allOf") {
            parts.extend(schemas.iter().map(|schema| self.print(schema)));
        }
        parts.extend(self.typed(schema));
        parts.retain(|part| part != "unknown");
        match parts.as_slice() {
            [] => "unknown".to_owned(),
            [only] => only.clone(),
            _ => {
                let parts = parts.iter().map(|part| parenthesized(part, '|'));
                parts.collect::<Vec<_>>().join(" & ")
            }
        }
    }

    /// Prints the `type` keyword, and the keywords that depend on it.
    fn typed(&self, schema: &Map<String, Value>) -> Option<String> {
        let has_members = ["properties", "additionalProperties", "patternProperties"];
        let has_members = has_members
            .iter()
            .any(|keyword| schema.contains_key(*keyword));
        let has_items = schema.contains_key("items") || schema.contains_key("prefixItems");
        match schema.get("type") {
            Some(Value::String(name)) => Some(self.named_type(name, schema)),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str);
                Some(union(names.map(|name| self.named_type(name, schema))))
            }
            _ if has_members => Some(self.members(schema)),
            _ if has_items => Some(self.array(schema)),
            _ => None,
        }
    }

    fn named_type(&self, name: &str, schema: &Map<String, Value>) -> String {
        match name {
            "integer" if self.has_large_integers && is_large(schema) => {
                "number | string".to_owned()
            }
            "integer" | "number" => "number".to_owned(),
            "string" => "string".to_owned(),
            "boolean" => "boolean".to_owned(),
            "null" => "null".to_owned(),
            "array" => self.array(schema),
            "object" => self.members(schema),
            _ => "unknown".to_owned(),
        }
    }

    fn array(&self, schema: &Map<String, Value>) -> String {
        if let Some(Value::Array(items)) = schema.get("prefixItems") {
            let mut items: Vec<String> = items.iter().map(|item| self.print(item)).collect();
            if let Some(rest @ Value::Object(_)) = schema.get("items") {
                items.push(format!("...{}[]", parenthesized(&self.print(rest), '\0')));
            }
            return format!("[{}]", items.join(", "));
        }
        let item = schema.get("items").map(|item| self.print(item));
        let item = item.unwrap_or_else(|| "unknown".to_owned());
        format!("{}[]", parenthesized(&item, '\0'))
    }

    fn members(&self, schema: &Map<String, Value>) -> String {
        let required = |name: &String| {
            let names = schema.get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|other| other == name))
        };
        // Sort them, because their order would otherwise depend on the features of `serde_json`.
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties: BTreeMap<&String, &Value> = properties.into_iter().flatten().collect();
        let members = properties.iter().map(|(name, property)| {
            let mark = if required(name) { "" } else { "?" };
            let printed = format!("{}{mark}: {}", key(name), self.print(property));
            (comment(property, ""), printed)
        });
        let mut members: Vec<(String, String)> = members.collect();
        let mut others = Vec::new();
        if let Some(other) = schema.get("additionalProperties")
            && *other != Value::Bool(false)
        {
            others.push(self.print(other));
        }
        if let Some(Value::Object(patterns)) = schema.get("patternProperties") {
            let sorted: BTreeMap<&String, &Value> = patterns.iter().collect();
            others.extend(sorted.into_values().map(|pattern| self.print(pattern)));
        }
        if !others.is_empty() {
            // An index signature must allow the types of all members.
            others.extend(properties.values().map(|property| self.print(property)));
            if !properties.keys().all(|name| required(name)) {
                others.push("undefined".to_owned());
            }
            let printed = format!("[member: string]: {}", union(others.into_iter()));
            members.push((String::new(), printed));
        }
        match members.as_slice() {
            [] => "Record<string, unknown>".to_owned(),
            members => braces(members),
        }
    }
}

/// Prints an object type. The members are pairs of a comment, which can be empty, and a declaration.
/// A type without comments takes a single line.
pub(super) fn braces(members: &[(String, String)]) -> String {
    if members.iter().all(|(comment, _)| comment.is_empty()) {
        let members: Vec<&str> = members.iter().map(|(_, printed)| &**printed).collect();
        return format!("{{ {} }}", members.join("; "));
    }
    let members = members.iter();
    let members = members.map(|(comment, printed)| format!("\n{comment}{printed};"));
    format!("{{{}\n}}", indented(&members.collect::<String>(), "  "))
}

/// Indents every line but the first.
pub(super) fn indented(printed: &str, indent: &str) -> String {
    printed.replace('\n', &format!("\n{indent}"))
}

/// Returns whether a JavaScript number cannot represent all integers that a schema allows.
fn is_large(schema: &Map<String, Value>) -> bool {
    const LARGE: [&str; 6] = ["int64", "uint64", "int128", "uint128", "int", "uint"];
    let format = schema.get("format").and_then(Value::as_str);
    format.is_some_and(|format| LARGE.contains(&format))
}

/// Prints a type that includes all of these types.
pub(super) fn union(members: impl Iterator<Item = String>) -> String {
    let mut unique: Vec<String> = Vec::new();
    for member in members {
        if member == "unknown" {
            return member;
        }
        if !unique.contains(&member) {
            unique.push(member);
        }
    }
    match unique.is_empty() {
        true => "never".to_owned(),
        false => unique.join(" | "),
    }
}

/// Encloses a type in parentheses if it contains `operator` outside of brackets, strings and comments,
/// or any operator if `operator` is NUL.
fn parenthesized(printed: &str, operator: char) -> String {
    let mut depth = 0_u32;
    let mut rest = printed;
    let mut found = false;
    while let Some(char) = rest.chars().next() {
        if char == '"' {
            rest = after_string(&rest[1..]);
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
            continue;
        }
        match char {
            '{' | '[' | '(' | '<' => depth += 1,
            '}' | ']' | ')' | '>' => depth = depth.saturating_sub(1),
            '|' | '&' if depth == 0 => found |= operator == '\0' || char == operator,
            _ => {}
        }
        rest = &rest[char.len_utf8()..];
    }
    match found {
        true => format!("({printed})"),
        false => printed.to_owned(),
    }
}

/// Returns the text after the quote that ends a string literal.
fn after_string(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.find(|char| {
        let ends = char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        ends
    });
    end.map_or("", |end| &text[end + 1..])
}

/// Prints a value as a literal type.
fn literal(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(_) => "unknown".to_owned(),
    }
}

/// Prints text as a string literal.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// Prints the name of a property. A name that is not an identifier is quoted.
pub(super) fn key(name: &str) -> String {
    let is_start = |char: char| char.is_ascii_alphabetic() || char == '_' || char == '$';
    let is_identifier = name.starts_with(is_start)
        && name
            .chars()
            .all(|char| is_start(char) || char.is_ascii_digit());
    match is_identifier {
        // In an object literal, this name would set the prototype.
        true if name != "__proto__" => name.to_owned(),
        true => "[\"__proto__\"]".to_owned(),
        false => text(name),
    }
}

/// Prints the description of a schema as a comment that precedes a declaration.
pub(super) fn comment(schema: &Value, indent: &str) -> String {
    let description = schema.get("description").and_then(Value::as_str);
    let description = description.unwrap_or_default().trim();
    let is_deprecated = schema.get("deprecated") == Some(&Value::Bool(true));
    let mut lines: Vec<String> = description
        .lines()
        .map(|line| line.replace("*/", "*\\/"))
        .collect();
    if is_deprecated {
        lines.push("@deprecated".to_owned());
    }
    match lines.as_slice() {
        [] => String::new(),
        [only] => format!("{indent}/** {only} */\n"),
        lines => {
            let lines = lines
                .iter()
                .map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n");
            format!("{indent}/**\n{}{indent} */\n", lines.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_in_comments_need_no_parentheses() {
        let member = ("/** A \" | }. */\n".to_owned(), "a: 1".to_owned());
        let object = braces(&[member]);
        assert_eq!(object, "{\n  /** A \" | }. */\n  a: 1;\n}");
        assert_eq!(parenthesized(&object, '\0'), object);
        let union = format!("{object} | null");
        assert_eq!(parenthesized(&union, '\0'), format!("({union})"));
        assert_eq!(parenthesized(&union, '&'), union);
        assert_eq!(parenthesized(r#""a\"|""#, '\0'), r#""a\"|""#);
    }
}
