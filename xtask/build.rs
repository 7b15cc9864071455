//! Exports the host's target triple as `HOST`, which the step `fuzz` passes to cargo.

use std::env;

fn main() {
    println!(
        "cargo::rustc-env=HOST={}",
        env::var("HOST").unwrap_or_default()
    );
    println!("cargo::rerun-if-changed=build.rs");
}
