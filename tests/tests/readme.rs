//! The README's programs equal the examples, and do what the README says.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use tokio::net::TcpStream;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program as the README prints it, by the name of its file.
struct Program(&'static str);

/// The running program, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Program {
    fn source(&self) -> String {
        fs::read_to_string(root().join(format!("examples/{}.rs", self.0))).unwrap()
    }

    /// Builds and starts it, and returns when it listens.
    async fn run(&self) -> Running {
        let busy = TcpStream::connect("127.0.0.1:3000").await.is_ok();
        assert!(
            !busy,
            "the README's programs need port 3000, and something listens on it"
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
            // A program that has ended will never listen.
            let ended = running.0.try_wait().unwrap();
            assert_eq!(ended, None, "{} did not come up", self.0);
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

/// What a client receives, without the lines that depend on the clock, and without the keep-alive,
/// which needs silence.
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
async fn readme_programs_match_examples_and_behave_equally() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let programs = [
        Program("readme_first"),
        Program("readme_orders"),
        Program("readme_by_hand"),
    ];
    for program in &programs {
        let block = format!("```rust\n{}```\n", program.source());
        assert!(
            readme.contains(&block),
            "the README does not print examples/{}.rs",
            program.0
        );
    }
    let [first, orders, by_hand] = programs;

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
    // axum sends a `retry` before the first event as a frame of its own, and we send it in the
    // event's frame.
    let [ours, by_hand] = &answers[..] else {
        unreachable!("two programs")
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
