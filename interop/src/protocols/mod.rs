//! Runs the endpoints of the "Protocols" page with the official clients of the protocols.

pub(crate) mod conformance;
mod handlers;
mod official;
mod pages;
mod relay;
mod trial;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{
    client::Programs,
    table::{Cell, Table},
};
use official::Client;
use pages::Page;
use trial::Trial;

/// The name with which all clients are selected.
pub(crate) const NAME: &str = "Protocols page";

/// Runs the clients that `is_selected` selects by name. Returns a table with a row per client and a
/// column per trial.
pub(crate) async fn test(
    is_selected: impl Fn(&str) -> bool,
    programs: &Programs,
    scripts: &str,
) -> Result<Table, String> {
    // At most two clients run at a time, since each takes a second or more to load.
    let slots = Arc::new(Semaphore::new(2));
    let mut rows = Vec::new();
    for client in Client::ALL {
        if is_selected(client.name) {
            let (programs, slots) = (programs.clone(), slots.clone());
            let cells = tokio::spawn(async move {
                let _slot = slots.acquire().await;
                client.cells(&programs).await
            });
            rows.push((client.name, cells));
        }
    }
    for page in Page::ALL {
        if is_selected(page.name()) {
            let (scripts, slots) = (scripts.to_owned(), slots.clone());
            let cells = tokio::spawn(async move {
                let _slot = slots.acquire().await;
                page.cells(&scripts).await
            });
            rows.push((page.name(), cells));
        }
    }
    let mut names = Vec::new();
    let mut columns: [Vec<Cell>; Trial::ALL.len()] = Default::default();
    for (name, cells) in rows {
        names.push(name.to_owned());
        let cells = cells.await.map_err(|error| error.to_string())?;
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push(cell);
        }
    }
    let mut table = Table::new(names);
    for (trial, cells) in Trial::ALL.into_iter().zip(columns) {
        table.column(trial.title(), cells);
    }
    Ok(table)
}
