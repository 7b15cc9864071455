//! Compares the build times of three programs: one with 100 endpoints, the same program with the
//! `openapi` feature, and one with the same endpoints written by hand. This module generates the
//! programs.

use std::{fmt::Write as _, fs, io, path::Path, process::Command, time::Instant};

use super::{
    entrant::{BY_HAND, OURS},
    results::{Measured, Sample},
};
use crate::steps::{root, succeed};

/// The program with the `openapi` feature.
pub(crate) const DESCRIBED: &str = "with the feature openapi";

pub(crate) const CLEAN: &str = "clean build s";
pub(crate) const CHECK: &str = "check s";
pub(crate) const SIZE: &str = "program KiB";

const MODULES: usize = 10;
const EACH: usize = 10;

/// How many times each program is built from scratch. The programs take turns.
const CLEANS: usize = 2;

/// How many times `cargo check` runs on each program after an edit.
const EDITS: usize = 5;

struct Program {
    name: &'static str,
    dependencies: &'static str,
    uses: &'static str,
    endpoint: fn(usize) -> String,
    /// Returns the code that adds an endpoint to the router.
    mount: fn(&str) -> String,
    main: &'static str,
}

const PROGRAMS: [Program; 3] = [
    OUR_PROGRAM,
    Program {
        name: DESCRIBED,
        dependencies: "sse-runtime = { path = \"@ROOT@/sse-runtime\", features = [\"openapi\"] }\n",
        ..OUR_PROGRAM
    },
    BY_HAND_PROGRAM,
];

const OUR_PROGRAM: Program = Program {
    name: OURS,
    dependencies: "sse-runtime = { path = \"@ROOT@/sse-runtime\" }\n",
    uses: "use sse_runtime::{SseRouterExt as _, Stream, sse_endpoint};\n",
    endpoint: |number| {
        format!(
            r#"
#[derive(serde::Serialize)]
struct Tick{number} {{ seq: u64, name: String, value: f64 }}

#[sse_endpoint("/ticks/{number}")]
async fn ticks_{number}(Query(from): Query<From>) -> impl Stream<Item = Tick{number}> {{
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for seq in from.seq.. {{
        every.tick().await;
        yield_!(Tick{number} {{ seq, name: format!("tick {{seq}}"), value: {number}.5 }});
    }}
}}
"#
        )
    },
    mount: |name| format!(".sse({name})"),
    main: "    sse_runtime::serve(\"127.0.0.1:3000\", app).await\n",
};

const BY_HAND_PROGRAM: Program = Program {
    name: BY_HAND,
    dependencies: "async-stream = \"0.3\"\ntokio-stream = \"0.1\"\n",
    uses: "use axum::{Error, response::sse::{Event, KeepAlive, Sse}, routing::get};\nuse async_stream::stream;\nuse tokio_stream::Stream;\n",
    endpoint: |number| {
        format!(
            r#"
#[derive(serde::Serialize)]
struct Tick{number} {{ seq: u64, name: String, value: f64 }}

async fn ticks_{number}(Query(from): Query<From>) -> Sse<impl Stream<Item = Result<Event, Error>>> {{
    let events = stream! {{
        let mut every = tokio::time::interval(Duration::from_secs(1));
        for seq in from.seq.. {{
            every.tick().await;
            yield Event::default().json_data(Tick{number} {{ seq, name: format!("tick {{seq}}"), value: {number}.5 }});
        }}
    }};
    Sse::new(events).keep_alive(KeepAlive::default())
}}
"#
        )
    },
    mount: |name| {
        let number = name.trim_start_matches("ticks_");
        format!(".route(\"/ticks/{number}\", get({name}))")
    },
    main: "    let listener = tokio::net::TcpListener::bind(\"127.0.0.1:3000\").await?;\n    axum::serve(listener, app).await\n",
};

pub(crate) fn measure() -> io::Result<Measured> {
    let folder = root().join("target/bench/builds");
    let mut measured = Measured::new();
    for program in &PROGRAMS {
        let folder = folder.join(program.name.replace(' ', "-"));
        program.write(&folder)?;
        // Download the dependencies first, so that the measured build times do not include the
        // downloads.
        succeed(&mut cargo(&folder, "fetch"))?;
    }
    for clean in 1..=CLEANS {
        for program in &PROGRAMS {
            let folder = folder.join(program.name.replace(' ', "-"));
            if folder.join("target").exists() {
                fs::remove_dir_all(folder.join("target"))?;
            }
            let took = time(cargo(&folder, "build").arg("--release"))?;
            let size = fs::metadata(folder.join("target/release/hundred"))?.len();
            println!(
                "{clean} {:34} {CLEAN} {took:.1}, {SIZE} {}",
                program.name,
                size / 1024
            );
            let sample = Sample::from([
                (CLEAN.to_owned(), took),
                (SIZE.to_owned(), size as f64 / 1024.0),
            ]);
            measured
                .entry(program.name.to_owned())
                .or_default()
                .push(sample);
        }
    }
    for program in &PROGRAMS {
        let folder = folder.join(program.name.replace(' ', "-"));
        time(&mut cargo(&folder, "check"))?;
    }
    for edit in 1..=EDITS {
        for program in &PROGRAMS {
            let folder = folder.join(program.name.replace(' ', "-"));
            let source = folder.join("src/ticks_5.rs");
            let before = fs::read_to_string(&source)?;
            let after = before.replacen("\"tick {seq}\"", &format!("\"{edit} {{seq}}\""), 1);
            fs::write(&source, after)?;
            let check = time(&mut cargo(&folder, "check"))?;
            fs::write(&source, before)?;
            println!("{edit} {:34} {CHECK} {check:.2}", program.name);
            let sample = Sample::from([(CHECK.to_owned(), check)]);
            measured
                .entry(program.name.to_owned())
                .or_default()
                .push(sample);
        }
    }
    Ok(measured)
}

impl Program {
    fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder.join("src"))?;
        let root = root().canonicalize()?;
        let dependencies = self.dependencies.replace("@ROOT@", &root.to_string_lossy());
        let manifest = format!(
            "[workspace]\n\n[package]\nname = \"hundred\"\nedition = \"2024\"\n\n[dependencies]\naxum = \"0.8\"\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\ntokio = {{ version = \"1\", features = [\"full\"] }}\n{dependencies}"
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        // Use the same dependency versions as the other measurements.
        fs::copy(
            root.join("benches/rig/Cargo.lock"),
            folder.join("Cargo.lock"),
        )?;
        let mut main = String::from("use axum::Router;\n\n");
        let mut app = String::from("    let app = Router::new()");
        for module in 0..MODULES {
            let mut source = format!(
                "use std::time::Duration;\n\nuse axum::{{Router, extract::Query}};\n{}\n\
                 #[derive(serde::Deserialize)]\nstruct From {{ #[serde(default)] seq: u64 }}\n",
                self.uses
            );
            let mut mounts = String::new();
            for number in module * EACH..(module + 1) * EACH {
                source += &(self.endpoint)(number);
                mounts += &(self.mount)(&format!("ticks_{number}"));
            }
            source += &format!("\npub fn routes() -> Router {{\n    Router::new(){mounts}\n}}\n");
            fs::write(folder.join(format!("src/ticks_{module}.rs")), source)?;
            // Writing to a string cannot fail.
            let _ = writeln!(main, "mod ticks_{module};");
            let _ = write!(app, ".merge(ticks_{module}::routes())");
        }
        main += &format!(
            "\n#[tokio::main]\nasync fn main() -> std::io::Result<()> {{\n{app};\n{}}}\n",
            self.main
        );
        fs::write(folder.join("src/main.rs"), main)
    }
}

fn cargo(folder: &Path, command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args([command, "--quiet"]).current_dir(folder);
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo
}

fn time(command: &mut Command) -> io::Result<f64> {
    let start = Instant::now();
    succeed(command)?;
    Ok(start.elapsed().as_secs_f64())
}
