//! The rules of a path, as axum 0.8 has them.

/// What is wrong with a path; everything that is, since one literal is underlined for all of it.
pub(crate) fn problems(path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push(format!("paths start with `/`; did you mean `\"/{path}\"`?"));
    }
    for (mark, name) in [('?', "query"), ('#', "fragment")] {
        if let Some((path, _)) = path.split_once(mark) {
            problems.push(format!(
                "a route has no {name}; write `\"{path}\"`, and read the {name} in the endpoint"
            ));
        }
    }
    if let Some(segment) = path.split('/').find(|segment| in_braces(segment).is_some()) {
        let segments: Vec<String> = path
            .split('/')
            .map(|segment| in_braces(segment).unwrap_or_else(|| segment.to_owned()))
            .collect();
        let (new, path) = (in_braces(segment).unwrap_or_default(), segments.join("/"));
        problems.push(format!("write `{new}`, not `{segment}`: `\"{path}\"`"));
    }
    let mut seen: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        match segment_problem(segment, at + 1 == segments.len()) {
            Some(problem) => problems.push(problem),
            None => {
                for capture in captures_in(segment) {
                    let name = capture.trim_start_matches('*');
                    if seen.contains(&name) {
                        problems.push(format!("in `\"{path}\"`: `{{{name}}}` appears twice"));
                    }
                    seen.push(name);
                }
            }
        }
    }
    problems
}

/// A capture as axum 0.8 has it, where it is written as others have it.
fn in_braces(segment: &str) -> Option<String> {
    for (old, new) in [(':', ""), ('*', "*")] {
        if let Some(name) = segment.strip_prefix(old) {
            let name = if name.is_empty() { "rest" } else { name };
            return Some(format!("{{{new}{name}}}"));
        }
    }
    let name = segment.strip_prefix('<')?.strip_suffix('>')?;
    Some(match name.strip_suffix("..") {
        Some(rest) => format!("{{*{rest}}}"),
        None => format!("{{{name}}}"),
    })
}

fn segment_problem(segment: &str, last: bool) -> Option<String> {
    if in_braces(segment).is_some() {
        return None;
    }
    // Doubled braces stand for themselves.
    let plain = segment.replace("{{", "").replace("}}", "");
    let opened = plain.matches('{').count();
    if opened != plain.matches('}').count() {
        return Some(format!(
            "the capture in `{segment}` is not closed; write `{{name}}`, or `{{{{` for a brace"
        ));
    }
    if opened > 1 {
        return Some(format!(
            "`{segment}` has two captures, and a segment holds one; put a `/` between them"
        ));
    }
    match captures_in(segment).next()? {
        "" | "*" => Some(format!(
            "the capture in `{segment}` has no name; write `{{id}}`"
        )),
        name if name.starts_with('*') && !last => Some(format!(
            "`{{{name}}}` takes all the rest of the path, so it comes last"
        )),
        _ => None,
    }
}

/// The names of the captures, a wildcard's without its star.
pub(crate) fn captures(path: &str) -> Vec<&str> {
    path.split('/')
        .flat_map(captures_in)
        .map(|capture| capture.trim_start_matches('*'))
        .collect()
}

fn captures_in(segment: &str) -> impl Iterator<Item = &str> {
    let start = segment.find('{').filter(|_| !segment.contains("{{"));
    start
        .and_then(|start| {
            let end = segment[start..].find('}')? + start;
            Some(&segment[start + 1..end])
        })
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axums_paths_pass() {
        for path in [
            "/",
            "/a",
            "/a/{id}",
            "/{a}/{*rest}",
            "/v{version}",
            "/{{x}}",
            "/a/",
        ] {
            assert_eq!(problems(path), [""; 0], "{path}");
        }
        assert_eq!(captures("/{a}/b/{*rest}"), ["a", "rest"]);
    }

    #[test]
    fn each_problem_names_the_way_out() {
        for (path, problem) in [
            ("ticks", "paths start with `/`; did you mean `\"/ticks\"`?"),
            ("/a/:id", "write `{id}`, not `:id`: `\"/a/{id}\"`"),
            ("/:a/:b", "write `{a}`, not `:a`: `\"/{a}/{b}\"`"),
            ("/a/*rest", "write `{*rest}`, not `*rest`: `\"/a/{*rest}\"`"),
            ("/a/<id>", "write `{id}`, not `<id>`: `\"/a/{id}\"`"),
            (
                "/<rest..>",
                "write `{*rest}`, not `<rest..>`: `\"/{*rest}\"`",
            ),
            ("/{id}/{id}", "in `\"/{id}/{id}\"`: `{id}` appears twice"),
            ("/{}", "the capture in `{}` has no name; write `{id}`"),
            (
                "/{*rest}/a",
                "`{*rest}` takes all the rest of the path, so it comes last",
            ),
            (
                "/{a}{b}",
                "`{a}{b}` has two captures, and a segment holds one; put a `/` between them",
            ),
        ] {
            assert_eq!(problems(path), [problem], "{path}");
        }
        assert_eq!(problems("/{id").len(), 1);
        assert_eq!(problems("").len(), 1);
        assert_eq!(problems("/a?b=c").len(), 1);
    }
}
