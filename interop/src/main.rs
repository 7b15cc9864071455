//! Real clients against the framework, each at every property: the table of what came of it, and whether it is what the
//! docs say. `cargo xtask interop` runs it.
#![allow(clippy::print_stdout, reason = "it prints a table")]

mod browser;
mod client;
mod column;
mod examples;
mod install;
mod property;
mod server;
mod table;

use std::{env, path::Path, process::ExitCode};

use client::Programs;
use column::{Column, Known};
use examples::{Chat, OpenAi};
use property::{Property, judge};
use server::Trials;
use table::{Cell, Table};
use tokio::{net::TcpListener, process::Command};

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

/// Whether all cells are as they should be.
async fn run(only: &[String]) -> Result<bool, String> {
    let programs = install::install()?;
    build_examples().await?;
    let trials = Trials::default();
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| error.to_string())?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let app = server::app(trials.clone(), &programs.js);
    tokio::spawn(sse_runtime::serve(listener, app));
    let server = format!("http://{addr}");

    let chosen =
        |name: &str| only.is_empty() || only.iter().any(|part| name.to_lowercase().contains(part));
    let columns = Column::ALL
        .into_iter()
        .filter(|column| chosen(column.name()));
    let clients = columns.map(|column| {
        let (programs, server, trials) = (programs.clone(), server.clone(), trials.clone());
        let cells =
            tokio::spawn(async move { column_cells(column, &programs, &server, &trials).await });
        (column.name(), cells)
    });
    let clients: Vec<_> = clients.collect();
    let sdks = [
        ("openai Python", OpenAi::Python),
        ("openai Node", OpenAi::Node),
    ]
    .into_iter()
    .filter(|(name, _)| chosen(name))
    .map(|(name, sdk)| {
        let programs = programs.clone();
        (
            name,
            tokio::spawn(async move { sdk_cells(sdk, &programs).await }),
        )
    });
    let sdks: Vec<_> = sdks.collect();

    let mut table = Table::new(Property::ALL.map(Property::title).to_vec());
    for (name, cells) in clients {
        table.column(name, cells.await.map_err(|error| error.to_string())?);
    }
    let mut chat = Table::new(Chat::ALL.map(Chat::title).to_vec());
    for (name, cells) in sdks {
        chat.column(name, cells.await.map_err(|error| error.to_string())?);
    }
    println!("\n{table}\n{chat}");
    Ok(table.is_right() && chat.is_right())
}

async fn build_examples() -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "examples"])
        .args(["--example", "ticker", "--example", "chat"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .await;
    match built {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("the examples were not built: {other:?}")),
    }
}

/// One client, at one property after the other.
async fn column_cells(
    column: Column,
    programs: &Programs,
    server: &str,
    trials: &Trials,
) -> Vec<Cell> {
    let client = match column.start(programs, server).await {
        Ok(client) => client,
        Err(error) => return vec![Cell::Skipped(error); Property::ALL.len()],
    };
    let mut cells = Vec::new();
    for property in Property::ALL {
        let known = column.known(property);
        let cell = if let Some(Known::NotApplicable(reason)) = known {
            Cell::NotApplicable(reason)
        } else {
            let judged = judge(
                property,
                &client,
                column.name(),
                column.comes_back(),
                server,
                trials,
            );
            match (judged.await, known) {
                (Ok(()), None) => Cell::Ok,
                (Err(_), Some(Known::Fault(reason))) => Cell::Fault(reason),
                (Err(error), _) => Cell::Failed(error),
                (Ok(()), Some(_)) => {
                    Cell::Failed("works now: take it out of what is known".to_owned())
                }
            }
        };
        if let Cell::Failed(error) = &cell {
            println!("{}, {}: {error}", column.name(), property.title());
        }
        cells.push(cell);
    }
    client.quit().await;
    cells
}

async fn sdk_cells(sdk: OpenAi, programs: &Programs) -> Vec<Cell> {
    let mut cells = Vec::new();
    for what in Chat::ALL {
        cells.push(match sdk.judge(what, programs).await {
            Ok(()) => Cell::Ok,
            Err(error) => Cell::Failed(error),
        });
    }
    cells
}
