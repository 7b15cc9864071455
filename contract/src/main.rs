//! Tests the OpenAPI documents with tools of other projects, and the TypeScript client: its types,
//! size and speed, its requests and its parser with a server that controls every byte, and whole
//! streams with a real server, in Node.js, Deno, Bun, Chromium and Firefox. `cargo xtask contract`
//! runs this program.
#![allow(clippy::print_stdout, reason = "the program prints its results")]

mod browser;
mod checks;
mod documents;
mod install;
mod server;

use std::{env, process::ExitCode};

use checks::{Check, Context};
use sse_runtime::openapi::Api;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let only: Vec<String> = env::args().skip(1).collect();
    match run(&only).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the checks whose names contain one of `only`, or all checks except for `speed` if `only` is
/// empty. Returns whether all of them passed.
async fn run(only: &[String]) -> Result<bool, String> {
    let api = Api::new("Contract", env!("CARGO_PKG_VERSION"));
    let endpoints = server::endpoints(&api);
    let js = install::install(&api.typescript())?;
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| error.to_string())?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let app = server::app(endpoints, &js).await?;
    tokio::spawn(sse_runtime::serve(listener, app));
    let context = Context {
        js,
        server: format!("http://{addr}"),
    };

    let is_selected = |check: Check| match only {
        // `speed` is a benchmark, so it could fail if the machine is busy.
        [] => check != Check::Speed,
        only => only.iter().any(|part| check.name().contains(part.as_str())),
    };
    let (mut passed, mut failed) = (0, 0);
    for check in Check::ALL {
        let name = check.name();
        if !is_selected(check) {
            continue;
        }
        println!("== {name}");
        match check.run(&context).await {
            Ok(result) => {
                println!("{name}: {result}");
                passed += 1;
            }
            Err(error) => {
                println!("{name}: FAILED: {error}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if only.is_empty() {
        println!("skipped `speed`, which is a benchmark; pass its name to run it");
    }
    Ok(failed == 0 && passed > 0)
}
