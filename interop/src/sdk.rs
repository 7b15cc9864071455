//! Tests the official clients of other protocols with the [`answers`], some of which are
//! interrupted or fail.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use sse_runtime::{Server, Shutdown};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{ChildStdout, Command},
    time::timeout,
};

use crate::{
    answers::{self, Case, FAILURE, PIECES, Waiting},
    client::{PATIENCE, Programs, start},
    property::same,
    table::Cell,
};

/// The server's drain time. The server shuts down in the middle of an answer.
const DRAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    AnthropicPython,
    AnthropicNode,
    OpenAiPython,
    OpenAiNode,
    ResponsesPython,
    ResponsesNode,
    Vercel,
    AgUi,
    A2aPython,
    A2aNode,
    McpPython,
    McpNode,
}

/// A client's report on a case.
#[derive(Debug, Deserialize)]
struct Report {
    received: String,
    /// The name and the message of the client's error.
    error: Option<String>,
}

impl Sdk {
    pub(crate) const ALL: [Self; 12] = [
        Self::AnthropicPython,
        Self::AnthropicNode,
        Self::OpenAiPython,
        Self::OpenAiNode,
        Self::ResponsesPython,
        Self::ResponsesNode,
        Self::Vercel,
        Self::AgUi,
        Self::A2aPython,
        Self::A2aNode,
        Self::McpPython,
        Self::McpNode,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AnthropicPython => "anthropic Python",
            Self::AnthropicNode => "anthropic Node",
            Self::OpenAiPython => "openai Python",
            Self::OpenAiNode => "openai Node",
            Self::ResponsesPython => "openai Python, Responses",
            Self::ResponsesNode => "openai Node, Responses",
            Self::Vercel => "AI SDK",
            Self::AgUi => "AG-UI",
            Self::A2aPython => "A2A Python",
            Self::A2aNode => "A2A Node",
            Self::McpPython => "MCP Python",
            Self::McpNode => "MCP Node",
        }
    }

    fn command(self, programs: &Programs) -> Command {
        let python = |script| {
            let mut command = Command::new(&programs.python);
            command.arg(programs.python_scripts.join(script));
            command
        };
        let node = |script| {
            let mut command = Command::new(&programs.node);
            command.arg(programs.js.join(script));
            command
        };
        match self {
            Self::AnthropicPython => python("anthropic_answers.py"),
            Self::AnthropicNode => node("anthropic.js"),
            Self::OpenAiPython => python("openai_answers.py"),
            Self::OpenAiNode => node("openai.js"),
            Self::ResponsesPython => python("openai_responses.py"),
            Self::ResponsesNode => node("openai_responses.js"),
            Self::Vercel => node("ai_sdk.js"),
            Self::AgUi => node("ag_ui.js"),
            Self::A2aPython => python("a2a_answers.py"),
            Self::A2aNode => node("a2a.js"),
            Self::McpPython => python("mcp_answers.py"),
            Self::McpNode => node("mcp.js"),
        }
    }

    /// Returns the start of the error that the client reports if the connection is cut off.
    fn broken(self) -> &'static str {
        match self {
            Self::AnthropicPython => "RemoteProtocolError",
            Self::AnthropicNode => "AnthropicError: terminated",
            Self::OpenAiPython | Self::ResponsesPython => "APIConnectionError",
            Self::A2aPython => "A2AClientError",
            Self::McpPython => "MCPError",
            Self::McpNode => "Error: SSE stream disconnected",
            Self::OpenAiNode | Self::ResponsesNode | Self::Vercel | Self::AgUi | Self::A2aNode => {
                "TypeError: terminated"
            }
        }
    }

    fn judge(self, case: Case, report: &Report) -> Result<(), String> {
        let Report { received, error } = report;
        match case {
            Case::Plain | Case::KeepAlive | Case::LateStart | Case::Topic => {
                same("error", error, &None)?;
                same("text", received, &PIECES.concat())
            }
            Case::Error | Case::MaxDuration | Case::Shutdown => {
                let Some(error) = error else {
                    return Err(format!("received {received:?} and no error"));
                };
                let expected = match case {
                    Case::Error => error.contains(FAILURE),
                    _ => error.starts_with(self.broken()),
                };
                if !expected {
                    return Err(format!("received {received:?} and {error:?}"));
                }
                same("text", received.as_str(), PIECES[0])
            }
        }
    }

    /// Tests the client with every case, one after another, against a separate server.
    pub(crate) async fn cells(self, programs: &Programs) -> Vec<Cell> {
        let mut lines = match self.start(programs).await {
            Ok(lines) => lines,
            Err(error) => return vec![Cell::Skipped(error); Case::ALL.len()],
        };
        let mut cells = Vec::new();
        for case in Case::ALL {
            let report = next(&mut lines).await;
            let judged = report.and_then(|report| self.judge(case, &report));
            let cell = Cell::of(judged, None);
            if let Cell::Failed(error) = &cell {
                println!("{}, {}: {error}", self.name(), case.title());
            }
            cells.push(cell);
        }
        cells
    }

    async fn start(self, programs: &Programs) -> Result<Lines<BufReader<ChildStdout>>, String> {
        let text = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let addr = listener.local_addr().map_err(text)?;
        let waiting = Waiting::default();
        let shutdown = Shutdown::within(DRAIN);
        let server = Server::new(answers::app(waiting.clone())).shutdown(shutdown.clone());
        tokio::spawn(server.serve(listener));
        tokio::spawn(async move {
            waiting.notified().await;
            shutdown.begin();
        });
        let mut command = self.command(programs);
        let command = command
            .arg(format!("http://{addr}"))
            .args(Case::ALL.map(Case::path));
        let mut child = start(command.stderr(Stdio::inherit()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        // The client exits after its last line. `kill_on_drop` kills it if this task is dropped
        // first.
        tokio::spawn(async move { child.wait().await });
        Ok(BufReader::new(stdout).lines())
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Report, String> {
    match timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => {
            serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))
        }
        Ok(Ok(None)) => Err("the client has exited".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no report within {PATIENCE:?}")),
    }
}
