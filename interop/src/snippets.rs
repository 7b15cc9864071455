//! Reads programs from the docs, so that the tests run what the docs show. A comment before a code
//! block names the program's file.

use std::{fs, path::Path};

/// Returns the code block in `file` that follows the comment `<!-- run: NAME -->`.
pub(crate) fn snippet(file: &str, name: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let page = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
    let comment = format!("<!-- run: {name} -->\n```");
    let code = page.split_once(&comment).and_then(|(_, rest)| {
        let (_language, code) = rest.split_once('\n')?;
        let (code, _) = code.split_once("\n```")?;
        Some(format!("{code}\n"))
    });
    code.ok_or_else(|| format!("{file} has no code block after {comment}"))
}
