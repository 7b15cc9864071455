//! Checks paths against the rules of axum 0.8 and its router, `matchit`. Additional rules reject
//! paths that axum accepts but does not interpret as the user intended.

mod name;
mod scan;

use self::{
    name::{leading_name, name_problems},
    scan::{scan, segment_at},
};

/// Returns every problem with a path. All problems are reported at the path literal.
pub(crate) fn problems(path: &str) -> Vec<String> {
    let (mut problems, path) = without_foreign_syntax(path);
    problems.extend(refusals(&path));
    problems.extend(name_problems(&captures(&path), &path));
    problems
}

/// Returns the names of the captures. The name of a wildcard does not include its `*`.
pub(crate) fn captures(path: &str) -> Vec<&str> {
    let captures = scan(path).captures.into_iter();
    captures
        .map(|capture| capture.trim_start_matches('*'))
        .collect()
}

/// Reports syntax that belongs to URLs or other routers and converts the path to axum's syntax.
fn without_foreign_syntax(path: &str) -> (Vec<String>, String) {
    let mut problems = Vec::new();
    let mut path = path.to_owned();
    if let Some(mark) = optional_mark(&path) {
        path.remove(mark);
        let segment = segment_at(&path, mark);
        problems.push(format!(
            "`{segment}` cannot be optional; write one endpoint with this segment and another without it"
        ));
    }
    for (mark, name, way_out) in [
        ('?', "query", "and extract the query with `Query<T>`"),
        ('#', "fragment", "since clients do not send fragments"),
    ] {
        if let Some(at) = outside_captures(&path, mark) {
            path.truncate(at);
            problems.push(format!(
                "a path cannot contain a {name}; write `\"{path}\"`, {way_out}"
            ));
        }
    }
    if let Some(segment) = path.split('/').find(|segment| in_angles(segment).is_some()) {
        let new = in_angles(segment).unwrap_or_default();
        let segments = path.split('/');
        let segments: Vec<String> = segments
            .map(|segment| in_angles(segment).unwrap_or_else(|| segment.to_owned()))
            .collect();
        let rewritten = segments.join("/");
        problems.push(format!(
            "write `{new}` instead of `{segment}`, as in `\"{rewritten}\"`"
        ));
        path = rewritten;
    }
    let is_foreign = |segment: &&str| encoded(segment) != **segment;
    if let Some(segment) = path.split('/').find(is_foreign) {
        let (new, rewritten) = (encoded(segment), encoded(&path));
        problems.push(format!(
            "clients encode a path before they send it; write `{new}` instead of `{segment}`, as in `\"{rewritten}\"`"
        ));
        path = rewritten;
    }
    if let Some(segment) = path
        .split('/')
        .find(|segment| matches!(*segment, "." | ".."))
    {
        problems.push(format!(
            "clients resolve `{segment}` before they send a path; write the path that they send"
        ));
    }
    (problems, path)
}

/// Returns the reasons why axum rejects the path. The list is empty if and only if axum accepts the
/// path.
fn refusals(path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push(format!(
            "the path must start with `/`; did you mean `\"/{path}\"`?"
        ));
    }
    let legacy = path
        .split('/')
        .find_map(|segment| Some((segment, of_axum_0_7(segment)?)));
    let Some((segment, new)) = legacy else {
        problems.extend(scan(path).problems);
        return problems;
    };
    let segments: Vec<String> = path
        .split('/')
        .map(|segment| of_axum_0_7(segment).unwrap_or_else(|| segment.to_owned()))
        .collect();
    let path = segments.join("/");
    problems.push(format!(
        "write `{new}` instead of `{segment}`, as in `\"{path}\"`"
    ));
    problems.extend(scan(&path).problems);
    problems
}

/// Returns the position of the `?` in an optional capture. Other routers write optional captures as
/// `{id?}`, `{id}?` or `:id?`.
fn optional_mark(path: &str) -> Option<usize> {
    let mark = path.find('?')?;
    let (before, after) = path.split_at(mark);
    let after = &after[1..];
    let segment = before.rsplit('/').next().unwrap_or_default();
    let is_capture = segment.starts_with([':', '{', '<']);
    (is_capture && (after.is_empty() || after.starts_with(['/', '}', '>']))).then_some(mark)
}

/// Returns the position at which `mark` first appears outside braces.
fn outside_captures(path: &str, mark: char) -> Option<usize> {
    let mut is_inside = false;
    path.char_indices().find_map(|(at, char)| {
        match char {
            '{' => is_inside = true,
            '}' | '/' => is_inside = false,
            _ => {}
        }
        (char == mark && !is_inside).then_some(at)
    })
}

/// Percent-encodes the characters outside braces that clients encode. axum compares a path with the
/// encoded path of a request, so it would never match these characters.
fn encoded(path: &str) -> String {
    let mut is_inside = false;
    let mut encoded = String::new();
    for char in path.chars() {
        match char {
            '{' => is_inside = true,
            '}' | '/' => is_inside = false,
            _ => {}
        }
        if is_inside || !is_encoded(char) {
            encoded.push(char);
        } else {
            let mut bytes = [0; 4];
            let bytes = char.encode_utf8(&mut bytes).bytes();
            encoded.extend(bytes.map(|byte| format!("%{byte:02X}")));
        }
    }
    encoded
}

/// Returns whether clients encode a character in a path. Browsers do not encode `[`, `]`, `^` and `|`,
/// although RFC 3986 requires it.
///
/// Source: [WHATWG URL, path percent-encode set](https://url.spec.whatwg.org/#path-percent-encode-set).
fn is_encoded(char: char) -> bool {
    !char.is_ascii()
        || char.is_ascii_control()
        || matches!(char, ' ' | '"' | '<' | '>' | '\\' | '`')
}

/// Converts a capture in angle brackets to axum's syntax.
fn in_angles(segment: &str) -> Option<String> {
    let name = segment.strip_prefix('<')?.strip_suffix('>')?;
    Some(match name.strip_suffix("..") {
        Some(rest) => format!("{{*{rest}}}"),
        None => format!("{{{name}}}"),
    })
}

/// Converts a segment from axum 0.7's syntax, which axum 0.8 rejects.
fn of_axum_0_7(segment: &str) -> Option<String> {
    if let Some(name) = segment.strip_prefix(':') {
        return Some(format!("{{{}}}", leading_name(name, "id")));
    }
    let name = segment.strip_prefix('*')?;
    Some(format!("{{*{}}}", leading_name(name, "rest")))
}

#[cfg(test)]
mod tests;
