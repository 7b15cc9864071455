//! Compares the tables in the docs with a run. Each table is enclosed in two HTML comments and must
//! match the run's output. A difference means that a result or a reason has changed.

use std::{env, fs, path::Path};

/// Returns whether the `name` block in `file` equals `text`. With `INTEROP=overwrite`, a block that
/// differs is replaced.
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
        println!("{file}: updated the `{name}` block");
        return Ok(true);
    }
    println!(
        "the `{name}` block in {file} differs from this run; if the run is correct, run `INTEROP=overwrite cargo xtask interop`"
    );
    Ok(false)
}

pub(crate) fn is_overwriting() -> bool {
    env::var_os("INTEROP").is_some_and(|value| value == "overwrite")
}
