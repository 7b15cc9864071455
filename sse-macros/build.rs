//! Sets the `nightly` cfg if the compiler is a nightly, which supports the `yield` keyword.

use std::{env, process::Command};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(nightly)");
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    if version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly")) {
        println!("cargo::rustc-cfg=nightly");
    }
}
