//! Installs the packages from npm and `PyPI` into `target/contract`, in the versions pinned by
//! `package-lock.json` and `requirements.txt`, and builds the client there. Node.js 24, Deno and Bun also come from npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Returns the directory that contains the scripts, the client and `node_modules`. `client` is the
/// generated module.
pub(crate) fn install(client: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("../target/contract");
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&folder).map_err(text)?;
    let folder = folder.canonicalize().map_err(text)?;
    install_npm(&root.join("js"), &folder)?;
    fs::write(folder.join("streams.ts"), client).map_err(text)?;
    run(Command::new("node").arg("build.js").current_dir(&folder))?;
    Ok(folder)
}

/// Copies the files in `from` to `folder`, and installs the packages in their lock file there.
pub(crate) fn install_npm(from: &Path, folder: &Path) -> Result<(), String> {
    let read = |error: std::io::Error| error.to_string();
    fs::create_dir_all(folder).map_err(read)?;
    for entry in fs::read_dir(from).map_err(read)? {
        let entry = entry.map_err(read)?;
        fs::copy(entry.path(), folder.join(entry.file_name())).map_err(read)?;
    }
    let lock = folder.join("package-lock.json");
    once(&folder.join("node_modules/installed"), &lock, || {
        let args = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(args).current_dir(folder))
    })
}

/// Installs packages from `PyPI` into a virtual environment.
pub(crate) fn install_python(requirements: &Path, folder: &Path) -> Result<(), String> {
    once(&folder.join("installed"), requirements, || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
        run(Command::new(folder.join("bin/python"))
            .args(pip)
            .arg(requirements))
    })
}

/// Calls `install`, unless it has already succeeded with the same file of `packages`.
fn once(
    installed: &Path,
    packages: &Path,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let packages = fs::read(packages).map_err(|error| error.to_string())?;
    if fs::read(installed).is_ok_and(|before| before == packages) {
        return Ok(());
    }
    install()?;
    fs::write(installed, packages).map_err(|error| error.to_string())
}

/// Runs a program whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
