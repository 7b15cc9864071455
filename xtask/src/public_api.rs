//! `cargo xtask public-api` compares the public API of `sse-runtime` with `xtask/public-api.txt`.
//!
//! A change to the API therefore appears in the diff of the commit, where a reviewer can judge whether the change is
//! breaking. The task also checks the set of crates whose types appear in the API, because upgrading one of these
//! crates to a new major version is a breaking change in this crate.

use std::{
    collections::BTreeSet,
    fs, io,
    process::{Command, ExitCode},
};

use crate::steps::{root, succeed};

/// The crates whose types may appear in the public API.
const EXTERNAL: [&str; 9] = [
    "axum",
    "axum_core",
    "futures_core",
    "http",
    "serde_core",
    "tokio",
    "tower_layer",
    "tower_service",
    "uuid",
];

pub(crate) fn run(overwrite: bool) -> ExitCode {
    match check(overwrite) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(overwrite: bool) -> io::Result<()> {
    let stored = root().join("xtask/public-api.txt");
    let api = list()?;
    if overwrite {
        fs::write(&stored, &api)?;
    }
    let differences = diff(&fs::read_to_string(&stored)?, &api);
    if !differences.is_empty() {
        let advice = "if this is intended, run `cargo xtask public-api --overwrite`, and say in the commit whether it \
                      breaks users";
        let message = format!("the public API has changed:\n{differences}\n{advice}");
        return Err(io::Error::other(message));
    }
    let expected = BTreeSet::from(EXTERNAL);
    let found = external_crates(&api);
    if found != expected {
        let message = format!(
            "types of these crates appear in the public API: {found:?}\nexpected: {expected:?}"
        );
        return Err(io::Error::other(message));
    }
    Ok(())
}

/// Returns one line per public item.
fn list() -> io::Result<String> {
    let target = root().join("target/public-api");
    let mut rustdoc = Command::new("cargo");
    rustdoc
        .args(["rustdoc", "--locked", "--quiet", "--package", "sse-runtime"])
        .args(["--all-features", "--lib", "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        // The JSON format is unstable. The compiler is pinned, so the format does not change unnoticed.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(root());
    succeed(&mut rustdoc)?;
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/sse_runtime.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .map_err(io::Error::other)?;
    let lines = api.items().map(|item| format!("{item}\n"));
    // `pin_project!` implements `Unpin` with a private bound.
    Ok(lines.filter(|line| !line.contains("__private")).collect())
}

/// Returns the lines found only in `before`, prefixed with `-`, and the lines found only in `after`, prefixed with `+`.
fn diff(before: &str, after: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), after.lines().collect());
    let removed = old.difference(&new).map(|line| format!("- {line}"));
    let added = new.difference(&old).map(|line| format!("+ {line}"));
    removed.chain(added).collect::<Vec<_>>().join("\n")
}

/// Returns the names of the crates at the start of the API's paths, except for this crate and the standard library.
fn external_crates(api: &str) -> BTreeSet<&str> {
    let is_part_of_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    api.split(|c| !is_part_of_path(c))
        .filter_map(|path| path.split_once("::"))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter(|name| !["sse_runtime", "core", "alloc", "std"].contains(name))
        .collect()
}

#[test]
fn external_crates_are_found() {
    let api = "pub fn sse_runtime::Topic<T>::of(layer: tower_layer::Layer<S>) -> core::result::Result<Self::Out, http::Error>";
    assert_eq!(
        external_crates(api),
        BTreeSet::from(["http", "tower_layer"])
    );
}

#[test]
fn differences_are_listed() {
    assert_eq!(diff("a\nb\n", "b\nc\n"), "- a\n+ c");
    assert_eq!(diff("a\n", "a\n"), "");
}
