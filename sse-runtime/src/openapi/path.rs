//! [`Template`]: a path with captures.

/// A path in axum's syntax, divided into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Capture { name: String, is_wildcard: bool },
}

/// Returns the path of a route in a router that is nested under `prefix`, as axum does.
pub(super) fn nested(prefix: &str, path: &str) -> String {
    match prefix.strip_suffix('/') {
        Some(prefix) => format!("{prefix}/{}", path.trim_start_matches('/')),
        None if path == "/" && !prefix.is_empty() => prefix.to_owned(),
        None => format!("{prefix}{path}"),
    }
}

impl Template {
    /// Parses a path. Unbalanced braces are treated as text, which does not matter, because both
    /// the attribute and axum reject them.
    pub(super) fn parse(path: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = path.chars().peekable();
        while let Some(char) = chars.next() {
            if matches!(char, '{' | '}') && chars.next_if_eq(&char).is_some() {
                text.push(char);
            } else if char == '{' {
                parts.push(Part::Text(std::mem::take(&mut text)));
                let name: String = chars.by_ref().take_while(|char| *char != '}').collect();
                parts.push(Part::Capture {
                    is_wildcard: name.starts_with('*'),
                    name: name.trim_start_matches('*').to_owned(),
                });
            } else {
                text.push(char);
            }
        }
        parts.push(Part::Text(text));
        Self(parts)
    }

    /// Returns the names of the captures, in order.
    pub(super) fn captures(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Capture { name, .. } => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// Returns the path in OpenAPI's syntax. Braces that are text are percent-encoded, because the
    /// syntax cannot escape them.
    pub(super) fn to_openapi(&self) -> String {
        self.write(|name, _| format!("{{{name}}}"))
    }

    /// Returns the path in the TypeScript client's syntax. The client does not encode the slashes
    /// in a wildcard, so wildcards are marked with an asterisk. `key` returns the member of the
    /// client's input that contains a capture.
    pub(super) fn to_typescript(&self, key: impl Fn(&str) -> String) -> String {
        self.write(|name, is_wildcard| {
            let star = if is_wildcard { "*" } else { "" };
            format!("{{{star}{}}}", key(name))
        })
    }

    fn write(&self, capture: impl Fn(&str, bool) -> String) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.replace('{', "%7B").replace('}', "%7D"),
            Part::Capture { name, is_wildcard } => capture(name, *is_wildcard),
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_nested_as_in_axum() {
        assert_eq!(nested("", "/"), "/");
        assert_eq!(nested("/v1", "/"), "/v1");
        assert_eq!(nested("/v1/", "/"), "/v1/");
        assert_eq!(nested("/v1", "/a"), "/v1/a");
        assert_eq!(nested("/v1/", "/a"), "/v1/a");
    }

    #[test]
    fn captures_and_escaped_braces_are_parsed() {
        let path = Template::parse("/a-{b}.c/{{d}}/{*rest}");
        assert_eq!(path.captures().collect::<Vec<_>>(), ["b", "rest"]);
        assert_eq!(path.to_openapi(), "/a-{b}.c/%7Bd%7D/{rest}");
        assert_eq!(
            path.to_typescript(str::to_owned),
            "/a-{b}.c/%7Bd%7D/{*rest}"
        );
    }
}
