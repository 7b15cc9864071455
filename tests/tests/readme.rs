//! Checks that the programs in the README are identical to the examples and behave as described.
//! Also checks that the README's links, features and figures match the repository.

#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use tokio::net::TcpStream;

const COMPARISON: &str = "sse-runtime/docs/comparison.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// A program shown in the README or the comparison, identified by its file name.
struct Program(&'static str);

/// A running program that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Program {
    fn source(&self) -> String {
        read(&format!("examples/{}.rs", self.0))
    }

    /// Builds and starts the program. Returns once it is listening.
    async fn run(&self) -> Running {
        let busy = TcpStream::connect("127.0.0.1:3000").await.is_ok();
        assert!(
            !busy,
            "the programs in the README need port 3000, which is in use"
        );
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "examples",
                "--example",
                self.0,
            ])
            .current_dir(root())
            .status();
        assert!(built.unwrap().success());
        // This test is …/target/debug/deps/readme-….
        let test = env::current_exe().unwrap();
        let examples = test.parent().unwrap().with_file_name("examples");
        let mut running = Running(Command::new(examples.join(self.0)).spawn().unwrap());
        while TcpStream::connect("127.0.0.1:3000").await.is_err() {
            // A program that has exited will never listen.
            let ended = running.0.try_wait().unwrap();
            assert_eq!(ended, None, "{} exited without listening", self.0);
            tokio::task::yield_now().await;
        }
        running
    }
}

fn curl(args: &[&str]) -> String {
    let output = Command::new("curl")
        .arg("--silent")
        .args(args)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the frames that a client receives. The streams are too short to contain a keep-alive.
fn frames(path: &str, args: &[&str]) -> String {
    let url = format!("http://127.0.0.1:3000{path}");
    curl(&[args, &["--max-time", "10", &url]].concat())
}

fn status(path: &str, args: &[&str]) -> String {
    frames(
        path,
        &[
            args,
            &["--output", "/dev/null", "--write-out", "%{http_code}"],
        ]
        .concat(),
    )
}

#[tokio::test]
async fn readme_programs_match_the_examples() {
    let [first, orders, by_hand] = ["readme_first", "readme_orders", "readme_by_hand"].map(Program);
    for (file, kind, program) in [
        ("README.md", "rust", &first),
        (COMPARISON, "rust,ignore", &orders),
        (COMPARISON, "rust,ignore", &by_hand),
    ] {
        let block = format!("```{kind}\n{}```\n", program.source());
        assert!(
            read(file).contains(&block),
            "{file} does not contain examples/{}.rs",
            program.0
        );
    }

    let running = first.run().await;
    let url = "http://127.0.0.1:3000/clock";
    let seen = curl(&["--include", "--no-buffer", "--max-time", "2", url]);
    for line in [
        "HTTP/1.1 200 OK\r\n",
        "content-type: text/event-stream; charset=utf-8\r\n",
        "cache-control: no-cache, no-store, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "connection: keep-alive\r\n",
    ] {
        assert!(seen.contains(line), "{seen}");
    }
    assert!(seen.matches("data: {\"time\":\"20").count() >= 2, "{seen}");
    drop(running);

    let mut answers = Vec::new();
    for program in [orders, by_hand] {
        let running = program.run().await;
        answers.push([
            frames("/orders/1/steps", &[]),
            frames("/orders/1/steps", &["--header", "Last-Event-ID: 2"]),
            frames("/orders/1/steps?lastEventId=1", &[]),
            frames("/orders/500/steps", &[]),
            status("/orders/404/steps", &[]),
            status("/orders/x/steps", &[]),
            status("/orders/1/steps", &["--header", "Last-Event-ID: 3~done"]),
        ]);
        drop(running);
    }
    // axum sends the initial `retry` in a separate frame, but we send it in the same frame as the
    // first event, so join the two frames before comparing.
    let [ours, by_hand] = &answers[..] else {
        unreachable!("there are two programs")
    };
    let by_hand = by_hand
        .each_ref()
        .map(|text| text.replace("retry: 3000\n\n", "retry: 3000\n"));
    assert_eq!(*ours, by_hand);
    let whole = "retry: 3000\nid: 1\ndata: {\"number\":1}\n\nid: 2\ndata: {\"number\":2}\n\n\
                 id: 3\ndata: {\"number\":3}\n\nevent: done\nid: 3~done\ndata: null\n\n";
    assert_eq!(answers[0][0], whole);
    assert!(answers[0][3].ends_with("event: error\ndata: {\"at\":3}\n\n"));
    assert_eq!(answers[0][4..], ["404", "400", "204"]);
}

/// The README shows one function from the comparison and the line counts of both programs.
#[test]
fn readme_shows_the_comparison() {
    let (readme, comparison) = (read("README.md"), read(COMPARISON));
    let orders = Program("readme_orders").source();
    let (_, endpoint) = orders.split_once("\n#[sse_endpoint").unwrap();
    let (endpoint, _) = endpoint.split_once("\n#[tokio::main]").unwrap();
    assert!(readme.contains(&format!("```rust,ignore\n#[sse_endpoint{endpoint}```\n")));
    for (program, sentence) in [
        ("readme_orders", "The whole program has {} lines;"),
        ("readme_by_hand", "the program has {} lines."),
    ] {
        let lines = Program(program).source().lines().count();
        let sentence = sentence.replace("{}", &lines.to_string());
        assert!(readme.contains(&sentence), "{sentence}");
    }
    let (_, conclusion) = comparison
        .split_once("still has these problems:\n")
        .unwrap();
    assert!(conclusion.contains("has advantages, too"));
    assert!(
        readme.contains(conclusion),
        "the conclusions in the README and in {COMPARISON} differ"
    );
}

/// The README shows two lines of a recipe, which is compiled and run as a doc test.
#[test]
fn readme_shows_lines_of_a_recipe() {
    let (readme, recipes) = (read("README.md"), read("sse-runtime/docs/recipes.md"));
    let (_, lines) = readme
        .split_once("response's status:\n\n```rust,ignore\n")
        .unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    assert!(lines.contains("first_ok"), "{lines}");
    for line in lines.lines() {
        assert!(recipes.contains(&format!("    {line}\n")), "{line}");
    }
}

#[test]
fn readme_links_to_files_that_exist() {
    const REPOSITORY: &str = "https://github.com/sse-endpoint/sse-endpoint/blob/main/";
    const RAW: &str = "https://raw.githubusercontent.com/sse-endpoint/sse-endpoint/main/";
    let readme = read("README.md");
    for base in [REPOSITORY, RAW] {
        let mut links = 0;
        for link in readme.split(base).skip(1) {
            let end = link.find([')', '"']).unwrap();
            assert!(root().join(&link[..end]).is_file(), "{}", &link[..end]);
            links += 1;
        }
        assert!(links > 1, "no link begins with {base}");
    }
    // crates.io resolves relative links against the crate's directory, not the README's directory.
    for link in readme.split("](").skip(1) {
        assert!(
            link.starts_with("https://") || link.starts_with('#'),
            "{link}"
        );
    }
}

#[test]
fn readme_lists_the_features_of_the_crate() {
    let manifest = read("sse-runtime/Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let (features, _) = features.split_once("\n\n").unwrap();
    let mut features: Vec<&str> = features
        .lines()
        .filter_map(|line| line.split_once(" = ["))
        .map(|(name, _)| name)
        .filter(|name| *name != "default")
        .collect();
    features.sort_unstable();
    let readme = read("README.md");
    let (_, table) = readme.split_once("| feature | what it adds |\n").unwrap();
    let listed: Vec<&str> = table
        .lines()
        .map_while(|line| line.strip_prefix("| "))
        .filter_map(|row| row.strip_prefix('`')?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, features);
}

/// The figures in the README are medians from `docs/performance.md`. Each measurement overwrites
/// that file, so the README must be updated too.
#[test]
fn readme_repeats_the_measured_figures() {
    let (readme, measured) = (read("README.md"), read("docs/performance.md"));
    for (row, scenario) in [
        (
            "| memory per idle stream, with 10,000 open streams, KiB | ",
            "| memory used by 10,000 idle streams (hand-written axum without keep-alive) | KiB/stream | ",
        ),
        (
            "| maximum deliveries per second, 1,000 subscribers of a topic | ",
            "| maximum deliveries, 1,000 subscribers | deliveries/s | ",
        ),
        (
            "| CPU time per delivery, 1,000 subscribers at 50 events per second, µs | ",
            "| fan-out to 1,000 subscribers at 50 events/s | cpu us/event | ",
        ),
    ] {
        let bars = measured
            .lines()
            .filter_map(|line| line.strip_prefix(scenario));
        let mut by_hand = bars.filter_map(|bar| bar.split_once(" | hand-written axum: "));
        let (ours, peer) = by_hand.next().unwrap();
        let (peer, _) = peer.split_once(" | ").unwrap();
        // A cell contains the median, followed by the minimum and maximum in brackets unless the
        // minimum and the maximum are equal.
        let [ours, peer] = [ours, peer].map(|cell| cell.split(" [").next().unwrap());
        let row = format!("{row}{ours} | {peer} |\n");
        assert!(readme.contains(&row), "the README has no row {row}");
    }
}
