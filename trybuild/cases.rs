//! The rules for the cases themselves: one mistake, one message; and the page of the docs that lists them.
//!
//! `TRYBUILD=overwrite cargo test -p trybuild-cases` rewrites the page and the messages.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

/// A case is this short, so that there is room for one mistake in it.
const MOST_LINES: usize = 14;

/// The files with several errors, and the reason of each.
const SEVERAL: [(&str, usize, &str); 7] = [
    (
        "args/three_mistakes",
        3,
        "three mistakes, each said at once",
    ),
    (
        "body/three_mistakes",
        3,
        "three mistakes, each said at once",
    ),
    (
        "derive/three_mistakes",
        3,
        "three mistakes, each said at once",
    ),
    (
        "body/syntax_error_beside_another",
        2,
        "two mistakes: the second shows that the first does not hide it",
    ),
    (
        "body/yield_with_exclamation_mark",
        2,
        "rustc refuses `yield` as well, before any macro could take it away",
    ),
    (
        "body/yield_keyword",
        2,
        "rustc refuses `yield` as well, before any macro could take it away",
    ),
    (
        "types/item_is_bare_event",
        2,
        "rustc infers what is yielded before it checks the item",
    ),
];

struct Case {
    group: String,
    name: String,
    lines: usize,
    stderr: String,
}

impl Case {
    fn id(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    fn errors(&self) -> usize {
        self.stderr
            .lines()
            .filter(|line| line.starts_with("error"))
            .count()
    }
}

fn cases() -> Vec<Case> {
    let fail = Path::new(env!("CARGO_MANIFEST_DIR")).join("fail");
    let mut cases = Vec::new();
    for group in fs::read_dir(fail).unwrap() {
        let group = group.unwrap().path();
        for file in fs::read_dir(&group).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
            let stderr = file.with_extension("stderr");
            cases.push(Case {
                group: text(&group),
                name: text(&file),
                lines: fs::read_to_string(&file).unwrap().lines().count(),
                stderr: fs::read_to_string(&stderr)
                    .unwrap_or_else(|error| panic!("{}: {error}", stderr.display())),
            });
        }
    }
    cases.sort_by_key(Case::id);
    cases
}

#[test]
fn one_mistake_one_message() {
    let mut several: BTreeMap<&str, usize> = SEVERAL
        .iter()
        .map(|(case, errors, _)| (*case, *errors))
        .collect();
    for case in cases() {
        let id = case.id();
        let expected = several.remove(id.as_str()).unwrap_or(1);
        assert_eq!(case.errors(), expected, "errors in {id}.stderr");
        assert!(
            case.lines <= MOST_LINES,
            "{id}.rs is longer than {MOST_LINES} lines"
        );
    }
    assert!(
        several.is_empty(),
        "these have one error, or are not there: {several:?}"
    );
}

/// The groups, in the order of the page.
const GROUPS: [(&str, &str, &str); 6] = [
    (
        "args",
        "The attribute",
        "What stands in the parentheses of `#[sse_endpoint(…)]`.",
    ),
    (
        "signature",
        "The signature",
        "The function's name, arguments and return type.",
    ),
    (
        "body",
        "The body",
        "`yield_!`, `?`, `return`, and what waits or does not.",
    ),
    (
        "types",
        "The types",
        "What the compiler finds out about items, errors and values.",
    ),
    (
        "router",
        "The router",
        "What is found where the endpoint is mounted.",
    ),
    (
        "derive",
        "The derives",
        "`#[derive(SseEvent)]` and `#[derive(SseError)]`.",
    ),
];

#[test]
fn the_page_of_the_docs_lists_every_case() {
    let page = page(&cases());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sse-runtime/docs/what_the_compiler_checks.md");
    if env::var_os("TRYBUILD").is_some_and(|mode| mode == "overwrite") {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        page,
        "write it with TRYBUILD=overwrite"
    );
}

fn page(cases: &[Case]) -> String {
    let mut page = String::from(
        "What the compiler checks, and what it says.\n\n\
         One mistake gets one message, at your own token, with the way out. This page is written from the messages \
         that the tests pin, with rustc's own where it is good already. Rows that are warnings name what \
         `allow(…)` in the attribute silences.\n",
    );
    for (group, title, about) in GROUPS {
        let _ = write!(
            page,
            "\n# {title}\n\n{about}\n\n| mistake | where | the compiler says |\n| --- | --- | --- |\n"
        );
        for case in cases.iter().filter(|case| case.group == group) {
            let mistake = case.name.replace('_', " ");
            let place = cell(&in_code(underlined(&case.stderr)));
            let said = cell(&said(&case.stderr));
            let _ = writeln!(page, "| {mistake} | {place} | {said} |");
        }
    }
    page
}

/// The line of code that the first message underlines.
fn underlined(stderr: &str) -> &str {
    let mut code = "";
    for line in stderr.lines() {
        if let Some((gutter, rest)) = line.split_once(" |") {
            if gutter.trim().parse::<u32>().is_ok() {
                code = rest.trim();
            } else if rest.contains('^') {
                return code;
            }
        }
    }
    code
}

/// As Markdown has code that may hold a backtick.
fn in_code(code: &str) -> String {
    match code {
        "" => String::new(),
        code if code.contains('`') => format!("`` {code} ``"),
        code => format!("`{code}`"),
    }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The messages of a case, in one cell of a table.
fn said(stderr: &str) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut is_message = false;
    for line in stderr.lines() {
        if let Some(message) = line.strip_prefix("error") {
            let message = message
                .split_once(": ")
                .map_or(message, |(_, message)| message);
            said.push(as_warning(message));
            is_message = true;
        } else if line.trim_start().starts_with("--> ") {
            is_message = false;
        } else if is_message {
            // The rest of a message of several lines.
            said.push(line.trim().to_owned());
        } else if let Some(note) = line.trim_start().strip_prefix("= note: ")
            && is_ours(note)
        {
            said.push(format!("note: {note}"));
        }
    }
    said.dedup();
    said.join("<br>")
}

/// A warning is the use of something deprecated; what matters of it is the note.
fn as_warning(message: &str) -> String {
    match message.strip_prefix("use of deprecated constant ") {
        Some(warning) => {
            let (_, note) = warning.split_once(": ").unwrap_or(("", warning));
            format!("*warning:* {note}")
        }
        None => message.to_owned(),
    }
}

/// Notes that say the way out, and not where an error comes from.
fn is_ours(note: &str) -> bool {
    const RUSTC: [&str; 9] = [
        "this error originates in",
        "see issue",
        "`#[deny",
        "`#[warn",
        "expected ",
        "for local types",
        "for types from other crates",
        "multiple",
        "required ",
    ];
    !RUSTC.iter().any(|start| note.starts_with(start))
}
