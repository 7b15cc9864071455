//! Implements `cargo xtask cluster`, which runs several servers of the examples, so that a person
//! can kill any of the processes and watch the effect.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use crate::steps::{install, root};

/// The programs that the cluster needs, each with the Debian package that provides it. The sentinels
/// are `redis-server` processes as well.
const NEEDS: [(&str, &str); 2] = [("redis-server", "redis-server"), ("haproxy", "haproxy")];

/// Installs the programs and runs the cluster. Returns only if the cluster could not be started.
pub(crate) fn run() -> ExitCode {
    if let Err(reason) = install(&NEEDS) {
        println!("{reason}");
        return ExitCode::FAILURE;
    }
    // The cluster replaces this process. Otherwise, Ctrl-C would end this process, and the shell
    // would prompt while the cluster is still stopping.
    let error = Command::new("cargo")
        .args(["run", "--quiet", "--locked", "--package", "cluster"])
        .current_dir(root())
        .exec();
    println!("failed to run cargo: {error}");
    ExitCode::FAILURE
}
