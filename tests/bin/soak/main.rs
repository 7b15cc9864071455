//! The soak test, which runs under full load with random faults. Usage: `soak SECONDS`. The test
//! runs the server as `soak server DRAIN_DELAY_MS DRAIN_MS`.
#![allow(clippy::print_stdout, reason = "the results are printed to stdout")]

mod full;
mod server;

use std::{env, process::ExitCode, time::Duration};

use support::load;

const USAGE: &str = "usage: soak SECONDS";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let done = match args.as_slice() {
        ["server", delay, drain] => match (number(delay), number(drain)) {
            (Some(delay), Some(drain)) => {
                let (delay, drain) = (Duration::from_millis(delay), Duration::from_millis(drain));
                server::run(delay, drain).await.map_err(load::error_text)
            }
            _ => Err(USAGE.to_owned()),
        },
        [seconds] => match number(seconds) {
            Some(seconds) => full::run(seconds).await,
            None => Err(USAGE.to_owned()),
        },
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
