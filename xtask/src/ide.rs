//! `cargo xtask ide` runs rust-analyzer on the examples and on an unfinished endpoint, and checks
//! what an editor would display. CI does not run this task, because rust-analyzer takes ten minutes
//! to build and its output varies between versions.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    steps::root,
    tool::{Source, Tool},
};

/// The newest version of rust-analyzer that builds with the pinned toolchain.
const RUST_ANALYZER: Tool = Tool {
    package: "ra_ap_rust-analyzer",
    name: "rust-analyzer",
    version: "0.0.330",
    source: Source::CratesIo,
};

/// How long rust-analyzer may take to load the workspace.
const LOADING: Duration = Duration::from_secs(600);

/// How many times a request is sent before the check fails. A request may have to be repeated
/// because rust-analyzer may still be analysing the workspace.
const ATTEMPTS: u32 = 20;

/// Marks the cursor in a probe.
const CURSOR: &str = "$0";

/// An unfinished program as a user would type it, and the response that is expected at the cursor.
struct Probe {
    name: &'static str,
    code: &'static str,
    request: &'static str,
    /// Words that the response must contain.
    expected: &'static [&'static str],
    /// The same program without the attribute. If the check also fails for this program, this crate
    /// does not cause the failure.
    control: Option<&'static str>,
}

const PROBES: [Probe; 9] = [
    Probe {
        name: "completion after `yield_!(x.`",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    yield_!(tick.$0);
}",
        request: "textDocument/completion",
        expected: &["number", "double"],
        control: None,
    },
    Probe {
        name: "completion after `x.` without a semicolon",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    yield_!(1);
    tick.$0
}",
        request: "textDocument/completion",
        expected: &["number", "double"],
        control: None,
    },
    Probe {
        name: "completion in an arm of `tokio::select!`",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    loop {
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                yield_!(tick.$0);
            }
            () = std::future::pending() => break,
        }
    }
}",
        request: "textDocument/completion",
        expected: &["number", "double"],
        control: Some(
            "async fn ticks() {
    let tick = Tick { number: 7 };
    loop {
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                drop(tick.$0);
            }
            () = std::future::pending() => break,
        }
    }
}",
        ),
    },
    Probe {
        name: "completion of `yield_` while typing",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    yie$0
}",
        request: "textDocument/completion",
        expected: &["yield_"],
        control: None,
    },
    Probe {
        name: "hover on a value in `yield_!`",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    yield_!(ti$0ck.number);
}",
        request: "textDocument/hover",
        expected: &["tick: Tick"],
        control: None,
    },
    Probe {
        name: "hover on the endpoint's name",
        code: "/// Counts.
#[sse_endpoint(\"/ticks\")]
async fn ti$0cks() -> impl Stream<Item = usize> {
    yield_!(1);
}",
        request: "textDocument/hover",
        expected: &["Counts."],
        control: None,
    },
    Probe {
        name: "hover on the attribute",
        code: "#[sse_end$0point(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    yield_!(1);
}",
        request: "textDocument/hover",
        expected: &["Turns an async function"],
        control: None,
    },
    Probe {
        name: "go to definition from `.sse(ticks)`",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    yield_!(1);
}

fn app() -> axum::Router {
    axum::Router::new().sse(tic$0ks)
}",
        request: "textDocument/definition",
        // The line that contains the function's name, counted from zero. The prelude above the
        // probe has seven lines.
        expected: &["\"line\":8"],
        control: None,
    },
    Probe {
        name: "go to definition of a variable in `yield_!`",
        code: "#[sse_endpoint(\"/ticks\")]
async fn ticks() -> impl Stream<Item = usize> {
    let tick = Tick { number: 7 };
    yield_!(tic$0k.number);
}",
        request: "textDocument/definition",
        expected: &["\"line\":9"],
        control: None,
    },
];

/// The lines above each probe.
const PRELUDE: &str = "#![allow(unused)]
use sse_runtime::{SseRouterExt as _, Stream, sse_endpoint};
struct Tick { number: usize }
impl Tick {
    fn double(&self) -> usize { 2 * self.number }
}

";

pub(crate) fn run() -> ExitCode {
    match check() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("{failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of failed checks.
fn check() -> io::Result<usize> {
    // Use an example's file, because the file must belong to a crate in the workspace. The probe
    // replaces the contents that rust-analyzer sees, but the file on disk is not changed.
    let file = &root().canonicalize()?.join("examples/readme_first.rs");
    let mut server = Server::start()?;
    server.wait_until_loaded()?;
    let mut failed = 0;
    let mut report = |name: &str, problem: Option<String>| {
        failed += usize::from(problem.is_some());
        match problem {
            None => println!("ok      {name}"),
            Some(problem) => println!("FAILED  {name}: {problem}"),
        }
    };
    let mistake = format!("{PRELUDE}fn main() {{ let _: u32 = \"text\"; }}\n");
    let is_found = server.errors_in(file, &mistake)?.is_some();
    report(
        "a mistake is reported as an error",
        (!is_found).then(|| "no diagnostic reported".to_owned()),
    );
    for example in examples()? {
        let name = example.file_name().unwrap_or_default().to_string_lossy();
        let problem = server.errors_in(&example, &fs::read_to_string(&example)?)?;
        report(&format!("no false errors in {name}"), problem);
    }
    for probe in PROBES {
        let problem = server.probe(file, &probe, probe.code)?;
        if problem.is_some()
            && let Some(control) = probe.control
            && server.probe(file, &probe, control)?.is_some()
        {
            println!("known   {}: also fails without the attribute", probe.name);
            continue;
        }
        report(probe.name, problem);
    }
    server.stop()?;
    Ok(failed)
}

fn examples() -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().canonicalize()?.join("examples"))? {
        let path = entry?.path();
        let main = path.join("main.rs");
        if main.is_file() {
            found.push(main);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A rust-analyzer process that is controlled over the Language Server Protocol.
struct Server {
    process: Child,
    requests: ChildStdin,
    responses: BufReader<ChildStdout>,
    next_id: u64,
    is_quiescent: bool,
    version: u64,
}

impl Server {
    fn start() -> io::Result<Self> {
        let program = RUST_ANALYZER.install()?.join(RUST_ANALYZER.name);
        let mut process = Command::new(program)
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("rust-analyzer has no pipes");
        let mut server = Self {
            requests: process.stdin.take().ok_or_else(missing)?,
            responses: BufReader::new(process.stdout.take().ok_or_else(missing)?),
            process,
            next_id: 0,
            is_quiescent: false,
            version: 0,
        };
        let workspace = uri(&root().canonicalize()?);
        server.request(
            "initialize",
            &json!({
                "processId": null,
                "rootUri": workspace,
                "workspaceFolders": [{ "uri": workspace, "name": "sse-endpoint" }],
                "capabilities": {
                    "experimental": { "serverStatusNotification": true },
                    "textDocument": {
                        "completion": { "completionItem": { "snippetSupport": true } },
                        "diagnostic": {},
                    },
                },
                "initializationOptions": {
                    "checkOnSave": false,
                    "cachePriming": { "enable": false },
                    "cargo": { "targetDir": true },
                },
            }),
        )?;
        server.notify("initialized", &json!({}))?;
        Ok(server)
    }

    fn stop(mut self) -> io::Result<()> {
        self.request("shutdown", &Value::Null)?;
        self.notify("exit", &Value::Null)?;
        self.process.wait().map(drop)
    }

    fn wait_until_loaded(&mut self) -> io::Result<()> {
        println!("loading the workspace");
        let start = Instant::now();
        while !self.is_quiescent {
            self.read()?;
            if start.elapsed() > LOADING {
                return Err(io::Error::other(
                    "rust-analyzer did not finish loading the workspace",
                ));
            }
        }
        Ok(())
    }

    /// Opens a file with this text and returns the first error that rust-analyzer reports for the
    /// file, if any.
    fn errors_in(&mut self, file: &Path, code: &str) -> io::Result<Option<String>> {
        let uri = uri(file);
        self.open(&uri, code)?;
        let response = self.request(
            "textDocument/diagnostic",
            &json!({ "textDocument": { "uri": uri } }),
        )?;
        let items = response["items"].as_array().cloned().unwrap_or_default();
        // Severity 1 is an error.
        let error = items.iter().find(|item| item["severity"] == 1);
        Ok(error.map(|error| format!("{} at {}", error["message"], error["range"]["start"])))
    }

    /// Repeats a probe's request until the response is as expected. Returns `None`, or the last
    /// response if no response was as expected.
    fn probe(&mut self, file: &Path, probe: &Probe, code: &str) -> io::Result<Option<String>> {
        let code = format!("{PRELUDE}{code}\nfn main() {{}}\n");
        let at = code.find(CURSOR).unwrap_or_default();
        let before = &code[..at];
        let line = before.matches('\n').count();
        let character = at - before.rfind('\n').map_or(0, |newline| newline + 1);
        let code = code.replacen(CURSOR, "", 1);
        let uri = uri(file);
        self.open(&uri, &code)?;
        let params = json!({
            "textDocument": { "uri": uri },
            "position": { "line": line, "character": character },
        });
        let mut response = String::new();
        for _ in 0..ATTEMPTS {
            response = self.request(probe.request, &params)?.to_string();
            if probe.expected.iter().all(|word| response.contains(word)) {
                return Ok(None);
            }
        }
        response.truncate(300);
        Ok(Some(response))
    }

    fn open(&mut self, uri: &str, code: &str) -> io::Result<()> {
        self.version += 1;
        let document = json!({
            "uri": uri,
            "languageId": "rust",
            "version": self.version,
            "text": code,
        });
        self.notify(
            "textDocument/didClose",
            &json!({ "textDocument": { "uri": uri } }),
        )?;
        self.notify("textDocument/didOpen", &json!({ "textDocument": document }))
    }

    fn request(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let message = self.read()?;
            if message["id"] == id && message.get("method").is_none() {
                // If the content was modified or the request was cancelled, the result is null, and
                // the caller repeats the request.
                return Ok(message["result"].clone());
            }
        }
    }

    fn notify(&mut self, method: &str, params: &Value) -> io::Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    fn send(&mut self, message: &Value) -> io::Result<()> {
        let body = message.to_string();
        write!(
            self.requests,
            "Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.requests.flush()
    }

    /// Reads a message from rust-analyzer. Replies to the message if it is a request, and records
    /// the status if it is a status notification.
    fn read(&mut self) -> io::Result<Value> {
        let mut len = 0;
        loop {
            let mut line = String::new();
            if self.responses.read_line(&mut line)? == 0 {
                return Err(io::Error::other("rust-analyzer exited"));
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length:") {
                len = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; len];
        self.responses.read_exact(&mut body)?;
        let message: Value = serde_json::from_slice(&body)?;
        match message["method"].as_str() {
            Some("experimental/serverStatus") => {
                self.is_quiescent = message["params"]["quiescent"] == true;
            }
            // This is a request from rust-analyzer, for example to register a capability.
            Some(_) if message.get("id").is_some() => {
                self.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": null }))?;
            }
            _ => {}
        }
        Ok(message)
    }
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}
