//! Tests the unmodified examples. `ticker` is restarted while a client is connected, and `chat` is
//! tested with OpenAI's own clients.

use std::{path::Path, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    client::{Ask, Client, Message, PATIENCE, Programs, Reading},
    property::same,
};

/// A running example.
pub(crate) struct Example {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
}

impl Example {
    /// Starts the example on this port. Port `0` selects a free port.
    pub(crate) async fn start(name: &str, port: &str) -> Result<Self, String> {
        Self::start_with(name, port, None).await
    }

    /// Like `start`, but if `file` is `Some`, the example stores its events in that file.
    pub(crate) async fn start_with(
        name: &str,
        port: &str,
        file: Option<&Path>,
    ) -> Result<Self, String> {
        let mut command = Self::command(name, port);
        command.args(file.map(|_| "--store")).args(file);
        Self::spawn(name, &mut command).await
    }

    /// Starts the example on a free port with these environment variables.
    pub(crate) async fn start_with_env(
        name: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = Self::command(name, "0");
        command.envs(variables.iter().copied());
        Self::spawn(name, &mut command).await
    }

    fn command(name: &str, port: &str) -> Command {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/examples");
        let mut command = Command::new(path.join(name));
        command.env("PORT", port);
        command
    }

    async fn spawn(name: &str, command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut example = Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            url: String::new(),
        };
        example.url = example.line().await?;
        Ok(example)
    }

    /// Kills the server and restarts it on the same port.
    async fn restart(self, name: &str, file: Option<&Path>) -> Result<Self, String> {
        let port = self.kill().await?;
        Self::start_with(name, &port, file).await
    }

    /// Kills the server and returns its port.
    pub(crate) async fn kill(mut self) -> Result<String, String> {
        let port = self.url.rsplit(':').next().unwrap_or_default().to_owned();
        self.child.kill().await.map_err(|error| error.to_string())?;
        Ok(port)
    }

    /// Reads the next line that the example prints.
    pub(crate) async fn line(&mut self) -> Result<String, String> {
        match timeout(PATIENCE, self.stdout.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            other => Err(format!("{other:?} instead of a line of output")),
        }
    }

    async fn set_price(&self, cents: u32) -> Result<(), String> {
        let price = json!({ "symbol": "ACME", "cents": cents });
        let request = reqwest::Client::new()
            .post(format!("{}/prices", self.url))
            .header("content-type", "application/json")
            .body(price.to_string());
        let response = request.send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        response.map(drop).map_err(|error| error.to_string())
    }
}

/// The prices that the test sets. The example's own prices are never below 100.
const OURS: std::ops::Range<u64> = 1..100;

/// Kills and restarts the server, which loses all earlier events. A client that reconnects
/// must receive a `gap`, and then every price published since the restart.
pub(crate) async fn restart(client: &Client) -> Result<(), String> {
    let before = Example::start("ticker", "0").await?;
    before.set_price(1).await?;
    let url = format!("{}/prices?symbol=ACME", before.url);
    let mut reading = client.read(Ask::get(url)).await?;
    expect_prices(&mut reading, 1..2).await?;
    before.set_price(2).await?;
    expect_prices(&mut reading, 2..3).await?;

    let after = before.restart("ticker", None).await?;
    after.set_price(3).await?;
    after.set_price(4).await?;
    loop {
        let event = reading.event().await?;
        if event.name == "gap" {
            let gap: serde_json::Value =
                serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
            same(
                "reason",
                gap["reason"].as_str().unwrap_or_default(),
                "other_epoch",
            )?;
            break;
        }
        // Other events may have been in flight when the server was killed.
        if ours(&event.data).is_some() {
            return Err(format!("{event:?} before the gap"));
        }
    }
    after.set_price(5).await?;
    expect_prices(&mut reading, 3..6).await
}

/// Kills a server that stores its events in a log, and restarts it. When the client reconnects, it
/// must receive every price exactly once and no gap.
pub(crate) async fn restart_with_log(client: &Client) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = directory.path().join("ticker.redb");
    let before = Example::start_with("ticker", "0", Some(&file)).await?;
    before.set_price(1).await?;
    let url = format!("{}/prices?symbol=ACME", before.url);
    let mut reading = client.read(Ask::get(url)).await?;
    expect_prices(&mut reading, 1..2).await?;
    // The client may or may not receive this price before the server is killed.
    before.set_price(2).await?;
    let after = before.restart("ticker", Some(&file)).await?;
    after.set_price(3).await?;
    expect_prices(&mut reading, 2..4).await?;
    after.set_price(4).await?;
    expect_prices(&mut reading, 4..5).await
}

/// Expects these prices in order, ignoring the example's own prices.
async fn expect_prices(reading: &mut Reading, cents: std::ops::Range<u64>) -> Result<(), String> {
    for expected in cents {
        let found = loop {
            let event = reading.event().await?;
            same("name", event.name.as_str(), "message")?;
            if let Some(found) = ours(&event.data) {
                break found;
            }
        };
        same("price", &found, &expected)?;
    }
    Ok(())
}

fn ours(data: &str) -> Option<u64> {
    let price: serde_json::Value = serde_json::from_str(data).ok()?;
    price["cents"].as_u64().filter(|cents| OURS.contains(cents))
}

/// The properties that OpenAI's clients are tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chat {
    Stream,
    Error,
    Abort,
}

impl Chat {
    pub(crate) const ALL: [Self; 3] = [Self::Stream, Self::Error, Self::Abort];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Stream => "a complete response, word by word",
            Self::Error => "a rejection raises `BadRequestError` with the error code",
            Self::Abort => "the model stops when the client aborts",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Error => "error",
            Self::Abort => "abort",
        }
    }
}

/// OpenAI's clients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpenAi {
    Python,
    Node,
}

impl OpenAi {
    pub(crate) async fn judge(self, chat: Chat, programs: &Programs) -> Result<(), String> {
        let mut example = Example::start("chat", "0").await?;
        let base_url = format!("{}/v1", example.url);
        let mut command = match self {
            Self::Python => {
                let mut python = Command::new(&programs.python);
                python.arg(programs.python_scripts.join("openai_chat.py"));
                python
            }
            Self::Node => {
                let mut node = Command::new(&programs.node);
                node.arg(programs.js.join("openai_chat.js"));
                node
            }
        };
        let mut reading = Reading::program(command.arg(base_url).arg(chat.name()))?;
        match chat {
            Chat::Stream => {
                let mut answer = String::new();
                loop {
                    match reading.next().await? {
                        Message::Event(event) if event.name == "stop" => break,
                        Message::Event(event) => answer.push_str(&event.data),
                        other => return Err(format!("{other:?} before the answer ended")),
                    }
                }
                same("next message", &reading.next().await?, &Message::Ended)?;
                let words = answer.split(' ').count();
                let line = example.line().await?;
                let whole = format!("finished after {words} of {words} words");
                same("the whole answer", &line.contains(&whole), &true)
            }
            Chat::Error => {
                let refused = "BadRequestError 400 missing_required_parameter".to_owned();
                same(
                    "reported error",
                    &reading.next().await?,
                    &Message::Stopped(refused),
                )
            }
            Chat::Abort => {
                reading.events(3).await?;
                let line = example.line().await?;
                same(
                    "the model stopped",
                    &line.contains(": stopped after "),
                    &true,
                )
            }
        }
    }
}
