//! A table of test results without empty cells.

use std::fmt;

use crate::column::Known;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Ok,
    /// A known fault of the client, with a description.
    Fault(&'static str),
    /// The property does not apply, for this reason.
    NotApplicable(&'static str),
    Failed(String),
    /// Not tested, for this reason.
    Skipped(String),
}

impl Cell {
    /// Returns the cell for a test result, taking into account what is known about the client.
    pub(crate) fn of(judged: Result<(), String>, known: Option<Known>) -> Self {
        match (judged, known) {
            (_, Some(Known::NotApplicable(reason))) => Self::NotApplicable(reason),
            (Ok(()), None) => Self::Ok,
            (Err(error), Some(Known::Fault { seen, reason })) if error.starts_with(seen) => {
                Self::Fault(reason)
            }
            (Err(error), _) => Self::Failed(error),
            (Ok(()), Some(Known::Fault { .. })) => {
                Self::Failed("works now; remove this from the known faults".to_owned())
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fault(_) => "no",
            Self::NotApplicable(_) => "n/a",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Fault(reason) | Self::NotApplicable(reason) => Some(reason),
            Self::Failed(reason) | Self::Skipped(reason) => Some(reason),
        }
    }
}

/// A table with a row per property and a column per client.
pub(crate) struct Table {
    rows: Vec<String>,
    columns: Vec<(&'static str, Vec<Cell>)>,
}

impl Table {
    pub(crate) fn new(rows: Vec<String>) -> Self {
        Self {
            rows,
            columns: Vec::new(),
        }
    }

    pub(crate) fn column(&mut self, name: &'static str, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.rows.len(), "{name}");
        self.columns.push((name, cells));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns whether no cell failed or was skipped.
    pub(crate) fn is_right(&self) -> bool {
        let mut cells = self.columns.iter().flat_map(|(_, cells)| cells);
        !cells.any(|cell| matches!(cell, Cell::Failed(_) | Cell::Skipped(_)))
    }
}

impl Table {
    /// Formats a summary as Markdown, with a line per client and a cell per group of rows. Each cell
    /// shows how many of the applicable rows are `ok`.
    pub(crate) fn summary(&self, groups: &[(&str, &[usize])]) -> String {
        let mut text = String::from("| |");
        for (title, _) in groups {
            text += &format!(" {title} |");
        }
        text += &format!("\n| --- |{}", " --- |".repeat(groups.len()));
        for (name, cells) in &self.columns {
            text += &format!("\n| {name} |");
            for (_, rows) in groups {
                let cells = rows.iter().map(|row| &cells[*row]);
                let apply = cells.filter(|cell| !matches!(cell, Cell::NotApplicable(_)));
                let apply: Vec<_> = apply.collect();
                let ok = apply.iter().filter(|cell| ***cell == Cell::Ok).count();
                text += &match apply.len() {
                    0 => " n/a |".to_owned(),
                    all if all == ok => " ok |".to_owned(),
                    all => format!(" {ok} of {all} |"),
                };
            }
        }
        text
    }
}

impl fmt::Display for Table {
    /// Formats the table as Markdown, followed by a numbered list of the reasons, without
    /// duplicates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<&str> = Vec::new();
        write!(f, "| |")?;
        for (name, _) in &self.columns {
            write!(f, " {name} |")?;
        }
        write!(f, "\n| --- |{}", " --- |".repeat(self.columns.len()))?;
        for (row, title) in self.rows.iter().enumerate() {
            write!(f, "\n| {title} |")?;
            for (_, cells) in &self.columns {
                let cell = &cells[row];
                write!(f, " {}", cell.word())?;
                if let Some(reason) = cell.reason() {
                    let known = reasons.iter().position(|known| *known == reason);
                    let number = known.unwrap_or_else(|| {
                        reasons.push(reason);
                        reasons.len() - 1
                    });
                    write!(f, " ({})", number + 1)?;
                }
                write!(f, " |")?;
            }
        }
        writeln!(f)?;
        for (number, reason) in reasons.iter().enumerate() {
            write!(f, "\n{}. {reason}", number + 1)?;
        }
        writeln!(f)
    }
}
