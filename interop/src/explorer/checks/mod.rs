//! The checks, one method each.

mod copied;
mod documents;
mod look;
mod streams;

use std::process::Stdio;

use tokio::{process::Command, time::timeout};

use super::page::Frame;
use crate::{client::PATIENCE, pages::to_text};

/// Runs a command in a shell and returns the data of the events that it prints.
async fn output(command: &str) -> Result<Vec<String>, String> {
    let shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, shell).await;
    let output = output
        .map_err(|_| format!("did not exit: {command}"))?
        .map_err(to_text)?;
    let text = String::from_utf8(output.stdout).map_err(to_text)?;
    let data = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data).to_owned());
    Ok(data.collect())
}

fn data_of(events: &[Frame]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected {expected:?}, found {found:?}"))
}
