//! Tests the unmodified `gateway` example with the official SDKs of OpenAI and Anthropic.

use std::process::Stdio;

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    client::{PATIENCE, Programs, start},
    examples::Example,
    property::same,
    table::{Cell, Table},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Whole,
    Limit,
    Busy,
    Budget,
    Flaky,
    Cancel,
}

impl Case {
    const ALL: [Self; 6] = [
        Self::Whole,
        Self::Limit,
        Self::Busy,
        Self::Budget,
        Self::Flaky,
        Self::Cancel,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Whole => "a complete answer",
            Self::Limit => "a `429` with `retry-after` if the client has too many streams",
            Self::Busy => "the upstream's `429` with its `retry-after`",
            Self::Budget => "an error in the middle of the answer once the budget is spent",
            Self::Flaky => "an error if the upstream is cut off",
            Self::Cancel => "the model stops when the client aborts",
        }
    }

    /// Returns the name that the scripts use.
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::Flaky => "flaky",
            Self::Cancel => "cancel",
        }
    }

    /// Returns the settings of the gateway.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Limit => &[("MAX_STREAMS", "1")],
            Self::Budget => &[("BUDGET", "5")],
            Self::Whole | Self::Busy | Self::Flaky | Self::Cancel => &[],
        }
    }
}

#[derive(Clone, Copy)]
enum Sdk {
    OpenAiPython,
    OpenAiNode,
    AnthropicPython,
    AnthropicNode,
}

/// An SDK's report.
#[derive(Debug, Deserialize)]
struct Report {
    received: String,
    /// The name and the message of the SDK's error.
    error: Option<String>,
    retry_after: Option<String>,
}

impl Sdk {
    const ALL: [Self; 4] = [
        Self::OpenAiPython,
        Self::OpenAiNode,
        Self::AnthropicPython,
        Self::AnthropicNode,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::OpenAiPython => "openai Python",
            Self::OpenAiNode => "openai Node",
            Self::AnthropicPython => "anthropic Python",
            Self::AnthropicNode => "anthropic Node",
        }
    }

    fn command(self, programs: &Programs) -> Command {
        let (program, script) = match self {
            Self::OpenAiPython => (
                &programs.python,
                programs.python_scripts.join("openai_gateway.py"),
            ),
            Self::AnthropicPython => (
                &programs.python,
                programs.python_scripts.join("anthropic_gateway.py"),
            ),
            Self::OpenAiNode => (&programs.node, programs.js.join("openai_gateway.js")),
            Self::AnthropicNode => (&programs.node, programs.js.join("anthropic_gateway.js")),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }

    async fn judge(self, case: Case, programs: &Programs) -> Result<(), String> {
        let mut gateway = Example::start_with_env("gateway", case.settings()).await?;
        let mut command = self.command(programs);
        command.arg(&gateway.url).arg(case.name());
        // The script is killed when it is dropped.
        let (_script, report) = report(&mut command).await?;
        let error = report.error.as_deref().unwrap_or_default();
        match case {
            Case::Whole => {
                same("error", &report.error, &None)?;
                let words = report.received.split(' ').count();
                let expected = format!("the model has finished after {words} of {words} words");
                same("line", &line(&mut gateway, "the model").await?, &expected)
            }
            Case::Limit => {
                is_rate_limited(error, "too many requests are in progress")?;
                let after = report.retry_after.as_deref().map(str::parse);
                match after {
                    Some(Ok(5..=15)) => Ok(()),
                    _ => Err(format!("{:?} as `retry-after`", report.retry_after)),
                }
            }
            Case::Busy => {
                is_rate_limited(error, "the model is busy")?;
                same("retry-after", &report.retry_after.as_deref(), &Some("7"))
            }
            Case::Budget => {
                let words = report.received.split_inclusive(' ').count();
                same("words", &words, &5)?;
                contains(error, "the token budget of this API key is spent")?;
                let expected = "demo: 5 tokens, 0 left; failed".to_owned();
                same("line", &line(&mut gateway, "demo").await?, &expected)
            }
            Case::Flaky => {
                let words = report.received.split_inclusive(' ').count();
                same("words", &words, &3)?;
                contains(error, "the upstream's answer was cut off")
            }
            Case::Cancel => {
                let line = line(&mut gateway, "the model").await?;
                contains(&line, "has stopped after ")
            }
        }
    }
}

/// Tests every SDK with every case, each against a gateway of its own.
pub(crate) async fn test(programs: &Programs) -> Table {
    let mut table = Table::new(Case::ALL.map(|case| case.title().to_owned()).to_vec());
    for sdk in Sdk::ALL {
        let mut cells = Vec::new();
        for case in Case::ALL {
            let judged = sdk.judge(case, programs).await;
            if let Err(error) = &judged {
                println!("{}, {}: {error}", sdk.name(), case.title());
            }
            cells.push(Cell::of(judged, None));
        }
        table.column(sdk.name(), cells);
    }
    table
}

/// Starts a script and reads its report.
async fn report(command: &mut Command) -> Result<(Child, Report), String> {
    let mut script = start(command.stderr(Stdio::inherit()))?;
    let stdout = script.stdout.take().ok_or("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    match timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => {
            let report = serde_json::from_str(&line);
            let report = report.map_err(|error| format!("{error}: {line}"))?;
            Ok((script, report))
        }
        other => Err(format!("{other:?} instead of a report")),
    }
}

/// Reads lines until one starts with `prefix`. Lines of the model and of the gateway may be in
/// either order.
async fn line(gateway: &mut Example, prefix: &str) -> Result<String, String> {
    loop {
        let line = gateway.line().await?;
        if line.starts_with(prefix) {
            return Ok(line);
        }
    }
}

fn is_rate_limited(error: &str, message: &str) -> Result<(), String> {
    if !error.starts_with("RateLimitError: ") || !error.contains("429") {
        return Err(format!("{error:?} is not a rate limit error"));
    }
    contains(error, message)
}

fn contains(text: &str, expected: &str) -> Result<(), String> {
    if text.contains(expected) {
        Ok(())
    } else {
        Err(format!("{text:?} does not contain {expected:?}"))
    }
}
