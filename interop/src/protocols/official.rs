//! The official clients of the protocols, and the endpoints that they request answers from.

use std::{process::Stdio, time::Duration};

use axum::{
    Json, Router, extract::OriginalUri, http::HeaderMap, middleware::from_fn_with_state,
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{ChildStdout, Command},
    time::timeout,
};

use super::{
    handlers::{
        a2a, ag_ui, ai_sdk, anthropic, datastar, mcp_2025_11_25, mcp_2026_07_28, model::Model,
        openai_chat, openai_responses,
    },
    relay::Relay,
    trial::{Signals, Trial},
};
use crate::{
    answers::{FAILURE, PIECES},
    client::{PATIENCE, Programs, start},
    column::Known,
    property::same,
    table::Cell,
};

#[derive(Clone, Copy, Debug)]
enum Language {
    Node,
    Python,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    language: Language,
    script: &'static str,
    app: fn(Model) -> Router,
    /// How long the model pauses in the middle of a complete answer, so that keep-alives are sent.
    pause: Duration,
    /// The reason why the client does not resume a stream, if it does not.
    no_resume: Option<&'static str>,
}

/// Longer than the keep-alive interval of Anthropic's endpoint.
const PING: Duration = Duration::from_secs(6);

/// The time within which the model must stop after the client has cancelled. The AI SDK's endpoint
/// waits for 10 s. MCP's endpoint stops a call without a reader after 60 s, even if the client has
/// not cancelled it, so this must be shorter.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);

const ENDPOINT: Option<&str> = Some("this endpoint does not resume answers");
const TASKS: Option<&str> = Some("a task of this endpoint ends with its stream");
const VERSION: Option<&str> = Some("this version of the protocol does not resume streams");
const BYTES: Option<&str> = Some("the SDK only creates the expected bytes");

impl Client {
    pub(crate) const ALL: [Self; 16] = [
        Self::node("openai Node", "openai.js", openai_chat::app, ENDPOINT),
        Self::python(
            "openai Python",
            "openai_answers.py",
            openai_chat::app,
            ENDPOINT,
        ),
        Self::node(
            "openai Node, Responses",
            "openai_responses.js",
            openai_responses::app,
            ENDPOINT,
        ),
        Self::python(
            "openai Python, Responses",
            "openai_responses.py",
            openai_responses::app,
            ENDPOINT,
        ),
        Self::node("anthropic Node", "anthropic.js", anthropic::app, ENDPOINT).with_pause(PING),
        Self::python(
            "anthropic Python",
            "anthropic_answers.py",
            anthropic::app,
            ENDPOINT,
        )
        .with_pause(PING),
        Self::node("AI SDK", "ai_sdk.js", ai_sdk::app, None),
        Self::node("AG-UI", "ag_ui.js", ag_ui::app, ENDPOINT),
        Self::node("MCP Node, 2025-11-25", "mcp.js", mcp_2025_11_25::app, None),
        Self::python(
            "MCP Python, 2025-11-25",
            "mcp_answers.py",
            mcp_2025_11_25::app,
            None,
        ),
        Self::node(
            "MCP Node, 2026-07-28",
            "mcp_2026.js",
            mcp_2026_07_28::app,
            VERSION,
        ),
        Self::python(
            "MCP Python, 2026-07-28",
            "mcp_answers.py",
            mcp_2026_07_28::app,
            VERSION,
        ),
        Self::node("A2A Node", "a2a.js", agent, TASKS),
        Self::python("A2A Python", "a2a_answers.py", agent, TASKS),
        Self::node("Datastar SDK, Node", "datastar.js", datastar::app, BYTES),
        Self::python(
            "Datastar SDK, Python",
            "datastar_answers.py",
            datastar::app,
            BYTES,
        ),
    ];

    const fn node(
        name: &'static str,
        script: &'static str,
        app: fn(Model) -> Router,
        no_resume: Option<&'static str>,
    ) -> Self {
        Self {
            name,
            language: Language::Node,
            script,
            app,
            pause: Duration::ZERO,
            no_resume,
        }
    }

    const fn python(
        name: &'static str,
        script: &'static str,
        app: fn(Model) -> Router,
        no_resume: Option<&'static str>,
    ) -> Self {
        Self {
            name,
            language: Language::Python,
            script,
            app,
            pause: Duration::ZERO,
            no_resume,
        }
    }

    /// Sets the model's pause in the middle of a complete answer.
    const fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    fn command(&self, programs: &Programs) -> Command {
        match self.language {
            Language::Node => {
                let mut command = Command::new(&programs.node);
                command.arg(programs.js.join(self.script));
                command
            }
            Language::Python => {
                let mut command = Command::new(&programs.python);
                command.arg(programs.python_scripts.join(self.script));
                command
            }
        }
    }

    /// Returns the trials that apply, in order.
    fn trials(&self) -> &'static [Trial] {
        match self.no_resume {
            Some(_) => &[Trial::Leave, Trial::Complete, Trial::Error],
            None => &Trial::ALL,
        }
    }

    /// Runs the trials, one after another.
    pub(crate) async fn cells(&self, programs: &Programs) -> Vec<Cell> {
        let signals = Signals::with_pause(self.pause);
        let (relay, mut lines) = match self.start(programs, &signals).await {
            Ok(started) => started,
            Err(error) => return vec![Cell::Skipped(error); Trial::ALL.len()],
        };
        let mut cells = Vec::new();
        for trial in Trial::ALL {
            if let (Trial::Resume, Some(reason)) = (trial, self.no_resume) {
                cells.push(Cell::NotApplicable(reason));
                continue;
            }
            let judged = judge(trial, &signals, &relay, &mut lines).await;
            signals.left.cancel();
            let cell = Cell::of(judged, None::<Known>);
            if let Cell::Failed(error) = &cell {
                println!("{}, {}: {error}", self.name, trial.title());
            }
            cells.push(cell);
        }
        cells
    }

    async fn start(
        &self,
        programs: &Programs,
        signals: &Signals,
    ) -> Result<(Relay, Reports), String> {
        let text = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let server = listener.local_addr().map_err(text)?;
        let mut app = Router::new();
        for trial in self.trials() {
            let endpoints = (self.app)(signals.model(*trial));
            app = app.nest(&format!("/{}", trial.path()), endpoints);
        }
        let app = app.layer(from_fn_with_state(signals.clone(), Signals::watch));
        tokio::spawn(sse_runtime::serve(listener, app));
        let relay = Relay::start(server).await.map_err(text)?;
        let mut command = self.command(programs);
        let command = command
            .arg(format!("http://{}", relay.addr))
            .args(self.trials().iter().map(|trial| trial.path()));
        let mut child = start(command.stderr(Stdio::inherit()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        // The client exits after its last line. `kill_on_drop` kills it if this task is dropped
        // first.
        tokio::spawn(async move { child.wait().await });
        Ok((relay, Reports(BufReader::new(stdout).lines())))
    }
}

/// Reads a client's report on a trial and compares it with what must happen.
async fn judge(
    trial: Trial,
    signals: &Signals,
    relay: &Relay,
    reports: &mut Reports,
) -> Result<(), String> {
    if trial == Trial::Resume {
        match reports.next().await? {
            Report::First { .. } => {
                signals.set_cut();
                relay.cut();
            }
            report => return Err(format!("{report:?} instead of the first piece")),
        }
    }
    let (received, error) = match reports.next().await? {
        Report::Ended { received, error } => (received, error),
        report => return Err(format!("{report:?} instead of the answer")),
    };
    match trial {
        Trial::Leave => {
            same("text", received.as_str(), PIECES[0])?;
            let dropped = timeout(DROPPED_WITHIN, signals.dropped.notified()).await;
            dropped.map_err(|_| "the model did not stop".to_owned())
        }
        Trial::Complete | Trial::Resume => {
            same("error", &error, &None)?;
            same("text", &received, &PIECES.concat())
        }
        Trial::Error => {
            same("text", received.as_str(), PIECES[0])?;
            match error {
                Some(error) if error.contains(FAILURE) => Ok(()),
                error => Err(format!("{error:?} instead of the model's error")),
            }
        }
    }
}

/// A client's report.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Report {
    /// The client has received the first piece. Only reported in the trial
    /// [`Resume`](Trial::Resume).
    First {
        #[expect(dead_code, reason = "printed if the test fails")]
        first: String,
    },
    Ended {
        received: String,
        /// The name and the message of the client's error.
        error: Option<String>,
    },
}

struct Reports(Lines<BufReader<ChildStdout>>);

impl Reports {
    async fn next(&mut self) -> Result<Report, String> {
        match timeout(PATIENCE, self.0.next_line()).await {
            Ok(Ok(Some(line))) => {
                serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))
            }
            Ok(Ok(None)) => Err("the client has exited".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no report within {PATIENCE:?}")),
        }
    }
}

/// Adds the agent card, from which A2A's clients get the agent's URL.
fn agent(model: Model) -> Router {
    a2a::app(model).route("/.well-known/agent-card.json", get(agent_card))
}

async fn agent_card(OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Json<Value> {
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let prefix = uri.path().split("/.well-known").next();
    let (host, prefix) = (host.unwrap_or_default(), prefix.unwrap_or_default());
    Json(json!({
        "name": "answers", "description": "Answers questions.", "version": "1.0.0",
        "supportedInterfaces": [{
            "url": format!("http://{host}{prefix}/a2a"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0",
        }],
        "capabilities": { "streaming": true },
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"], "skills": [],
    }))
}
