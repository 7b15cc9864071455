//! Hands on the host's target triple, which the fuzz target is built for by name.

use std::env;

fn main() {
    println!(
        "cargo::rustc-env=HOST={}",
        env::var("HOST").unwrap_or_default()
    );
    println!("cargo::rerun-if-changed=build.rs");
}
