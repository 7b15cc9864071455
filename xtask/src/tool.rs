//! Programs that are built from crates.io, once for this machine and each version: they take minutes, and a fresh clone need
//! not build them again.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps::{root, succeed};

/// A crate that is a program.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// The folder that the program is in, where it is built if it is not there yet. It starts other programs and reads what
    /// they say, so it is built without optimisation, which is quicker.
    pub(crate) fn install(self) -> io::Result<PathBuf> {
        let Self { name, version } = self;
        let root = cache().join(format!("{name}-{version}"));
        let folder = root.join("bin");
        if !folder.join(name).exists() {
            println!("building {name} {version}");
            let mut cargo = Command::new("cargo");
            cargo.args(["install", name, "--version", version, "--locked", "--debug"]);
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
