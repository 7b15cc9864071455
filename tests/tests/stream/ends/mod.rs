//! Tests how a stream ends for each cause, request method, server and HTTP version.
//!
//! The table on the docs page "How a stream ends" must match these measurements.

/// Defines an endpoint whose stream ends in the way that `how` specifies. For `shutdown`, the
/// caller shuts down the server. For `max_duration`, the endpoint's limit ends the stream.
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
                "failed" => return Err("on purpose".to_owned()),
                "panicked" => panic!("on purpose"),
                "expired" => connection.expires_at(SystemTime::now()),
                "revoked" => connection.close_when(std::future::ready(())),
                "lagged" => {
                    let topic: Topic<u32> = Topic::builder().keep(2).disconnect().build();
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
                    topic.finish().await.unwrap();
                    yield_all!(updates);
                    return;
                }
                "run lost" => {
                    let directory = tempfile::tempdir().unwrap();
                    let log = Log::open(directory.path().join("log")).await.unwrap();
                    let hub = Hub::builder(|| Topic::builder()).engine(&log, "runs").build();
                    // The hub cannot distinguish this event from an event published by a run in an
                    // earlier process.
                    let topic = hub.topic("run").await.unwrap();
                    topic.publish(&0).await.unwrap();
                    let run = hub.resume("run", Start::Now).await.unwrap();
                    yield_all!(run.unwrap());
                    return;
                }
                "run failed" | "run failed unseen" | "run panicked" | "run stopped" => {
                    yield_all!(run(&how).await);
                    return;
                }
                _ => {}
            }
            pending::<()>().await;
        }
    };
}

mod failing;
mod table;
mod topics;

use std::{future::pending, net::SocketAddr, time::SystemTime};

use axum::{Extension, Router, extract::Path, http::StatusCode};
use sse_log::Log;
use sse_runtime::{
    CloseReason, Connection, Hub, Start, Stream, StreamLimit, Topic, sse_endpoint,
    topic::Subscription,
};
use tokio::{net::TcpStream, sync::mpsc};

use support::{SseRouterExt as _, within};

type Reasons = mpsc::UnboundedSender<CloseReason>;

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
endpoint!(get_own, "/get-own/{how}", "1h", events = "own");
endpoint!(
    get_own_short,
    "/get-own-short/{how}",
    "50ms",
    events = "own"
);
endpoint!(get_abort, "/get-abort/{how}", "1h", on_cut = "abort");
endpoint!(
    get_abort_short,
    "/get-abort-short/{how}",
    "50ms",
    on_cut = "abort"
);

/// Starts a run that ends in the way that `how` specifies, either immediately or a moment later.
async fn run(how: &str) -> Subscription<u32> {
    let hub: Hub<u32> = Hub::new(|| Topic::builder().keep(2));
    let run = match how {
        "run failed" => {
            hub.spawn("run", Start::First, async |_| {
                Err::<(), _>("on purpose".to_owned())
            })
            .await
        }
        "run failed unseen" => {
            hub.spawn("run", Start::First, async |_| {
                Err::<(), _>(std::io::Error::other("on purpose"))
            })
            .await
        }
        "run panicked" => {
            hub.spawn("run", Start::First, async |_| -> () {
                panic!("on purpose")
            })
            .await
        }
        _ => {
            hub.spawn("run", Start::First, async |_| pending::<()>().await)
                .await
        }
    };
    if how == "run stopped" {
        assert!(hub.abort("run").await.unwrap());
    }
    run.unwrap()
}

/// Returns a limit that keeps only the newest stream of each path that ends in `/superseded`.
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
        .sse(get_own)
        .sse(get_own_short)
        .sse(get_abort)
        .sse(get_abort_short)
        .layer(Extension(reasons))
        .layer(newest())
}

/// How a stream ended, as seen by its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// The client received the last chunk or `END_STREAM`, or, in HTTP/1.0, the connection was
    /// closed.
    Clean,
    /// The connection was closed in the middle of a chunked body.
    Cut,
    /// The connection or the stream was reset.
    Reset,
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
