//! Runs the programs in the "By language" section of `clients.md`, and checks that each of them
//! prints every event.

use std::{fs, path::Path, time::Duration};

use axum::{Router, extract::Path as Segments, http::StatusCode};
use sse_runtime::{Event, LastEventId, SseRouterExt as _, Stream, Text, sse_endpoint};
use tokio::{process::Command, time::timeout};

use crate::{
    client::{PATIENCE, Programs},
    property::same,
    server::{Trials, Visit},
    snippets::snippet,
    table::{Cell, Table},
};

const PAGE: &str = "sse-runtime/docs/clients.md";

/// A silence that is longer than the read timeout of some clients, but shorter than the keep-alive
/// interval.
const SILENCE: Duration = Duration::from_secs(12);

/// The length of the long line. It exceeds the limits of Go's `bufio.Scanner` (64 KiB) and of
/// aiohttp's `readline` (512 KiB).
const LONG: usize = 600 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    JavaScript,
    Python,
    Go,
    Java,
}

/// The properties that each program is tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trait {
    Events,
    Long,
    Silence,
    NoContent,
}

impl Trait {
    const ALL: [Self; 4] = [Self::Events, Self::Long, Self::Silence, Self::NoContent];

    /// Returns the title of the row in the docs.
    fn title(self) -> &'static str {
        match self {
            Self::Events => "ids, names and data",
            Self::Long => "a line of 600 KiB",
            Self::Silence => "12 seconds without data",
            Self::NoContent => "a `204`",
        }
    }

    /// Returns the last segment of the endpoint's path.
    fn path(self) -> &'static str {
        match self {
            Self::Events => "spoken",
            Self::Long => "long",
            Self::Silence => "silent",
            Self::NoContent => "no_content",
        }
    }

    /// Returns the lines that the program must print.
    fn output(self) -> String {
        match self {
            Self::Events => "1 message \"hello\"\nb-2 greeting \"ä € 😀\"\n".to_owned(),
            Self::Long => format!(" message {}\n message after\n", "x".repeat(LONG)),
            Self::Silence => " message 1\n message 2\n".to_owned(),
            Self::NoContent => String::new(),
        }
    }
}

#[sse_endpoint("/{trial}/spoken")]
async fn spoken(_visit: Visit) -> impl Stream<Item = &'static str> {
    yield_!(Event::json(&"hello").id(1));
    yield_!(Event::json(&"ä € 😀").id("b-2").event("greeting"));
}

#[sse_endpoint("/{trial}/long")]
async fn long(_visit: Visit) -> impl Stream<Item = Text<String>> {
    yield_!(Text("x".repeat(LONG)));
    yield_!(Text("after".to_owned()));
}

#[sse_endpoint("/{trial}/silent")]
async fn silent(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    tokio::time::sleep(SILENCE).await;
    yield_!(2);
}

/// Responds with a `204`, like a stream whose end the client has already received.
#[sse_endpoint("/{trial}/no_content")]
async fn no_content(
    Segments(_trial): Segments<String>,
    _last: LastEventId,
    _visit: Visit,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    if true {
        return Err(StatusCode::NO_CONTENT);
    }
    yield_!(1);
}

pub(crate) fn routes() -> Router<Trials> {
    Router::new()
        .sse(spoken)
        .sse(long)
        .sse(silent)
        .sse(no_content)
}

impl Language {
    pub(crate) const ALL: [Self; 4] = [Self::JavaScript, Self::Python, Self::Go, Self::Java];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "JavaScript",
            Self::Python => "Python, aiohttp",
            Self::Go => "Go",
            Self::Java => "Java",
        }
    }

    /// Returns the name of the program's file.
    fn file(self) -> &'static str {
        match self {
            Self::JavaScript => "client.mjs",
            Self::Python => "client.py",
            Self::Go => "client.go",
            Self::Java => "Client.java",
        }
    }

    /// Writes the program into a folder, compiles it if necessary, and returns the command that
    /// runs it.
    async fn build(self, programs: &Programs) -> Result<Vec<String>, String> {
        let code = snippet(PAGE, self.file())?;
        // JavaScript's modules are resolved from the program's folder.
        let folder = programs.js.join("languages");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let file = folder.join(self.file());
        fs::write(&file, code).map_err(|error| error.to_string())?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let file = text(&file);
        match self {
            Self::JavaScript => Ok(vec![text(&programs.node), file]),
            Self::Python => Ok(vec![text(&programs.python), file]),
            Self::Go => {
                let program = text(&folder.join("client-go"));
                output(&["go", "build", "-o", &program, &file]).await?;
                Ok(vec![program])
            }
            Self::Java => {
                output(&["javac", "-d", &text(&folder), &file]).await?;
                let class_path = text(&folder);
                Ok(["java", "-cp", &class_path, "Client"]
                    .map(str::to_owned)
                    .to_vec())
            }
        }
    }

    async fn cells(self, programs: &Programs, server: &str) -> Vec<Cell> {
        let command = match self.build(programs).await {
            Ok(command) => command,
            Err(error) => return vec![Cell::Failed(error); Trait::ALL.len()],
        };
        let mut cells = Vec::new();
        for one in Trait::ALL {
            let url = format!("{server}/{self:?}/{}", one.path());
            let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            arguments.push(&url);
            let judged = match output(&arguments).await {
                Ok(output) => same("output", &output, &one.output()),
                Err(error) => Err(error),
            };
            if let Err(error) = &judged {
                let error: String = error.chars().take(1000).collect();
                println!("{}, {}: {error}", self.name(), one.title());
            }
            cells.push(Cell::of(judged, None));
        }
        cells
    }
}

/// Runs a program, and returns its output. Returns an error if the program fails.
async fn output(command: &[&str]) -> Result<String, String> {
    let [program, arguments @ ..] = command else {
        return Err("no program".to_owned());
    };
    let mut process = Command::new(program);
    process.args(arguments).kill_on_drop(true);
    let output = timeout(2 * PATIENCE, process.output()).await;
    let output = output
        .map_err(|_| format!("{program} is still running"))?
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}: {errors}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// Runs all programs at the same time.
pub(crate) async fn test(programs: &Programs, server: &str) -> Result<Table, String> {
    let tests = Language::ALL.map(|language| {
        let (programs, server) = (programs.clone(), server.to_owned());
        tokio::spawn(async move { language.cells(&programs, &server).await })
    });
    let mut table = Table::new(Trait::ALL.map(|one| one.title().to_owned()).to_vec());
    for (language, cells) in Language::ALL.into_iter().zip(tests) {
        let cells = cells.await.map_err(|error| error.to_string())?;
        table.column(language.name(), cells);
    }
    Ok(table)
}
