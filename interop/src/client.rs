//! Starts the clients and receives the messages that they report.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use eventsource_client::Client as _;
use eventsource_stream::Eventsource as _;
use launchdarkly_sdk_transport::HyperTransport;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::AbortHandle,
    time::timeout,
};
use tokio_stream::StreamExt as _;

use crate::browser::Browser;

/// The timeout for each step of a client. A client that exceeds it is stuck rather than slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A message that a client reports about its stream. Programs print one per line, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Message {
    Event(Received),
    /// The stream has ended, and the client does not reconnect automatically.
    Ended,
    /// The client has stopped for this reason.
    Stopped(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Received {
    pub(crate) name: String,
    /// Empty if the event has no id. Some clients repeat the last id instead.
    pub(crate) id: String,
    pub(crate) data: String,
}

/// The stream for a client to read.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) url: String,
    pub(crate) method: &'static str,
    /// The number of events after which the client closes the stream, while its process keeps
    /// running.
    pub(crate) leave_after: Option<usize>,
}

impl Ask {
    pub(crate) fn get(url: String) -> Self {
        Self {
            url,
            method: "GET",
            leave_after: None,
        }
    }
}

/// A running client that reads a stream. Dropping this value stops the client.
pub(crate) struct Reading {
    messages: mpsc::UnboundedReceiver<Message>,
    _running: Running,
}

enum Running {
    Process(#[expect(dead_code, reason = "dropping it kills the process")] Child),
    Task(AbortHandle),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}

impl Reading {
    /// Runs a client as a task.
    pub(crate) fn task<F>(client: impl FnOnce(Reporter) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, messages) = mpsc::unbounded_channel();
        let task = tokio::spawn(client(Reporter(sender)));
        Self {
            messages,
            _running: Running::Task(task.abort_handle()),
        }
    }

    /// Runs a client as a program that prints a line of JSON per message.
    pub(crate) fn program(command: &mut Command) -> Result<Self, String> {
        let mut child = start(command)?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let message = serde_json::from_str(&line);
                let message =
                    message.unwrap_or_else(|error| Message::Stopped(format!("{error}: {line}")));
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            messages,
            _running: Running::Process(child),
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Message, String> {
        match timeout(PATIENCE, self.messages.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the client has exited".to_owned()),
            Err(_) => Err(format!("no message within {PATIENCE:?}")),
        }
    }

    pub(crate) async fn event(&mut self) -> Result<Received, String> {
        match self.next().await? {
            Message::Event(event) => Ok(event),
            other => Err(format!("{other:?} instead of an event")),
        }
    }

    pub(crate) async fn events(&mut self, count: usize) -> Result<Vec<Received>, String> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.event().await;
            events.push(event.map_err(|error| format!("{error}, after {} events", events.len()))?);
        }
        Ok(events)
    }
}

/// Sends the messages of a client that runs as a task. Messages are discarded once the receiver has
/// been dropped.
pub(crate) struct Reporter(mpsc::UnboundedSender<Message>);

impl Reporter {
    pub(crate) fn send(&self, message: Message) {
        let _ = self.0.send(message);
    }

    fn event(&self, name: String, id: String, data: String) {
        self.send(Message::Event(Received { name, id, data }));
    }
}

pub(crate) fn start(command: &mut Command) -> Result<Child, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))
}

/// The paths of the interpreters and the clients' scripts.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) node: PathBuf,
    pub(crate) js: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) python_scripts: PathBuf,
}

/// A client that can read streams.
pub(crate) enum Client {
    /// A page that runs the client of this name from `read.js`.
    Page(Browser, &'static str),
    /// Node.js, which runs the client of this name from `read.js`.
    Node(Programs, &'static str),
    /// A Python script.
    Python(Programs, &'static str),
    /// The `eventsource-client` crate from `LaunchDarkly`.
    LaunchDarkly,
    ReqwestEventsource,
    Curl,
}

impl Client {
    pub(crate) async fn read(&self, ask: Ask) -> Result<Reading, String> {
        match self {
            Self::Page(browser, client) => browser.read(client, ask).await,
            Self::Node(programs, client) => {
                let script = programs.js.join("node.js");
                let mut node = Command::new(&programs.node);
                Reading::program(asked(node.arg(script).arg(client), &ask))
            }
            Self::Python(programs, script) => {
                let script = programs.python_scripts.join(script);
                Reading::program(asked(Command::new(&programs.python).arg(script), &ask))
            }
            Self::LaunchDarkly => eventsource_client(&ask),
            Self::ReqwestEventsource => Ok(reqwest_eventsource(ask)),
            Self::Curl => curl(&ask),
        }
    }

    pub(crate) async fn quit(self) {
        if let Self::Page(browser, _) = self {
            browser.quit().await;
        }
    }
}

fn asked<'a>(command: &'a mut Command, ask: &Ask) -> &'a mut Command {
    let leave_after = ask.leave_after.unwrap_or(0);
    command
        .arg(&ask.url)
        .arg(ask.method)
        .arg(leave_after.to_string())
}

fn eventsource_client(ask: &Ask) -> Result<Reading, String> {
    let leave_after = ask.leave_after;
    let transport = HyperTransport::builder().build_http();
    let transport = transport.map_err(|error| error.to_string())?;
    let client = eventsource_client::ClientBuilder::for_url(&ask.url);
    let client = client
        .map_err(|error| error.to_string())?
        .method(ask.method.to_owned())
        .build_with_transport(transport);
    Ok(Reading::task(async move |reporter| {
        let mut stream = client.stream();
        let mut seen = 0;
        while let Some(next) = stream.next().await {
            match next {
                Ok(eventsource_client::SSE::Event(event)) => {
                    let id = event.id.unwrap_or_default();
                    reporter.event(event.event_type, id, event.data);
                    seen += 1;
                    if Some(seen) == leave_after {
                        return;
                    }
                }
                Ok(_) => {}
                // The client reconnects after an error.
                Err(_) => {}
            }
        }
        reporter.send(Message::Stopped("the stream ended".to_owned()));
    }))
}

fn reqwest_eventsource(ask: Ask) -> Reading {
    use reqwest_eventsource::{Event, EventSource};

    Reading::task(async move |reporter| {
        let method = if ask.method == "POST" {
            reqwest::Method::POST
        } else {
            reqwest::Method::GET
        };
        let request = reqwest::Client::new().request(method, &ask.url);
        let mut source = match EventSource::new(request) {
            Ok(source) => source,
            Err(error) => return reporter.send(Message::Stopped(error.to_string())),
        };
        let mut seen = 0;
        while let Some(next) = source.next().await {
            if let Ok(Event::Message(event)) = next {
                reporter.event(event.event, event.id, event.data);
                seen += 1;
                if Some(seen) == ask.leave_after {
                    source.close();
                    return;
                }
            }
        }
        reporter.send(Message::Stopped("the stream ended".to_owned()));
    })
}

/// Runs curl, which prints the raw stream, and parses its output with the `eventsource-stream`
/// crate.
fn curl(ask: &Ask) -> Result<Reading, String> {
    let leave_after = ask.leave_after;
    let mut curl = start(
        Command::new("curl")
            .args(["--silent", "--no-buffer", "--request", ask.method])
            .args(["--header", "accept: text/event-stream"])
            .arg(&ask.url),
    )?;
    let stdout = curl.stdout.take().ok_or("no standard output")?;
    Ok(Reading::task(async move |reporter| {
        let bytes = tokio_util::io::ReaderStream::new(stdout);
        let mut events = bytes.eventsource();
        let mut seen = 0;
        while let Some(Ok(event)) = events.next().await {
            reporter.event(event.event, event.id, event.data);
            seen += 1;
            if Some(seen) == leave_after {
                // This has the same effect as pressing Ctrl-C.
                let _ = curl.kill().await;
                return;
            }
        }
        reporter.send(Message::Ended);
    }))
}

/// Returns the folder in the repository that contains the scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
