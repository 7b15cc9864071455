//! The compiler's messages for an endpoint. `TRYBUILD=overwrite cargo test -p trybuild-cases` rewrites them.

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

#[test]
fn ui() {
    if let Some(flags) = flags_without_rust_src() {
        // The flags are read from the environment, and changing one's own environment is unsafe.
        let status = Command::new(env::current_exe().unwrap())
            .args(env::args_os().skip(1))
            .env("RUSTFLAGS", flags)
            .status()
            .unwrap();
        assert!(status.success(), "see the messages above");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*/*.rs");
}

/// Makes rustc use a copy of its sysroot without `rust-src`, if the sysroot has it.
///
/// With `rust-src`, which rust-analyzer's extension installs, rustc quotes lines of the standard library, and three
/// messages differ from the stored ones.
fn flags_without_rust_src() -> Option<String> {
    let rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = String::from_utf8(rustc.stdout).unwrap();
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    if !rustlib.join("src").exists() || env::var_os("RUSTFLAGS").is_some() {
        return None;
    }
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sysroot");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(copy.join("lib/rustlib")).unwrap();
    for entry in fs::read_dir(&rustlib).unwrap().map(Result::unwrap) {
        if entry.file_name() != "src" {
            symlink(entry.path(), copy.join("lib/rustlib").join(entry.file_name())).unwrap();
        }
    }
    Some(format!("--sysroot={}", copy.display()))
}
