//! The rules of a path: those of axum 0.8 and its router, `matchit`, and a few of our own for paths that axum would
//! read in another way than they are meant.

/// The most captures in one path, not counting a wildcard; `matchit` panics at the next one.
const MOST_CAPTURES: usize = 25;

/// Everything that is wrong with a path; the one literal is underlined for all of it.
pub(crate) fn problems(path: &str) -> Vec<String> {
    let (mut problems, path) = without_foreign_syntax(path);
    problems.extend(refusals(&path));
    problems.extend(names(&captures(&path), &path));
    problems
}

/// The names of the captures, a wildcard's without its star.
pub(crate) fn captures(path: &str) -> Vec<&str> {
    let captures = scan(path).captures.into_iter();
    captures
        .map(|capture| capture.trim_start_matches('*'))
        .collect()
}

/// Reports the syntax of URLs and of other routers; returns the path with the syntax of axum in its place.
fn without_foreign_syntax(path: &str) -> (Vec<String>, String) {
    let mut problems = Vec::new();
    let mut path = path.to_owned();
    if let Some(mark) = optional_mark(&path) {
        path.remove(mark);
        let segment = segment_at(&path, mark);
        problems.push(format!(
            "`{segment}` cannot be optional; write one endpoint for the path with it, and one for the path without it"
        ));
    }
    for (mark, name) in [('?', "query"), ('#', "fragment")] {
        if let Some(at) = outside_captures(&path, mark) {
            path.truncate(at);
            problems.push(format!(
                "a route has no {name}; write `\"{path}\"`, and read the {name} in the endpoint"
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
        problems.push(format!("write `{new}`, not `{segment}`: `\"{rewritten}\"`"));
        path = rewritten;
    }
    (problems, path)
}

/// Everything for which axum refuses a path; empty exactly if it accepts the path.
fn refusals(path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push(format!("paths start with `/`; did you mean `\"/{path}\"`?"));
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
    problems.push(format!("write `{new}`, not `{segment}`: `\"{path}\"`"));
    problems.extend(scan(&path).problems);
    problems
}

/// Problems in the names of captures that axum itself accepts.
fn names(captures: &[&str], path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, &name) in captures.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            problems.push(problem);
        } else if captures[..at].contains(&name) {
            problems.push(format!("in `\"{path}\"`: `{{{name}}}` appears twice"));
        }
    }
    problems
}

fn name_problem(name: &str) -> Option<String> {
    if let Some(name) = name.strip_suffix("..") {
        let name = name.trim_end_matches('.');
        return Some(format!("write `{{*{name}}}`, not `{{{name}...}}`")).filter(|_| is_name(name));
    }
    if is_name(name) {
        return None;
    }
    let own = leading_name(name, "id");
    Some(match name.split_once(':') {
        Some(_) => format!(
            "captures have no patterns, so this one's name would be `{name}`; write `{{{own}}}`, and let the type in \
             `Path<…>` validate it"
        ),
        None => format!(
            "`{name}` is not a valid capture name; use letters, digits, `_`, `-` and `.`, as in `{{{own}}}`"
        ),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_part_of_name)
}

fn is_part_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// The name that a text begins with; `default`, if there is none.
fn leading_name(text: &str, default: &str) -> String {
    let text = text.trim_start_matches(|char| !is_part_of_name(char));
    let name: String = text
        .chars()
        .take_while(|&char| is_part_of_name(char) && char != '.')
        .collect();
    if name.is_empty() {
        default.to_owned()
    } else {
        name
    }
}

/// The `?` of a capture that is optional in other routers: `{id?}`, `{id}?`, `:id?`.
fn optional_mark(path: &str) -> Option<usize> {
    let mark = path.find('?')?;
    let (before, after) = path.split_at(mark);
    let after = &after[1..];
    let segment = before.rsplit('/').next().unwrap_or_default();
    let is_capture = segment.starts_with([':', '{', '<']);
    (is_capture && (after.is_empty() || after.starts_with(['/', '}', '>']))).then_some(mark)
}

/// The position of a character outside all braces.
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

/// A capture in angle brackets, as axum writes it.
fn in_angles(segment: &str) -> Option<String> {
    let name = segment.strip_prefix('<')?.strip_suffix('>')?;
    Some(match name.strip_suffix("..") {
        Some(rest) => format!("{{*{rest}}}"),
        None => format!("{{{name}}}"),
    })
}

/// A segment in the syntax of axum 0.7, which axum 0.8 refuses, in that of axum 0.8.
fn of_axum_0_7(segment: &str) -> Option<String> {
    if let Some(name) = segment.strip_prefix(':') {
        return Some(format!("{{{}}}", leading_name(name, "id")));
    }
    let name = segment.strip_prefix('*')?;
    Some(format!("{{*{}}}", leading_name(name, "rest")))
}

/// The captures of a path, and what the router finds wrong with it.
#[derive(Default)]
struct Scan<'a> {
    /// The text between the braces of each capture.
    captures: Vec<&'a str>,
    problems: Vec<String>,
}

/// A character of a path.
struct Token {
    at: usize,
    char: char,
    /// A doubled brace, which stands for a brace.
    is_escaped: bool,
}

impl Token {
    fn is(&self, char: char) -> bool {
        self.char == char && !self.is_escaped
    }
}

/// Pairs doubled braces from the left, before anything else is read, as `matchit` does.
fn tokens(path: &str) -> Vec<Token> {
    let mut chars = path.char_indices().peekable();
    let mut tokens = Vec::new();
    while let Some((at, char)) = chars.next() {
        let is_escaped =
            matches!(char, '{' | '}') && chars.next_if(|(_, next)| *next == char).is_some();
        tokens.push(Token {
            at,
            char,
            is_escaped,
        });
    }
    tokens
}

/// Reads a path as `matchit` does, and goes on after a problem to find the others.
fn scan(path: &str) -> Scan<'_> {
    let tokens = tokens(path);
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.is('}') {
            let segment = segment_at(path, token.at);
            scan.problems.push(format!(
                "the `}}` in `{segment}` closes no capture; write `{{name}}`, or `}}}}` for a brace"
            ));
            at = next_slash(&tokens, at);
        } else if token.is('{') {
            match capture(path, &tokens, at) {
                Ok(end) => {
                    scan.captures.push(&path[token.at + 1..tokens[end].at]);
                    at = end + 1;
                }
                Err(problem) => {
                    scan.problems.push(problem.message);
                    at = problem.end;
                }
            }
        } else {
            at += 1;
        }
    }
    let plain = scan.captures.iter().filter(|name| !name.starts_with('*'));
    let count = plain.count();
    if count > MOST_CAPTURES {
        scan.problems.push(format!(
            "a path has at most {MOST_CAPTURES} captures, and this one has {count}; take the rest of it as `{{*rest}}`"
        ));
    }
    scan
}

/// A problem in a capture, and the token at which reading goes on.
struct Problem {
    message: String,
    end: usize,
}

/// The token that closes the capture which `open` begins.
fn capture(path: &str, tokens: &[Token], open: usize) -> Result<usize, Problem> {
    let segment = segment_at(path, tokens[open].at);
    let first = tokens.get(open + 1);
    // The first character of a name may be anything but a closing brace, even a doubled one.
    let is_unnamed = first.is_some_and(|first| first.char == '}');
    let mut rest = tokens.iter().enumerate().skip(open + 2);
    let end = rest.find(|(_, token)| !token.is_escaped && matches!(token.char, '}' | '*' | '/'));
    let problem = |message: String, end: usize| {
        Err(Problem {
            message,
            end: next_slash(tokens, end),
        })
    };
    if is_unnamed && first.is_some_and(|first| first.is('}')) {
        return problem(unnamed(segment, "id"), open);
    }
    let name = |end: usize| &path[tokens[open].at + 1..tokens[end].at];
    match end {
        Some((end, token)) if token.char == '}' && !is_unnamed => {
            if name(end) == "*" {
                return problem(unnamed(segment, "*rest"), end);
            }
            match tokens.get(end + 1) {
                Some(_) if name(end).starts_with('*') => Err(Problem {
                    message: format!(
                        "`{{{}}}` takes all the rest of the path, so it comes last",
                        name(end)
                    ),
                    end: tokens.len(),
                }),
                Some(next) if next.char != '/' => {
                    problem(followed(segment, name(end), tokens, end), end)
                }
                _ => Ok(end),
            }
        }
        Some((end, token)) if token.char == '*' => {
            let own = leading_name(name(end), "rest");
            problem(
                format!(
                    "the `*` of a wildcard stands before its name, once; write `{{*{own}}}`, not `{segment}`"
                ),
                end,
            )
        }
        Some((end, token)) if token.char == '/' => {
            let brace = tokens
                .iter()
                .enumerate()
                .skip(end)
                .find(|(_, token)| token.is('{') || token.is('}'));
            match brace {
                Some((close, token)) if token.is('}') => problem(
                    format!(
                        "`{{{}}}` holds a `/`, and a capture is one segment; write `{{a}}/{{b}}`, or `{{*rest}}`",
                        name(close)
                    ),
                    close,
                ),
                _ => problem(unclosed(segment), end),
            }
        }
        _ => problem(unclosed(segment), open),
    }
}

fn unnamed(segment: &str, name: &str) -> String {
    format!("the capture in `{segment}` has no name; write `{{{name}}}`")
}

fn unclosed(segment: &str) -> String {
    format!("the capture in `{segment}` is not closed; write `{{name}}`, or `{{{{` for a brace")
}

/// Says that a capture is not the end of its segment.
fn followed(segment: &str, name: &str, tokens: &[Token], end: usize) -> String {
    let rest = &tokens[end + 1..next_slash(tokens, end)];
    if rest.iter().any(|token| token.is('{')) {
        return format!(
            "`{segment}` has two captures, and a segment holds one; put a `/` between them"
        );
    }
    let text: String = rest
        .iter()
        .map(|token| match token.is_escaped {
            true => format!("{0}{0}", token.char),
            false => token.char.to_string(),
        })
        .collect();
    format!(
        "nothing can follow `{{{name}}}` in its segment; put a `/` before `{text}`, or capture the whole segment and strip \
         `{text}` in the endpoint"
    )
}

/// The next `/` at or after a token, or the end.
fn next_slash(tokens: &[Token], at: usize) -> usize {
    let rest = tokens.iter().skip(at);
    at + rest.take_while(|token| token.char != '/').count()
}

/// The segment around a byte of the path.
fn segment_at(path: &str, at: usize) -> &str {
    let start = path[..at].rfind('/').map_or(0, |slash| slash + 1);
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    path.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether axum 0.8 takes a path: the checks of its `PathRouter::route`, and its router.
    fn axum_accepts(path: &str) -> bool {
        let is_legacy = |segment: &str| segment.starts_with([':', '*']);
        path.starts_with('/')
            && !path.split('/').any(is_legacy)
            && matchit::Router::new().insert(path, ()).is_ok()
    }

    fn path_of_parts() -> impl Strategy<Value = String> {
        const PARTS: [&str; 16] = [
            "/", "/", "/", "{", "}", "{{", "}}", "*", ":", "a", "b.c", "{a}", "{*b}", "{c}/", "ü",
            "-",
        ];
        let parts = proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..9);
        (any::<bool>(), parts).prop_map(|(slash, parts)| {
            let start = if slash { "/" } else { "" };
            format!("{start}{}", parts.concat())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn refusals_agree_with_the_router(path in path_of_parts()) {
            prop_assert_eq!(refusals(&path).is_empty(), axum_accepts(&path), "{:?}", refusals(&path));
        }

        #[test]
        fn problems_cover_all_refusals(path in "[/{}*:a?#<>.ü ]{0,12}") {
            prop_assert!(axum_accepts(&path) || !problems(&path).is_empty());
        }

        #[test]
        fn ordinary_paths_have_no_problems(
            segments in proptest::collection::btree_map("[a-z][a-z0-9_-]{0,6}", 0..3_u8, 0..6),
            ends_with_wildcard in any::<bool>(),
        ) {
            let segments = segments.iter().map(|(name, kind)| match kind {
                0 => name.clone(),
                1 => format!("{{{name}}}"),
                _ => format!("v-{{{name}}}"),
            });
            let mut path = format!("/{}", segments.collect::<Vec<_>>().join("/"));
            if ends_with_wildcard {
                path.push_str("/{*Rest}");
            }
            prop_assert_eq!(problems(&path), [""; 0]);
            prop_assert!(axum_accepts(&path));
        }
    }

    #[test]
    fn number_of_captures_is_limited_like_matchit() {
        let path =
            |count: usize| -> String { (0..count).map(|at| format!("/{{a{at}}}")).collect() };
        assert_eq!(problems(&path(25)), [""; 0]);
        assert_eq!(problems(&format!("{}/{{*rest}}", path(25))), [""; 0]);
        assert!(axum_accepts(&format!("{}/{{*rest}}", path(25))));
        assert_eq!(problems(&path(26)).len(), 1);
        std::panic::catch_unwind(|| axum_accepts(&path(26))).unwrap_err();
    }

    #[test]
    fn axums_paths_pass() {
        for path in [
            "/",
            "/a",
            "/a/{id}",
            "/{a}/{*rest}",
            "/v{version}",
            "/files-{*rest}",
            "/{{x}}",
            "/{{x}}/{id}",
            "/a/",
            "//",
            "/a:b/c*d",
            "/{user-id}/{kebab.dot}/{größe}",
        ] {
            assert_eq!(problems(path), [""; 0], "{path}");
        }
        assert_eq!(captures("/{a}/b/{*rest}"), ["a", "rest"]);
        assert_eq!(captures("/{{x}}/x-{a}"), ["a"]);
    }

    #[test]
    fn each_problem_names_the_way_out() {
        for (path, problem) in [
            ("ticks", "paths start with `/`; did you mean `\"/ticks\"`?"),
            ("", "paths start with `/`; did you mean `\"/\"`?"),
            ("/a/:id", "write `{id}`, not `:id`: `\"/a/{id}\"`"),
            ("/:a/:b", "write `{a}`, not `:a`: `\"/{a}/{b}\"`"),
            ("/:{id}", "write `{id}`, not `:{id}`: `\"/{id}\"`"),
            ("/a/:id.json", "write `{id}`, not `:id.json`: `\"/a/{id}\"`"),
            ("/a/*rest", "write `{*rest}`, not `*rest`: `\"/a/{*rest}\"`"),
            ("/a/*", "write `{*rest}`, not `*`: `\"/a/{*rest}\"`"),
            ("/a/<id>", "write `{id}`, not `<id>`: `\"/a/{id}\"`"),
            (
                "/<rest..>",
                "write `{*rest}`, not `<rest..>`: `\"/{*rest}\"`",
            ),
            ("/{rest...}", "write `{*rest}`, not `{rest...}`"),
            ("/{id}/{id}", "in `\"/{id}/{id}\"`: `{id}` appears twice"),
            ("/{id}/{*id}", "in `\"/{id}/{*id}\"`: `{id}` appears twice"),
            ("/{}", "the capture in `{}` has no name; write `{id}`"),
            ("/{*}", "the capture in `{*}` has no name; write `{*rest}`"),
            (
                "/{id",
                "the capture in `{id` is not closed; write `{name}`, or `{{` for a brace",
            ),
            (
                "/{id/a",
                "the capture in `{id` is not closed; write `{name}`, or `{{` for a brace",
            ),
            (
                "/{id}}",
                "the capture in `{id}}` is not closed; write `{name}`, or `{{` for a brace",
            ),
            (
                "/id}",
                "the `}` in `id}` closes no capture; write `{name}`, or `}}` for a brace",
            ),
            (
                "/{{id}",
                "the `}` in `{{id}` closes no capture; write `{name}`, or `}}` for a brace",
            ),
            (
                "/{a/b}",
                "`{a/b}` holds a `/`, and a capture is one segment; write `{a}/{b}`, or `{*rest}`",
            ),
            (
                "/{*rest}/a",
                "`{*rest}` takes all the rest of the path, so it comes last",
            ),
            (
                "/{*rest}/",
                "`{*rest}` takes all the rest of the path, so it comes last",
            ),
            (
                "/{*rest}.json",
                "`{*rest}` takes all the rest of the path, so it comes last",
            ),
            (
                "/{rest*}",
                "the `*` of a wildcard stands before its name, once; write `{*rest}`, not `{rest*}`",
            ),
            (
                "/{**rest}",
                "the `*` of a wildcard stands before its name, once; write `{*rest}`, not `{**rest}`",
            ),
            (
                "/{a}{b}",
                "`{a}{b}` has two captures, and a segment holds one; put a `/` between them",
            ),
            (
                "/{a}-{b}",
                "`{a}-{b}` has two captures, and a segment holds one; put a `/` between them",
            ),
            (
                "/tasks/{id}:subscribe",
                "nothing can follow `{id}` in its segment; put a `/` before `:subscribe`, or capture the whole segment and \
                 strip `:subscribe` in the endpoint",
            ),
            (
                "/files/{name}.json",
                "nothing can follow `{name}` in its segment; put a `/` before `.json`, or capture the whole segment and \
                 strip `.json` in the endpoint",
            ),
            (
                "/{id:[0-9]+}",
                "captures have no patterns, so this one's name would be `id:[0-9]+`; write `{id}`, and let the type in \
                 `Path<…>` validate it",
            ),
            (
                "/{ id }",
                "` id ` is not a valid capture name; use letters, digits, `_`, `-` and `.`, as in `{id}`",
            ),
            (
                "/a/{id?}",
                "`{id}` cannot be optional; write one endpoint for the path with it, and one for the path without it",
            ),
            (
                "/a/{id}?",
                "`{id}` cannot be optional; write one endpoint for the path with it, and one for the path without it",
            ),
            (
                "/a?b={c",
                "a route has no query; write `\"/a\"`, and read the query in the endpoint",
            ),
            (
                "/a#b",
                "a route has no fragment; write `\"/a\"`, and read the fragment in the endpoint",
            ),
        ] {
            assert_eq!(problems(path), [problem], "{path}");
        }
        assert_eq!(problems("/{id/{}/{a}b/c}").len(), 4);
    }
}
