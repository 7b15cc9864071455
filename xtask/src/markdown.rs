//! Checks that the tables in the repository's Markdown render, and that links lead to existing
//! files.

use std::{io, path::Path};

use crate::{repository::texts, steps::root};

#[test]
fn tables_have_equal_rows() -> io::Result<()> {
    let mut faults = Vec::new();
    for extension in ["md", "rs"] {
        for (file, text) in texts(extension)? {
            let text = match extension {
                "rs" => rustdoc(&text),
                _ => text,
            };
            faults.extend(uneven_rows(&file, &text));
        }
    }
    assert!(
        faults.is_empty(),
        "a table whose delimiter row differs from its header is not rendered, and cells beyond \
         the header are dropped:\n{}",
        faults.join("\n")
    );
    Ok(())
}

#[test]
fn uneven_tables_are_found() {
    let text = "\
text

| a | b | c |
| --- | --- |
| 1 | 2 | 3 |

| a | `x \\| y` |
| :--- | ---: |
| 1 | 2 |
| 1 | 2 | 3 |

```text
| a |
| --- | --- |
```
";
    let found = uneven_rows(Path::new("page.md"), text);
    assert_eq!(
        found,
        [
            "page.md:4: the delimiter row has 2 cells, but the header has 3",
            "page.md:10: the row has 3 cells, but the header has 2",
        ]
    );
    let code = "fn f() {\n    /// | a | b |\n    /// | --- |\n    struct S;\n}\n";
    let found = uneven_rows(Path::new("lib.rs"), &rustdoc(code));
    assert_eq!(
        found,
        ["lib.rs:3: the delimiter row has 1 cells, but the header has 2"]
    );
}

#[test]
fn links_lead_to_files() -> io::Result<()> {
    let mut faults = Vec::new();
    for (file, text) in texts("md")? {
        faults.extend(dead_links(&file, &text));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn dead_links_are_found() {
    let text = "\
[the table](performance.md#memory), [a type](crate::Topic), [a page](https://docs.rs), [here](#top)
![a picture](images/none.png) <img alt=\"a\" src=\"images/missing.png\">
[reference]: ../LICENSE
";
    let found = dead_links(Path::new("docs/page.md"), text);
    assert_eq!(
        found,
        [
            "docs/page.md:2: there is no file images/none.png",
            "docs/page.md:2: there is no file images/missing.png",
            "docs/page.md:3: there is no file ../LICENSE",
        ]
    );
}

/// Returns the lines outside fenced code blocks, with their line numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// Returns the doc comments of Rust code, each on its original line.
fn rustdoc(code: &str) -> String {
    let lines = code.lines().map(|line| {
        let line = line.trim_start();
        let text = line.strip_prefix("///").or(line.strip_prefix("//!"));
        text.unwrap_or_default()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reports rows that have more or fewer cells than the header of their table.
fn uneven_rows(file: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut header = None;
    let mut before = 0;
    for (number, line) in prose(text) {
        let cells = cells(line);
        let is_delimiter = header.is_none() && before > 0 && is_delimiter(line);
        if is_delimiter {
            header = Some(before);
        } else if cells == 0 {
            header = None;
        }
        if let Some(expected) = header
            && cells != expected
        {
            let row = if is_delimiter { "delimiter row" } else { "row" };
            let file = file.display();
            faults.push(format!(
                "{file}:{number}: the {row} has {cells} cells, but the header has {expected}"
            ));
        }
        before = cells;
    }
    faults
}

/// Returns the number of cells in a table row, or 0 for any other line. An escaped bar is text.
fn cells(line: &str) -> usize {
    let line = line.trim().replace("\\|", "");
    match line.strip_prefix('|') {
        Some(row) => row.trim_end_matches('|').split('|').count(),
        None => 0,
    }
}

fn is_delimiter(line: &str) -> bool {
    line.contains("--") && line.chars().all(|c| "|-: ".contains(c))
}

/// Reports links to files that do not exist. Paths such as `crate::Topic` are skipped, because
/// rustdoc checks such links.
fn dead_links(file: &Path, text: &str) -> Vec<String> {
    let folder = root().join(file.parent().unwrap_or(Path::new("")));
    let mut faults = Vec::new();
    for (number, line) in prose(text) {
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_other = path.is_empty() || path.contains(':');
            if !is_other && !folder.join(path).exists() {
                faults.push(format!(
                    "{}:{number}: there is no file {path}",
                    file.display()
                ));
            }
        }
    }
    faults
}

/// Returns the targets of the links and images in a line.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for (start, end) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        let links = line.split(start).skip(1);
        targets.extend(links.filter_map(|rest| rest.split(end).next()));
    }
    // Handle a reference definition, such as `[name]: target`.
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        targets.push(target.trim());
    }
    targets
}
