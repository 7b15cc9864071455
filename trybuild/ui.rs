//! The compiler's messages for an endpoint. `TRYBUILD=overwrite cargo test -p trybuild-cases` rewrites them.

use std::{env, fs, io, os::unix::fs::symlink, path::Path, process::Command};

#[test]
fn ui() -> io::Result<()> {
    if let Some(flags) = flags_without_rust_src()? {
        // The flags are passed in the environment. Changing this process's environment is unsafe, so run the test again
        // in a child process.
        let status = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env("RUSTFLAGS", flags)
            .status()?;
        assert!(status.success(), "see the messages above");
        return Ok(());
    }
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*/*.rs");
    Ok(())
}

/// Returns flags that make rustc use a copy of its sysroot without `rust-src`, or `None` if they are not needed or
/// `RUSTFLAGS` is already set.
///
/// If `rust-src` is installed, as it is by rust-analyzer's extension, rustc quotes lines of the standard library. Three
/// messages then differ from the stored ones.
fn flags_without_rust_src() -> io::Result<Option<String>> {
    let rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = String::from_utf8(rustc.stdout).map_err(io::Error::other)?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    if !rustlib.join("src").exists() || env::var_os("RUSTFLAGS").is_some() {
        return Ok(None);
    }
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sysroot");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    let copied = copy.join("lib/rustlib");
    fs::create_dir_all(&copied)?;
    for entry in fs::read_dir(&rustlib)? {
        let entry = entry?;
        if entry.file_name() != "src" {
            symlink(entry.path(), copied.join(entry.file_name()))?;
        }
    }
    Ok(Some(format!("--sysroot={}", copy.display())))
}
