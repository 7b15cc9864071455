//! Installs the packages from npm into `target/contract`, in the versions pinned by
//! `package-lock.json`, and builds the client there. Node.js 24, Deno and Bun also come from npm.

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
    let read = |error: std::io::Error| error.to_string();
    fs::create_dir_all(&folder).map_err(read)?;
    let folder = folder.canonicalize().map_err(read)?;
    for entry in fs::read_dir(root.join("js")).map_err(read)? {
        let entry = entry.map_err(read)?;
        fs::copy(entry.path(), folder.join(entry.file_name())).map_err(read)?;
    }
    let lock = fs::read(folder.join("package-lock.json")).map_err(read)?;
    let installed = folder.join("node_modules/installed");
    if !fs::read(&installed).is_ok_and(|before| before == lock) {
        let args = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(args).current_dir(&folder))?;
        fs::write(&installed, &lock).map_err(read)?;
    }
    fs::write(folder.join("streams.ts"), client).map_err(read)?;
    run(Command::new("node").arg("build.js").current_dir(&folder))?;
    Ok(folder)
}

/// Runs a program whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
