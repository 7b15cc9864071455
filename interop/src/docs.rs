//! The tables in the docs. Each stands between two comments, and is what a run prints: where it is not, a cell has changed,
//! or a reason.

use std::{env, fs, path::Path};

/// Whether `file` says the same as `text` in its block of this name. With `INTEROP=overwrite` it does from then on.
pub(crate) fn agree(file: &str, name: &str, text: &str) -> Result<bool, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let page = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
    let (begin, end) = (
        format!("<!-- interop: {name} -->\n"),
        format!("<!-- end of interop: {name} -->\n"),
    );
    let (before, rest) = page
        .split_once(&begin)
        .ok_or_else(|| format!("{file} has no {begin}"))?;
    let (block, after) = rest
        .split_once(&end)
        .ok_or_else(|| format!("{file} has no {end}"))?;
    let text = format!("\n{}\n\n", text.trim());
    if block == text {
        return Ok(true);
    }
    if is_overwriting() {
        fs::write(&path, format!("{before}{begin}{text}{end}{after}"))
            .map_err(|error| format!("{file}: {error}"))?;
        println!("{file}: written anew, {name}");
        return Ok(true);
    }
    println!(
        "{file} does not say what this run does, of {name}; if the run is right: INTEROP=overwrite cargo xtask interop"
    );
    Ok(false)
}

pub(crate) fn is_overwriting() -> bool {
    env::var_os("INTEROP").is_some_and(|value| value == "overwrite")
}
