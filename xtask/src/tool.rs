//! Programs that are installed from crates.io. Building such a program takes minutes, so each
//! version is built only once per machine. All clones of the repository share the resulting binary.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps::{root, succeed};

/// A program that a crate provides.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// Builds the program if it is not installed yet, and returns the directory that contains it. A
    /// debug build is enough, because these programs need not be fast.
    pub(crate) fn install(self) -> io::Result<PathBuf> {
        let Self {
            package,
            name,
            version,
        } = self;
        let root = cache().join(format!("{name}-{version}"));
        let folder = root.join("bin");
        if !folder.join(name).exists() {
            println!("building {name} {version}");
            let mut cargo = Command::new("cargo");
            cargo.args([
                "install",
                package,
                "--version",
                version,
                "--locked",
                "--debug",
            ]);
            cargo.args(["--quiet", "--root"]).arg(&root);
            succeed(&mut cargo)?;
        }
        folder.canonicalize()
    }
}

fn cache() -> PathBuf {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    cache
        .unwrap_or_else(|| root().join("target"))
        .join("sse-endpoint")
}
