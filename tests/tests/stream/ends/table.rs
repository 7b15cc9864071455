//! Measures the table on the docs page "How a stream ends".

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, time::Duration};

use sse_runtime::{CloseReason, Server, Shutdown};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use support::within;

use super::{Finish, app, read_http2};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stack {
    Serve,
    ServeInHyper,
    AxumServe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Http {
    One,
    OneZero,
    Two,
}

/// A stream that has ended.
#[derive(Debug)]
struct Ended {
    /// The frames after the first event.
    frames: String,
    finish: Finish,
    reason: CloseReason,
}

/// Opens the stream at `path` and reads until the stream ends. If `shuts_down` is set, the server
/// shuts down after the first event.
async fn open(stack: Stack, http: Http, path: &str, shuts_down: bool) -> Ended {
    let (reasons, mut reason) = mpsc::unbounded_channel();
    let shutdown = Shutdown::within(Duration::from_millis(100));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app(reasons);
    match stack {
        Stack::AxumServe => {
            let app = app.layer(shutdown.clone());
            tokio::spawn(async move { axum::serve(listener, app).await });
        }
        Stack::Serve | Stack::ServeInHyper => {
            let server = Server::new(app)
                .bypass_hyper(stack == Stack::Serve)
                .shutdown(shutdown.clone());
            tokio::spawn(server.serve(listener));
        }
    }
    let method = if path.starts_with("/get") {
        "GET"
    } else {
        "POST"
    };
    let newer = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    let after_first = || {
        if shuts_down {
            shutdown.begin();
        }
        if path.ends_with("/superseded") {
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(addr).await.unwrap();
                socket.write_all(newer.as_bytes()).await.unwrap();
                while socket.read_buf(&mut Vec::new()).await.unwrap() > 0 {}
            });
        }
    };
    let (body, finish) = within("the end of the stream", async {
        match http {
            Http::Two => read_http2(addr, method, path, after_first).await,
            _ => read_http1(addr, http, method, path, after_first).await,
        }
    })
    .await;
    let frames = body.strip_prefix("data: 1\n\n");
    let frames = frames.unwrap_or_else(|| panic!("{path}: {body:?}"));
    Ended {
        frames: frames.to_owned(),
        finish,
        reason: within("the close hook", reason.recv()).await.unwrap(),
    }
}

async fn read_http1(
    addr: SocketAddr,
    http: Http,
    method: &str,
    path: &str,
    after_first: impl FnOnce(),
) -> (String, Finish) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let version = if http == Http::OneZero { "1.0" } else { "1.1" };
    let request =
        format!("{method} {path} HTTP/{version}\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut after_first = Some(after_first);
    let end = loop {
        match socket.read_buf(&mut received).await {
            Ok(0) => break Finish::Cut,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                break Finish::Reset;
            }
        }
        let text = String::from_utf8_lossy(&received);
        if text.contains("data: 1\n\n")
            && let Some(after_first) = after_first.take()
        {
            after_first();
        }
        if http == Http::One && text.ends_with("0\r\n\r\n") {
            break Finish::Clean;
        }
    };
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 OK"), "{head}");
    if http == Http::OneZero {
        let end = if end == Finish::Cut {
            Finish::Clean
        } else {
            end
        };
        return (body.to_owned(), end);
    }
    let mut data = String::new();
    let mut rest = body;
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        data.push_str(&chunk[..size]);
        rest = chunk[size..].strip_prefix("\r\n").unwrap();
    }
    (data, end)
}

/// Returns the status that a restarted server sends to a client that reconnects with the last ID in
/// `frames`.
async fn returning(path: &str, frames: &str) -> u16 {
    let (reasons, _reason) = mpsc::unbounded_channel();
    let addr = support::serve(app(reasons)).await;
    let mut request = reqwest::Client::new().get(format!("http://{addr}{path}"));
    let ids = frames.lines().filter_map(|line| line.strip_prefix("id: "));
    let id = ids.fold(None, |_, id| Some(id));
    if let Some(id) = id {
        request = request.header("last-event-id", id);
    }
    request.send().await.unwrap().status().as_u16()
}

/// Lists the frames for a table cell.
fn describe(frames: &str) -> String {
    let names: Vec<&str> = frames
        .lines()
        .filter_map(|line| {
            let (field, value) = line.split_once(": ")?;
            match field {
                "event" => Some(value),
                "retry" => Some("retry"),
                _ => None,
            }
        })
        .collect();
    match names[..] {
        [] => "nothing".to_owned(),
        _ => format!("`{}`", names.join("`, `")),
    }
}

const CAUSES: [(&str, &str); 15] = [
    ("finished", "the generator returns"),
    ("topic finished", "its topic is finished"),
    ("failed", "the generator returns an error"),
    ("panicked", "the generator panics"),
    ("shutdown", "the server shuts down"),
    ("max_duration", "`max_duration` elapses"),
    (
        "expired",
        "the time passed to `Connection::expires_at` is reached",
    ),
    (
        "revoked",
        "the future passed to `Connection::close_when` completes",
    ),
    ("lagged", "the topic disconnects a slow reader"),
    ("superseded", "a newer stream with the same key replaces it"),
    (
        "run failed",
        "its run returns an error that implements `Serialize`",
    ),
    (
        "run failed unseen",
        "its run returns any other error, or is abandoned",
    ),
    ("run panicked", "its run panics"),
    ("run stopped", "its run is stopped by `Hub::abort`"),
    (
        "run lost",
        "its run is stored, and the process that ran it has stopped",
    ),
];

async fn run_cause(stack: Stack, http: Http, endpoint: &str, cause: &str) -> Ended {
    let short = if cause == "max_duration" {
        "-short"
    } else {
        ""
    };
    let path = format!("/{endpoint}{short}/{}", cause.replace(' ', "%20"));
    open(stack, http, &path, cause == "shutdown").await
}

const STACKS: [(Stack, Http); 8] = [
    (Stack::Serve, Http::One),
    (Stack::Serve, Http::OneZero),
    (Stack::Serve, Http::Two),
    (Stack::ServeInHyper, Http::One),
    (Stack::ServeInHyper, Http::OneZero),
    (Stack::ServeInHyper, Http::Two),
    (Stack::AxumServe, Http::One),
    (Stack::AxumServe, Http::OneZero),
];

/// Returns how a cut-off response appears to a client of this server in this HTTP version.
fn cut_off(stack: Stack, http: Http) -> Finish {
    match (stack, http) {
        (_, Http::One) => Finish::Cut,
        (_, Http::Two) | (Stack::Serve | Stack::ServeInHyper, Http::OneZero) => Finish::Reset,
        // `axum::serve` gives no access to the socket, so the connection closes as if the response
        // were complete.
        (Stack::AxumServe, Http::OneZero) => Finish::Clean,
    }
}

/// Measures one cell of the table. Every server and HTTP version must give the same result.
async fn measure(endpoint: &str, cause: &str) -> (String, CloseReason) {
    let mut cells = BTreeMap::new();
    for (stack, http) in STACKS {
        let ended = run_cause(stack, http, endpoint, cause).await;
        let is_cut_off = if ended.finish == Finish::Clean {
            // If a truncated response is indistinguishable from a complete one on this server, only
            // the other servers' results count.
            (cut_off(stack, http) != Finish::Clean).then_some(false)
        } else {
            assert_eq!(
                ended.finish,
                cut_off(stack, http),
                "{stack:?} {http:?} {cause}"
            );
            Some(true)
        };
        cells.insert(
            (stack, http),
            (describe(&ended.frames), is_cut_off, ended.reason),
        );
    }
    let (frames, is_cut_off, reason) = cells[&STACKS[0]].clone();
    for ((stack, http), cell) in &cells {
        let (same_frames, same_end) = (
            cell.0 == frames,
            cell.1.is_none_or(|cell| Some(cell) == is_cut_off),
        );
        assert!(
            same_frames && same_end && cell.2 == reason,
            "{endpoint} {cause}: {stack:?} {http:?}: {cell:?}"
        );
    }
    let end = if is_cut_off == Some(true) {
        "is aborted"
    } else {
        "ends"
    };
    let cell = if frames == "nothing" {
        end.to_owned()
    } else {
        format!("{frames}, then {end}")
    };
    (cell, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn table_in_the_docs_matches_real_streams() {
    let mut table = String::from(
        "| cause | reason | `GET` | `GET`, `events = \"own\"` | `GET`, `on_cut = \"abort\"` | other methods | other methods, `events = \"all\"` | if the `GET` client reconnects |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (cause, why) in CAUSES {
        let mut cells = Vec::new();
        let mut reasons = Vec::new();
        for endpoint in ["get", "get-own", "get-abort", "post", "post-all"] {
            let (cell, reason) = measure(endpoint, cause).await;
            cells.push(cell);
            let reason = format!("`{reason}`");
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        // A stopped run counts as finished unless the response is cut off.
        assert!(reasons.len() == 1 || cause == "run stopped", "{cause}");
        let ended = run_cause(Stack::Serve, Http::One, "get", cause).await;
        let returns = match returning("/get/finished", &ended.frames).await {
            204 => "`204`",
            _ => "a new stream",
        };
        let (reasons, cells) = (reasons.join(", "), cells.join(" | "));
        writeln!(table, "| {why} | {reasons} | {cells} | {returns} |").unwrap();
    }
    let docs = include_str!("../../../../sse-runtime/docs/how_a_stream_ends.md");
    for (server, stack) in [
        ("`serve`", Stack::Serve),
        ("`axum::serve`", Stack::AxumServe),
    ] {
        let row = docs
            .lines()
            .find(|line| line.starts_with(&format!("| {server}")));
        let cells: Vec<&str> = row.unwrap().split(" | ").collect();
        let expected = |http| match cut_off(stack, http) {
            Finish::Clean => "indistinguishable from a normal end",
            Finish::Cut => "the last chunk is missing",
            Finish::Reset if http == Http::OneZero => "the connection is reset",
            Finish::Reset => "`RST_STREAM`",
        };
        assert_eq!(cells[1], expected(Http::One), "{server}");
        assert_eq!(cells[2], expected(Http::OneZero), "{server}");
        assert_eq!(
            cells[3].trim_end_matches(" |"),
            expected(Http::Two),
            "{server}"
        );
    }
    assert!(
        docs.contains(&table),
        "the table in the docs does not match the measured table:\n{table}"
    );
}

#[tokio::test]
async fn end_stop_sends_done() {
    let ended = open(Stack::Serve, Http::One, "/get-stop/finished", false).await;
    assert_eq!(describe(&ended.frames), "`done`");
    assert_eq!(returning("/get-stop/finished", &ended.frames).await, 204);
}
