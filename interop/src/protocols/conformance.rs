//! The scenarios of MCP's conformance suite that concern streams.

use std::fs;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use serde::Deserialize;
use tokio::{net::TcpListener, process::Command, time::timeout};

use super::{
    handlers::{mcp_2025_11_25, mcp_2026_07_28, model::Model},
    trial::{Signals, Trial},
};
use crate::{
    client::{PATIENCE, Programs},
    column::Known,
    table::{Cell, Table},
};

/// The name with which these tests are selected.
pub(crate) const NAME: &str = "MCP conformance";

const SCENARIOS: [&str; 3] = [
    "server-sse-polling",
    "server-sse-multiple-streams",
    "tools-call-with-progress",
];

/// A version of the suite and the version of MCP that it tests.
struct Suite {
    title: &'static str,
    /// The folder in `node_modules`.
    package: &'static str,
    spec_version: &'static str,
    app: fn(Model) -> Router,
    /// Whether this version of MCP resumes streams.
    resumes: bool,
}

const SUITES: [Suite; 3] = [
    Suite {
        title: "2025-11-25, suite 0.1.16",
        package: "@modelcontextprotocol/conformance",
        spec_version: "2025-11-25",
        app: mcp_2025_11_25::app,
        resumes: true,
    },
    Suite {
        title: "2025-11-25, suite 0.2.0-alpha.12",
        package: "conformance-2026",
        spec_version: "2025-11-25",
        app: mcp_2025_11_25::app,
        resumes: true,
    },
    Suite {
        title: "2026-07-28, suite 0.2.0-alpha.12",
        package: "conformance-2026",
        spec_version: "2026-07-28",
        app: mcp_2026_07_28::app,
        resumes: false,
    },
];

/// Returns a table with a row per scenario and a column per suite.
pub(crate) async fn test(programs: &Programs) -> Result<Table, String> {
    let mut table = Table::new(SCENARIOS.map(str::to_owned).to_vec());
    for suite in &SUITES {
        let mut cells = Vec::new();
        for scenario in SCENARIOS {
            let polls = scenario == "server-sse-polling";
            if polls && !suite.resumes {
                cells.push(Cell::NotApplicable("this version does not resume streams"));
                continue;
            }
            let trial = if polls {
                Trial::Resume
            } else {
                Trial::Complete
            };
            let cell = Cell::of(suite.run(programs, scenario, trial).await, None::<Known>);
            if let Cell::Failed(error) = &cell {
                println!("{NAME}, {}, {scenario}: {error}", suite.title);
            }
            cells.push(cell);
        }
        table.column(suite.title, cells);
    }
    Ok(table)
}

/// The result of a check. A scenario consists of several checks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: String,
    error_message: Option<String>,
}

impl Suite {
    async fn run(&self, programs: &Programs, scenario: &str, trial: Trial) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let addr = listener.local_addr().map_err(text)?;
        let signals = Signals::default();
        signals.left.cancel();
        let app = (self.app)(signals.model(trial)).layer(from_fn_with_state(signals, resumed));
        tokio::spawn(sse_runtime::serve(listener, app));

        let results = tempfile::tempdir().map_err(text)?;
        let mut suite = Command::new(&programs.node);
        suite
            .arg(
                programs
                    .js
                    .join("node_modules")
                    .join(self.package)
                    .join("dist/index.js"),
            )
            .args(["server", "--url", &format!("http://{addr}/mcp")])
            .args(["--scenario", scenario, "--spec-version", self.spec_version])
            .arg("--output-dir")
            .arg(results.path())
            .current_dir(results.path())
            .kill_on_drop(true);
        let output = timeout(PATIENCE, suite.output()).await;
        let output = output.map_err(|_| format!("no result within {PATIENCE:?}"))?;
        let output = output.map_err(text)?;
        let checks = checks(results.path())?;
        if checks.is_empty() {
            return Err(format!(
                "no checks: {}",
                String::from_utf8_lossy(&output.stdout)
            ));
        }
        // Warnings concern properties that a server should have.
        let failed = checks
            .iter()
            .find(|check| check.status == "FAILURE" || check.status == "WARNING");
        match failed {
            Some(Check {
                id,
                status,
                error_message,
            }) => {
                let message = error_message.as_deref().unwrap_or_default();
                Err(format!("{status} of {id}: {message}"))
            }
            None if checks.iter().any(|check| check.status == "SUCCESS") => Ok(()),
            None => Err(format!("no check has succeeded: {checks:?}")),
        }
    }
}

/// Lets the model continue once the client has resumed a stream.
async fn resumed(State(signals): State<Signals>, request: Request, next: Next) -> Response {
    let resumes = request.headers().contains_key("last-event-id");
    let response = next.run(request).await;
    if resumes {
        signals.resume();
    }
    response
}

/// Reads the checks of the scenario in this folder.
fn checks(results: &std::path::Path) -> Result<Vec<Check>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut checks = Vec::new();
    for entry in fs::read_dir(results).map_err(text)? {
        let file = entry.map_err(text)?.path().join("checks.json");
        let json = fs::read(&file).map_err(text)?;
        let read: Vec<Check> = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        checks.extend(read);
    }
    Ok(checks)
}
