//! Scans a path for captures, following `matchit`'s rules.

use super::name::leading_name;

/// The maximum number of captures in a path, not counting a wildcard. `matchit` panics if there are
/// more.
const MOST_CAPTURES: usize = 25;

/// A path's captures, and the problems that the router would report.
#[derive(Default)]
pub(super) struct Scan<'a> {
    /// The text between the braces of each capture.
    pub(super) captures: Vec<&'a str>,
    pub(super) problems: Vec<String>,
}

/// A character in a path.
struct Token {
    at: usize,
    char: char,
    /// Whether this is a doubled brace, which stands for a single literal brace.
    is_escaped: bool,
}

impl Token {
    fn is(&self, char: char) -> bool {
        self.char == char && !self.is_escaped
    }
}

/// Splits a path into characters. As in `matchit`, doubled braces are paired from left to right.
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

/// Scans a path in the same way as `matchit`, but continues after a problem to find further
/// problems.
pub(super) fn scan(path: &str) -> Scan<'_> {
    let tokens = tokens(path);
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.is('}') {
            let segment = segment_at(path, token.at);
            scan.problems.push(format!(
                "unmatched `}}` in `{segment}`; write `{{name}}`, or `}}}}` for a literal brace"
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
            "a path can have at most {MOST_CAPTURES} captures, but this one has {count}; capture the rest with `{{*rest}}`"
        ));
    }
    scan
}

/// A problem with a capture, and the token at which scanning continues.
struct Problem {
    message: String,
    end: usize,
}

/// Returns the index of the token that closes the capture at `open`.
fn capture(path: &str, tokens: &[Token], open: usize) -> Result<usize, Problem> {
    let segment = segment_at(path, tokens[open].at);
    let first = tokens.get(open + 1);
    // A name can start with any character except a closing brace. A doubled closing brace is not
    // allowed either.
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
                        "`{{{}}}` captures the rest of the path, so it must come last",
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
                    "a wildcard has a single `*` before its name; write `{{*{own}}}` instead of `{segment}`"
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
                        "`{{{}}}` contains a `/`, but a capture matches a single segment; write `{{a}}/{{b}}`, or `{{*rest}}`",
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
    format!("unclosed capture in `{segment}`; write `{{name}}`, or `{{{{` for a literal brace")
}

/// Returns the message for a capture that is followed by other text in the same segment.
fn followed(segment: &str, name: &str, tokens: &[Token], end: usize) -> String {
    let rest = &tokens[end + 1..next_slash(tokens, end)];
    if rest.iter().any(|token| token.is('{')) {
        return format!(
            "`{segment}` has two captures, but a segment can have only one; put a `/` between them"
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
        "nothing can follow `{{{name}}}` in its segment\n\
         help: put a `/` before `{text}`, or capture the whole segment and strip `{text}` in the endpoint"
    )
}

/// Returns the index of the next `/` at or after a token, or the end of the path.
fn next_slash(tokens: &[Token], at: usize) -> usize {
    let rest = tokens.iter().skip(at);
    at + rest.take_while(|token| token.char != '/').count()
}

/// Returns the segment of the path that contains the byte at `at`.
pub(super) fn segment_at(path: &str, at: usize) -> &str {
    let start = path[..at].rfind('/').map_or(0, |slash| slash + 1);
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    path.get(start..end).unwrap_or_default()
}
