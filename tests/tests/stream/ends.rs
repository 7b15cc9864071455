//! How a stream ends: each cause, for each method, on each version of HTTP, under each server.
//!
//! The table of the page "How a stream ends" of the docs is held equal to what is measured here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody},
    extract::Path,
    http::StatusCode,
    routing,
};
use http_body::{Frame, SizeHint};
use sse_runtime::{
    CloseReason, Connection, RouterExt as _, Server, Shutdown, Start, Stream, StreamLimit, Topic,
    sse_endpoint,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use support::within;

type Reasons = mpsc::UnboundedSender<CloseReason>;

/// Ends as `how` says. The caller shuts the server down for `shutdown`, and the stream's own limit ends it for `max_duration`.
macro_rules! endpoint {
    ($name:ident, $path:tt, $limit:tt $(, $key:ident = $value:tt)*) => {
        #[sse_endpoint($path, on_shutdown = "close", max_duration = $limit $(, $key = $value)*)]
        async fn $name(
            Path(how): Path<String>,
            connection: Connection,
            Extension(reasons): Extension<Reasons>,
        ) -> impl Stream<Item = Result<u32, String>> {
            connection.on_close(move |reason| async move {
                let _ = reasons.send(reason);
            });
            yield_!(1);
            match how.as_str() {
                "finished" => return,
                "failed" => return Err("as asked".to_owned()),
                "panicked" => panic!("as asked"),
                "expired" => connection.expires_at(SystemTime::now()),
                "revoked" => connection.close_when(std::future::ready(())),
                "lagged" => {
                    let topic: Topic<u32> = Topic::builder().events(2).disconnect().build();
                    let updates = topic.subscribe(Start::Now);
                    for number in 0..10 {
                        topic.publish(&number).await.map_err(|error| error.to_string())?;
                    }
                    yield_all!(updates);
                    return;
                }
                "topic finished" => {
                    let topic: Topic<u32> = Topic::in_memory(2);
                    let updates = topic.subscribe(Start::Now);
                    topic.finish();
                    yield_all!(updates);
                    return;
                }
                _ => {}
            }
            pending::<()>().await;
        }
    };
}

endpoint!(get, "/get/{how}", "1h");
endpoint!(get_short, "/get-short/{how}", "50ms");
endpoint!(post, "/post/{how}", "1h", method = POST);
endpoint!(post_short, "/post-short/{how}", "50ms", method = POST);
endpoint!(
    post_all,
    "/post-all/{how}",
    "1h",
    method = POST,
    events = "all"
);
endpoint!(
    post_all_short,
    "/post-all-short/{how}",
    "50ms",
    method = POST,
    events = "all"
);
endpoint!(get_stop, "/get-stop/{how}", "1h", end = "stop");

/// One stream of each path that ends so.
fn newest() -> StreamLimit {
    StreamLimit::per_key(1, |request| {
        let path = request.uri.path();
        path.ends_with("/superseded").then(|| path.to_owned())
    })
    .newest_wins()
}

fn app(reasons: Reasons) -> Router {
    Router::new()
        .sse(get)
        .sse(get_short)
        .sse(post)
        .sse(post_short)
        .sse(post_all)
        .sse(post_all_short)
        .sse(get_stop)
        .layer(Extension(reasons))
        .layer(newest())
}

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

/// What a client saw of the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// The last chunk, `END_STREAM`, or over HTTP/1.0 the end of the connection.
    Clean,
    /// The end of the connection in the middle of a chunked body.
    Cut,
    /// A reset of the connection, or of the stream.
    Reset,
}

/// A stream that has ended.
#[derive(Debug)]
struct Ended {
    /// What came after the first event.
    frames: String,
    finish: Finish,
    reason: CloseReason,
}

/// Opens the stream at `path`, and reads to its end. The server shuts down after the first event if `shuts_down` says so.
async fn run(stack: Stack, http: Http, path: &str, shuts_down: bool) -> Ended {
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
                .takeover(stack == Stack::Serve)
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
        reason: within("the hook", reason.recv()).await.unwrap(),
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

async fn read_http2(
    addr: SocketAddr,
    method: &str,
    path: &str,
    after_first: impl FnOnce(),
) -> (String, Finish) {
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://test{path}"))
        .body(())
        .unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut data = String::new();
    let mut after_first = Some(after_first);
    loop {
        match body.data().await {
            None => return (data, Finish::Clean),
            Some(Err(error)) => {
                assert!(error.is_reset(), "{error}");
                return (data, Finish::Reset);
            }
            Some(Ok(bytes)) => {
                body.flow_control().release_capacity(bytes.len()).unwrap();
                data.push_str(std::str::from_utf8(&bytes).unwrap());
                if let Some(after_first) = after_first.take() {
                    after_first();
                }
            }
        }
    }
}

/// The status that a client gets that reconnects with what it has read, from a server that was started anew.
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

/// What is at the end of a stream, for a person to read.
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

const CAUSES: [(&str, &str); 10] = [
    ("finished", "the generator returns"),
    ("topic finished", "the topic that it reads is finished"),
    ("failed", "the generator returns an error"),
    ("panicked", "the generator panics"),
    ("shutdown", "the server shuts down"),
    ("max_duration", "`max_duration` is over"),
    ("expired", "`Connection::expires_at`"),
    ("revoked", "`Connection::close_when`"),
    ("lagged", "the topic disconnects a slow reader"),
    ("superseded", "a newer stream of its key takes its place"),
];

async fn run_cause(stack: Stack, http: Http, endpoint: &str, cause: &str) -> Ended {
    let short = if cause == "max_duration" {
        "-short"
    } else {
        ""
    };
    let path = format!("/{endpoint}{short}/{}", cause.replace(' ', "%20"));
    run(stack, http, &path, cause == "shutdown").await
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

/// How the break-off of a response looks, by the server and the version.
fn break_off(stack: Stack, http: Http) -> Finish {
    match (stack, http) {
        (_, Http::One) => Finish::Cut,
        (_, Http::Two) | (Stack::Serve | Stack::ServeInHyper, Http::OneZero) => Finish::Reset,
        // There is no access to the socket, and its end is that of the response.
        (Stack::AxumServe, Http::OneZero) => Finish::Clean,
    }
}

/// Measures one row: what ends the stream on each server, which has to be the same everywhere.
async fn measure(endpoint: &str, cause: &str) -> (String, CloseReason) {
    let mut cells = BTreeMap::new();
    for (stack, http) in STACKS {
        let ended = run_cause(stack, http, endpoint, cause).await;
        let breaks_off = if ended.finish == Finish::Clean {
            // Where a break-off looks like an end, the others say which it is.
            (break_off(stack, http) != Finish::Clean).then_some(false)
        } else {
            assert_eq!(
                ended.finish,
                break_off(stack, http),
                "{stack:?} {http:?} {cause}"
            );
            Some(true)
        };
        cells.insert(
            (stack, http),
            (describe(&ended.frames), breaks_off, ended.reason),
        );
    }
    let (frames, breaks_off, reason) = cells[&STACKS[0]].clone();
    for ((stack, http), cell) in &cells {
        let (same_frames, same_end) = (
            cell.0 == frames,
            cell.1.is_none_or(|cell| Some(cell) == breaks_off),
        );
        assert!(
            same_frames && same_end && cell.2 == reason,
            "{endpoint} {cause}: {stack:?} {http:?}: {cell:?}"
        );
    }
    let end = if breaks_off == Some(true) {
        "breaks off"
    } else {
        "ends"
    };
    let cell = if frames == "nothing" {
        end.to_owned()
    } else {
        format!("{frames}, {end}")
    };
    (cell, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn table_in_the_docs_is_what_streams_do() {
    let mut table = String::from(
        "| why | reason | `GET` | other methods | with `events = \"all\"` | a client that reconnects to the `GET` |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (cause, why) in CAUSES {
        let (get, reason) = measure("get", cause).await;
        let (post, post_reason) = measure("post", cause).await;
        let (all, all_reason) = measure("post-all", cause).await;
        assert_eq!((reason, reason), (post_reason, all_reason), "{cause}");
        let ended = run_cause(Stack::Serve, Http::One, "get", cause).await;
        let returns = match returning("/get/finished", &ended.frames).await {
            204 => "`204`",
            _ => "a new run",
        };
        writeln!(
            table,
            "| {why} | `{reason}` | {get} | {post} | {all} | {returns} |"
        )
        .unwrap();
    }
    let docs = include_str!("../../../sse-runtime/docs/how_a_stream_ends.md");
    for (server, stack) in [
        ("`serve`", Stack::Serve),
        ("`axum::serve`", Stack::AxumServe),
    ] {
        let row = docs
            .lines()
            .find(|line| line.starts_with(&format!("| {server}")));
        let cells: Vec<&str> = row.unwrap().split(" | ").collect();
        let expected = |http| match break_off(stack, http) {
            Finish::Clean => "cannot be told from an end",
            Finish::Cut => "no last chunk",
            Finish::Reset if http == Http::OneZero => "a reset of the connection",
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
        "the table of the docs is not what was measured:\n{table}"
    );
}

#[tokio::test]
async fn end_stop_sends_done() {
    let ended = run(Stack::Serve, Http::One, "/get-stop/finished", false).await;
    assert_eq!(describe(&ended.frames), "`done`");
    assert_eq!(returning("/get-stop/finished", &ended.frames).await, 204);
}

/// What else the framework writes of a topic: the gap, and the ids by which a client resumes.
mod topics {
    use axum::extract::State;
    use sse_runtime::LastEventId;

    use super::*;

    #[sse_endpoint("/own", method = POST, keep_alive = "20ms")]
    async fn own(
        State(topic): State<Topic<u32>>,
        last: LastEventId,
        connection: Connection,
        Extension(reasons): Extension<Reasons>,
    ) -> impl Stream<Item = u32> {
        connection.on_close(move |reason| async move {
            let _ = reasons.send(reason);
        });
        yield_!(1);
        yield_all!(topic.subscribe(last).only(|number| *number > 100));
    }

    #[sse_endpoint("/handed-out", method = POST)]
    async fn handed_out(
        State(topic): State<Topic<u32>>,
        last: LastEventId,
    ) -> impl Stream<Item = String> {
        let mut updates = topic.subscribe(last);
        while let Some(next) = updates.recv().await {
            match next {
                Ok(update) => yield_!(update.to_string()),
                Err(gap) => {
                    yield_!(format!("gap: {}", gap.reason()));
                    return;
                }
            }
        }
    }

    async fn start(topic: &Topic<u32>) -> (SocketAddr, mpsc::UnboundedReceiver<CloseReason>) {
        let (reasons, reason) = mpsc::unbounded_channel();
        let app = Router::new().sse(own).sse(handed_out);
        let app = app.layer(Extension(reasons)).with_state(topic.clone());
        (support::serve(app).await, reason)
    }

    async fn post(addr: SocketAddr, path: &str, id: &str) -> support::Client {
        let mut client = support::Client::connect(addr).await;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nlast-event-id: {id}\r\n\r\n"
        );
        client.send(request.as_bytes()).await;
        client.head().await;
        client
    }

    #[tokio::test]
    async fn gap_fails_a_stream_of_own_events() {
        let (addr, mut reason) = start(&Topic::in_memory(2)).await;
        let mut client = post(addr, "/own", "another-1").await;
        assert_eq!(client.expect_chunk().await, "data: 1\n\n");
        assert_eq!(client.chunk().await, Err(support::BrokenOff));
        let reason = within("the hook", reason.recv()).await;
        assert_eq!(reason, Some(CloseReason::Failed));
    }

    #[tokio::test]
    async fn gap_is_handed_out_by_recv() {
        let (addr, _reason) = start(&Topic::in_memory(2)).await;
        let mut client = post(addr, "/handed-out", "another-1").await;
        assert_eq!(client.expect_chunk().await, "data: \"gap: unknown\"\n\n");
        assert_eq!(client.chunk().await, Ok(None));
    }

    #[tokio::test]
    async fn keep_alive_of_a_post_holds_no_id() {
        let topic = Topic::in_memory(2);
        let (addr, _reason) = start(&topic).await;
        let position = topic.subscribe(Start::Now).position();
        let mut client = post(addr, "/own", &position.to_string()).await;
        assert_eq!(client.expect_chunk().await, "data: 1\n\n");
        // The position moves on, and none of it is sent.
        topic.publish(&2).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.expect_chunk().await, ":\n");
        }
    }
}

/// A body that fails at once, and is at its end from then on, as hyper's own is.
#[derive(Default)]
struct FailsAtOnce {
    has_failed: bool,
}

impl HttpBody for FailsAtOnce {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.has_failed = true;
        let error = std::io::Error::other("the upstream has reset the connection");
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.has_failed
    }

    fn size_hint(&self) -> SizeHint {
        match self.has_failed {
            true => SizeHint::with_exact(0),
            false => SizeHint::default(),
        }
    }
}

#[tokio::test]
async fn http2_resets_a_body_that_fails_at_once() {
    let app = Router::new().route(
        "/",
        routing::get(async || Body::new(FailsAtOnce::default())),
    );
    let addr = support::serve(app).await;
    let (body, finish) = within("the end of the body", read_http2(addr, "GET", "/", || {})).await;
    assert_eq!((body.as_str(), finish), ("", Finish::Reset));
}
