//! Tests real clients and proxies against the framework, prints the results as tables, and compares
//! the tables with the docs. `cargo xtask interop` runs this program.
#![allow(clippy::print_stdout, reason = "the program prints tables")]

mod answers;
mod browser;
mod client;
mod column;
mod docs;
mod examples;
mod explorer;
mod failover;
mod gateway;
mod hypermedia;
mod install;
mod languages;
mod pages;
mod property;
mod protocols;
mod proxies;
mod recipes;
mod restarts;
mod sdk;
mod selection;
mod server;
mod snippets;
mod table;
mod versions;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use answers::Case;
use client::Programs;
use column::{Column, Known};
use examples::{Chat, OpenAi};
use hypermedia::{Library, Trait};
use property::{Property, judge};
use protocols::conformance;
use sdk::Sdk;
use selection::Selection;
use server::Trials;
use table::{Cell, Table};
use tokio::{net::TcpListener, process::Command, sync::Semaphore, task::JoinHandle};

#[tokio::main]
async fn main() -> ExitCode {
    let selection = Selection::new(env::args().skip(1));
    match run(&selection).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the selected tests. Returns whether every result is as expected.
async fn run(selection: &Selection) -> Result<bool, String> {
    let programs = install::install()?;
    build_examples().await?;
    let trials = Trials::default();
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| error.to_string())?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let app = server::app(trials.clone(), &programs.js);
    tokio::spawn(sse_runtime::serve(listener, app));
    let server = format!("http://{addr}");

    let tables = tables(selection, &programs, &server, &trials).await?;
    println!("\n{tables}");
    let mut right = tables.are_right();

    let proxies = if selection.contains("proxies") {
        let proxies = tokio::task::spawn_blocking(proxies::table);
        let proxies = proxies.await.map_err(|error| error.to_string())??;
        println!("{proxies}");
        right &= proxies.is_right();
        Some(proxies)
    } else {
        None
    };
    if selection.contains("pages") {
        let pages = pages::test(&programs, &server, &images()).await?;
        println!("{pages}");
        right &= pages.is_right();
    }
    if selection.contains("explorer") {
        let explorer = explorer::test(&programs, &images()).await?;
        println!("{explorer}");
        right &= explorer.is_right();
    }
    let languages = if selection.contains("languages") {
        let languages = languages::test(&programs, &server).await?;
        println!("{languages}");
        right &= languages.is_right();
        Some(languages)
    } else {
        None
    };
    if selection.contains("recipes") {
        let recipes = recipes::test(&programs, &server, &trials).await?;
        println!("{recipes}");
        right &= recipes.is_right();
    }
    if selection.contains("restarts") {
        let restarts = restarts::test().await?;
        println!("{restarts}");
        right &= restarts.is_right();
    }
    if selection.contains("failover") {
        let failover = failover::test(&programs, &server).await?;
        println!("{failover}");
        right &= failover.is_right();
    }
    if selection.contains("gateway") {
        let gateway = gateway::test(&programs).await;
        println!("{gateway}");
        right &= gateway.is_right();
    }
    let unknown = selection.unknown();
    if !unknown.is_empty() {
        println!("no test has a name that contains one of {unknown:?}");
        return Ok(false);
    }
    match (proxies, languages) {
        // Only a complete run can be compared with the docs.
        (Some(proxies), Some(languages)) if selection.is_all() && right => {
            documented(&tables, &proxies, &languages)
        }
        _ => Ok(right),
    }
}

/// Runs the clients, most of them at the same time.
async fn tables(
    selection: &Selection,
    programs: &Programs,
    server: &str,
    trials: &Trials,
) -> Result<Tables, String> {
    let columns = Column::ALL
        .into_iter()
        .filter(|column| selection.contains(column.name()));
    let clients = columns.map(|column| {
        let (programs, server, trials) = (programs.clone(), server.to_owned(), trials.clone());
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
    .filter(|(name, _)| selection.contains(name))
    .map(|(name, sdk)| {
        let programs = programs.clone();
        (
            name,
            tokio::spawn(async move { sdk_cells(sdk, &programs).await }),
        )
    });
    let sdks: Vec<_> = sdks.collect();
    // At most two of these run at a time, since each takes a second or more to load.
    let slots = Arc::new(Semaphore::new(2));
    let protocols = Sdk::ALL
        .into_iter()
        .filter(|sdk| selection.contains(sdk.name()));
    let protocols = protocols.map(|sdk| {
        let (programs, slots) = (programs.clone(), slots.clone());
        let cells = tokio::spawn(async move {
            let _slot = slots.acquire().await;
            sdk.cells(&programs).await
        });
        (sdk.name(), cells)
    });
    let protocols: Vec<_> = protocols.collect();
    let libraries = Library::ALL
        .into_iter()
        .filter(|one| selection.contains(one.name()));
    let libraries = libraries.map(|library| {
        let (server, trials, slots) = (server.to_owned(), trials.clone(), slots.clone());
        let cells = tokio::spawn(async move {
            let _slot = slots.acquire().await;
            library.cells(&server, &trials).await
        });
        (library.name(), cells)
    });
    let libraries: Vec<_> = libraries.collect();

    // All of the page's clients have a common name as well.
    let is_on_page = |name: &str| selection.contains(name) || selection.contains(protocols::NAME);
    Ok(Tables {
        clients: table(Property::ALL.map(Property::title), clients).await?,
        openai: table(Chat::ALL.map(Chat::title), sdks).await?,
        protocols: table(Case::ALL.map(Case::title), protocols).await?,
        hypermedia: table(Trait::ALL.map(Trait::title), libraries).await?,
        page: protocols::test(is_on_page, programs, server).await?,
        conformance: if selection.contains(conformance::NAME) {
            conformance::test(programs).await?
        } else {
            Table::new(Vec::new())
        },
    })
}

/// Returns the folder for the screenshots. The screenshots in the docs are only replaced together
/// with the tables.
fn images() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if docs::is_overwriting() {
        root.join("docs/images")
    } else {
        root.join("target/interop/pages")
    }
}

/// Compares the tables with the docs, or overwrites the tables in the docs.
fn documented(tables: &Tables, proxies: &Table, languages: &Table) -> Result<bool, String> {
    const CLIENTS: &str = "sse-runtime/docs/clients.md";
    const PROTOCOLS: &str = "sse-runtime/docs/protocols.md";
    const PRODUCTION: &str = "sse-runtime/docs/running_in_production.md";

    let row = |property: &Property| Property::ALL.iter().position(|one| one == property);
    let groups = Property::GROUPS.map(|(title, properties)| {
        let rows: Vec<usize> = properties.iter().filter_map(row).collect();
        (title, rows)
    });
    let groups = groups
        .each_ref()
        .map(|(title, rows)| (*title, rows.as_slice()));
    let mut agree = true;
    for (file, name, text) in [
        (CLIENTS, "summary", tables.clients.summary(&groups)),
        (CLIENTS, "clients", tables.clients.to_string()),
        (CLIENTS, "openai", tables.openai.to_string()),
        (CLIENTS, "protocols", tables.protocols.to_string()),
        (CLIENTS, "hypermedia", tables.hypermedia.to_string()),
        (CLIENTS, "languages", languages.to_string()),
        (PROTOCOLS, "protocols page", tables.page.to_string()),
        (PROTOCOLS, "conformance", tables.conformance.to_string()),
        (PRODUCTION, "proxies", proxies.to_string()),
    ] {
        agree &= docs::agree(file, name, &text)?;
    }
    // The versions include the date of the run, so they are only written together with the tables
    // and are never compared.
    if docs::is_overwriting() {
        docs::agree(CLIENTS, "versions", &versions::of_clients())?;
        docs::agree(CLIENTS, "protocol versions", &versions::of_protocols())?;
        docs::agree(PROTOCOLS, "versions", &versions::of_protocols_page())?;
        docs::agree(PRODUCTION, "versions", &versions::of_proxies())?;
    }
    Ok(agree)
}

/// The tables in `clients.md` and `protocols.md`.
struct Tables {
    clients: Table,
    openai: Table,
    protocols: Table,
    hypermedia: Table,
    /// The endpoints of `protocols.md`.
    page: Table,
    conformance: Table,
}

impl Tables {
    fn all(&self) -> [&Table; 6] {
        [
            &self.clients,
            &self.openai,
            &self.protocols,
            &self.hypermedia,
            &self.page,
            &self.conformance,
        ]
    }

    fn are_right(&self) -> bool {
        self.all().into_iter().all(Table::is_right)
    }
}

impl fmt::Display for Tables {
    /// Skips tables without columns, because none of their clients were selected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.all().into_iter().filter(|table| !table.is_empty());
        all.try_for_each(|table| writeln!(f, "{table}"))
    }
}

/// Waits for the columns and builds a table from them.
async fn table<const ROWS: usize>(
    rows: [&str; ROWS],
    columns: Vec<(&'static str, JoinHandle<Vec<Cell>>)>,
) -> Result<Table, String> {
    let mut table = Table::new(rows.map(str::to_owned).to_vec());
    for (name, cells) in columns {
        table.column(name, cells.await.map_err(|error| error.to_string())?);
    }
    Ok(table)
}

async fn build_examples() -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "examples"])
        .arg("--examples")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .await;
    match built {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("failed to build the examples: {other:?}")),
    }
}

/// Tests one client for every property, one after another.
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
                column.reconnects(),
                server,
                trials,
            );
            match (judged.await, known) {
                // This client's delay is random, so it can be long enough by chance.
                (Ok(()), Some(Known::Fault { reason, .. })) if property == Property::Retry => {
                    Cell::Fault(reason)
                }
                (judged, known) => Cell::of(judged, known),
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
    for chat in Chat::ALL {
        cells.push(match sdk.judge(chat, programs).await {
            Ok(()) => Cell::Ok,
            Err(error) => Cell::Failed(error),
        });
    }
    cells
}
