//! The clients: how each is started, and what it tells.

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

/// After this long a client has failed: it is not said to be slow, but to wait for what does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a client tells of a stream, a line of JSON each where it is a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    Event(Received),
    /// The stream has ended, and the client does not come back by itself.
    Ended,
    /// The client has given up, with its reason.
    Stopped(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Received {
    pub(crate) name: String,
    /// Empty where the event has none. Some clients repeat the last one.
    pub(crate) id: String,
    pub(crate) data: String,
}

/// What is asked of a client.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) url: String,
    pub(crate) method: &'static str,
    /// After so many events it leaves, and its process lives on.
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

/// A client that reads; it is ended when this is dropped.
pub(crate) struct Reading {
    told: mpsc::UnboundedReceiver<Told>,
    _running: Running,
}

enum Running {
    Process(#[expect(dead_code, reason = "it is killed when it is dropped")] Child),
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
    /// What a task tells.
    pub(crate) fn task<F>(client: impl FnOnce(Teller) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(client(Teller(tell)));
        Self {
            told,
            _running: Running::Task(task.abort_handle()),
        }
    }

    /// What a program tells, a line of JSON each.
    pub(crate) fn program(command: &mut Command) -> Result<Self, String> {
        let mut child = start(command)?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let said = serde_json::from_str(&line);
                let said = said.unwrap_or_else(|error| Told::Stopped(format!("{error}: {line}")));
                if tell.send(said).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            told,
            _running: Running::Process(child),
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Told, String> {
        match timeout(PATIENCE, self.told.recv()).await {
            Ok(Some(told)) => Ok(told),
            Ok(None) => Err("the client has ended".to_owned()),
            Err(_) => Err(format!("nothing more in {PATIENCE:?}")),
        }
    }

    pub(crate) async fn event(&mut self) -> Result<Received, String> {
        match self.next().await? {
            Told::Event(event) => Ok(event),
            other => Err(format!("{other:?} instead of an event")),
        }
    }

    pub(crate) async fn events(&mut self, count: usize) -> Result<Vec<Received>, String> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.event().await;
            events.push(event.map_err(|what| format!("{what}, after {} events", events.len()))?);
        }
        Ok(events)
    }
}

/// Where a task tells what its client sees. What nobody waits for any more is dropped.
pub(crate) struct Teller(mpsc::UnboundedSender<Told>);

impl Teller {
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.0.send(told);
    }

    fn event(&self, name: String, id: String, data: String) {
        self.tell(Told::Event(Received { name, id, data }));
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

/// Where the programs of the clients are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) node: PathBuf,
    pub(crate) js: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) python_scripts: PathBuf,
}

/// One that reads streams.
pub(crate) enum Client {
    /// A page, with the client of this name in `read.js`.
    Page(Browser, &'static str),
    /// Node.js, with the same.
    Node(Programs, &'static str),
    /// A script in Python.
    Python(Programs, &'static str),
    /// The crate `eventsource-client`, which is theirs.
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
    Ok(Reading::task(async move |told| {
        let mut stream = client.stream();
        let mut seen = 0;
        while let Some(next) = stream.next().await {
            match next {
                Ok(eventsource_client::SSE::Event(event)) => {
                    let id = event.id.unwrap_or_default();
                    told.event(event.event_type, id, event.data);
                    seen += 1;
                    if Some(seen) == leave_after {
                        return;
                    }
                }
                Ok(_) => {}
                // It comes back after these.
                Err(_) => {}
            }
        }
        told.tell(Told::Stopped("the stream is over".to_owned()));
    }))
}

fn reqwest_eventsource(ask: Ask) -> Reading {
    use reqwest_eventsource::{Event, EventSource};

    Reading::task(async move |told| {
        let method = if ask.method == "POST" {
            reqwest::Method::POST
        } else {
            reqwest::Method::GET
        };
        let request = reqwest::Client::new().request(method, &ask.url);
        let mut source = match EventSource::new(request) {
            Ok(source) => source,
            Err(error) => return told.tell(Told::Stopped(error.to_string())),
        };
        let mut seen = 0;
        while let Some(next) = source.next().await {
            if let Ok(Event::Message(event)) = next {
                told.event(event.event, event.id, event.data);
                seen += 1;
                if Some(seen) == ask.leave_after {
                    source.close();
                    return;
                }
            }
        }
        told.tell(Told::Stopped("the stream is over".to_owned()));
    })
}

/// curl prints the stream as it is; the crate `eventsource-stream` reads that.
fn curl(ask: &Ask) -> Result<Reading, String> {
    let leave_after = ask.leave_after;
    let mut curl = start(
        Command::new("curl")
            .args(["--silent", "--no-buffer", "--request", ask.method])
            .args(["--header", "accept: text/event-stream"])
            .arg(&ask.url),
    )?;
    let stdout = curl.stdout.take().ok_or("no standard output")?;
    Ok(Reading::task(async move |told| {
        let bytes = tokio_util::io::ReaderStream::new(stdout);
        let mut events = bytes.eventsource();
        let mut seen = 0;
        while let Some(Ok(event)) = events.next().await {
            told.event(event.event, event.id, event.data);
            seen += 1;
            if Some(seen) == leave_after {
                // As somebody at a terminal leaves.
                let _ = curl.kill().await;
                return;
            }
        }
        told.tell(Told::Ended);
    }))
}

/// The folder with the scripts, as they are in the repository.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
