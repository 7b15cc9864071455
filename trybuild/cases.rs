//! Checks that every case causes exactly one error, apart from the exceptions in `SEVERAL`, and that the docs page
//! lists every case.
//!
//! `TRYBUILD=overwrite cargo test -p trybuild-cases` rewrites the page and the expected messages.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking if a value is missing"
)]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

/// The maximum number of lines in a case. A case this short has room for only one mistake.
const MAX_LINES: usize = 14;

/// The cases that cause several errors, each with the number of errors and the reason.
const SEVERAL: [(&str, usize, &str); 7] = [
    (
        "args/three_mistakes",
        3,
        "three mistakes, all of which are reported together",
    ),
    (
        "body/three_mistakes",
        3,
        "three mistakes, all of which are reported together",
    ),
    (
        "derive/three_mistakes",
        3,
        "three mistakes, all of which are reported together",
    ),
    (
        "body/syntax_error_beside_another",
        2,
        "two mistakes, to check that the first does not hide the second",
    ),
    (
        "body/yield_with_exclamation_mark",
        2,
        "rustc also rejects `yield` before the macro can remove it",
    ),
    (
        "body/yield_keyword",
        2,
        "rustc also rejects `yield` before the macro can remove it",
    ),
    (
        "types/item_is_bare_event",
        2,
        "rustc infers the yielded type before it checks the item",
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
fn each_case_has_the_expected_errors() {
    let mut several: BTreeMap<&str, usize> = SEVERAL
        .iter()
        .map(|(case, errors, _)| (*case, *errors))
        .collect();
    for case in cases() {
        let id = case.id();
        let expected = several.remove(id.as_str()).unwrap_or(1);
        assert_eq!(case.errors(), expected, "errors in {id}.stderr");
        assert!(
            case.lines <= MAX_LINES,
            "{id}.rs is longer than {MAX_LINES} lines"
        );
    }
    assert!(
        several.is_empty(),
        "these cases have only one error, or do not exist: {several:?}"
    );
}

/// The groups, in the order in which they appear on the page.
const GROUPS: [(&str, &str, &str); 6] = [
    (
        "args",
        "The attribute",
        "The arguments of `#[sse_endpoint(…)]`.",
    ),
    (
        "signature",
        "The signature",
        "The function's name, arguments and return type.",
    ),
    (
        "body",
        "The body",
        "`yield_!`, `?`, `return`, blocking calls, tasks and loops.",
    ),
    (
        "types",
        "The types",
        "Mistakes in the types of items, errors and values.",
    ),
    (
        "router",
        "The router",
        "Mistakes that are found where an endpoint is added to a router.",
    ),
    (
        "derive",
        "The derives",
        "`#[derive(SseEvent)]` and `#[derive(SseError)]`.",
    ),
];

#[test]
fn docs_page_lists_every_case() {
    let page = page(&cases());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sse-runtime/docs/what_the_compiler_checks.md");
    if env::var_os("TRYBUILD").is_some_and(|mode| mode == "overwrite") {
        fs::write(&path, &page).unwrap();
    }
    // The page is long, so only the first line that differs is printed.
    let committed = fs::read_to_string(&path).unwrap();
    let mut lines = committed.lines().zip(page.lines());
    let differs = lines.find(|(committed, generated)| committed != generated);
    assert!(
        committed == page,
        "the page is outdated; update it with TRYBUILD=overwrite: {differs:#?}"
    );
}

fn page(cases: &[Case]) -> String {
    let mut page = String::from(
        "The mistakes that the compiler finds, and its messages.\n\n\
         Each mistake produces a single message that points at your own code and says how to fix it. This page is \
         generated from the messages in the tests, and includes rustc's own messages. A warning ends with the \
         `allow(…)` that silences it.\n",
    );
    for (group, title, about) in GROUPS {
        let _ = write!(
            page,
            "\n# {title}\n\n{about}\n\n| mistake | code | message |\n| --- | --- | --- |\n"
        );
        for case in cases.iter().filter(|case| case.group == group) {
            let mistake = case.name.replace('_', " ");
            let code = cell(&in_code(underlined(&case.stderr)));
            let messages = cell(&messages(&case.stderr));
            let _ = writeln!(page, "| {mistake} | {code} | {messages} |");
        }
    }
    page
}

/// Returns the line of code that the first message underlines.
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

/// Formats code as Markdown. The code may contain a backtick.
fn in_code(code: &str) -> String {
    match code {
        "" => String::new(),
        code if code.contains('`') => format!("`` {code} ``"),
        code => format!("`{code}`"),
    }
}

/// Escapes vertical bars, which would otherwise end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Returns the messages for a case, formatted for one table cell.
fn messages(stderr: &str) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut is_message = false;
    for line in stderr.lines() {
        if let Some(message) = line.strip_prefix("error") {
            let message = message
                .split_once(": ")
                .map_or(message, |(_, message)| message);
            messages.push(as_warning(message));
            is_message = true;
        } else if line.trim_start().starts_with("--> ") {
            is_message = false;
        } else if is_message {
            // This line continues the message.
            messages.push(line.trim().to_owned());
        } else if let Some(note) = line.trim_start().strip_prefix("= note: ")
            && is_ours(note)
        {
            messages.push(format!("note: {note}"));
        }
    }
    messages.dedup();
    messages.join("<br>")
}

/// Shortens a warning to its note. To emit a warning, the macros use a deprecated constant whose note is the text of
/// the warning.
fn as_warning(message: &str) -> String {
    match message.strip_prefix("use of deprecated constant ") {
        Some(warning) => {
            let (_, note) = warning.split_once(": ").unwrap_or(("", warning));
            format!("*warning:* {note}")
        }
        None => message.to_owned(),
    }
}

/// Returns whether a note is one of the macros' own notes, which say how to fix the mistake. All
/// other notes come from rustc and explain where an error originates.
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
