//! Hooks that run when a stream closes.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
};
use sse_runtime::{CloseReason, Connection, Shutdown, Stream, sse_endpoint, testing};
use support::{Client, SseRouterExt as _, log::Log, serve, within};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Told, waits};

#[sse_endpoint("/ends/{how}", max_duration = "1s", on_shutdown = "close")]
async fn ends(
    Path(how): Path<String>,
    connection: Connection,
    State(told): State<Told>,
) -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let _running = told.generators.enter();
    told.watch(&connection);
    match how.as_str() {
        "rejected" => return Err(StatusCode::FORBIDDEN),
        "panicked_before" => panic!("on purpose"),
        "revoked_before" => {
            connection.close_when(std::future::ready(()));
            pending::<()>().await;
        }
        "expired_before" => {
            connection.expires_at(SystemTime::UNIX_EPOCH);
            pending::<()>().await;
        }
        "nothing" => return,
        _ => {}
    }
    yield_!(1);
    match how.as_str() {
        "finished" => return,
        "failed" => return Err("failed".to_owned()),
        "panicked" => panic!("on purpose"),
        "expired" => connection.expires_at(SystemTime::now() + Duration::from_millis(50)),
        "expired_already" => connection.expires_at(Instant::now()),
        "revoked_by_panic" => connection.close_when(async { panic!("on purpose") }),
        "revoked_by_token" => {
            let token = CancellationToken::new();
            connection.close_when(token.clone());
            token.cancel();
        }
        "destructor" => {
            connection.close_when(std::future::ready(()));
            let _panics = Panics;
            pending::<()>().await;
        }
        "revoked" => {
            let revoke = told.revoke.clone();
            connection.close_when(async move { revoke.notified().await });
            told.revoke.notify_one();
        }
        _ => {}
    }
    pending::<()>().await;
}

/// A value that panics when it is dropped. A generator holds this value in a local variable.
struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

/// A stream that is allowed to finish during a shutdown and that the test can revoke.
#[sse_endpoint("/stays", on_shutdown = "finish")]
async fn stays(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u64> {
    let _running = told.generators.enter();
    told.watch(&connection);
    let revoke = told.revoke.clone();
    connection.close_when(async move { revoke.notified().await });
    yield_!(connection.id());
    pending::<()>().await;
}

/// Requests a stream and sends the `connection: close` header.
async fn ask(addr: SocketAddr, how: &str) -> Client {
    let mut client = Client::connect(addr).await;
    let request = format!("GET /ends/{how} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    client.send(request.as_bytes()).await;
    client
}

async fn why(how: &str) -> (String, CloseReason, usize, Told) {
    let (told, mut reasons) = Told::new();
    let addr = serve(Router::new().sse(ends).with_state(told.clone())).await;
    let client = ask(addr, how).await;
    let response = client.rest().await;
    let (_, reason, tasks) = within("the hook", reasons.recv()).await.unwrap();
    told.generators.until_alive(0).await;
    (response, reason, tasks, told)
}

#[tokio::test]
async fn hook_receives_the_reason_after_all_is_dropped() {
    for (how, expected, last) in [
        ("finished", CloseReason::Finished, "data: 1\n\n"),
        (
            "failed",
            CloseReason::Failed,
            "event: error\ndata: \"failed\"\n\n",
        ),
        ("panicked", CloseReason::Panicked, "data: 1\n\n"),
        ("max_duration", CloseReason::MaxDuration, "data: 1\n\n"),
        (
            "expired",
            CloseReason::Expired,
            "event: close\ndata: {\"reason\":\"expired\"}\n\n",
        ),
        (
            "expired_already",
            CloseReason::Expired,
            "event: close\ndata: {\"reason\":\"expired\"}\n\n",
        ),
        (
            "revoked",
            CloseReason::Revoked,
            "event: close\ndata: {\"reason\":\"revoked\"}\n\n",
        ),
        ("rejected", CloseReason::Rejected, "403 Forbidden"),
        ("panicked_before", CloseReason::Panicked, ""),
        ("revoked_before", CloseReason::Revoked, "403 Forbidden"),
        ("expired_before", CloseReason::Expired, "401 Unauthorized"),
        (
            "revoked_by_panic",
            CloseReason::Revoked,
            "event: close\ndata: {\"reason\":\"revoked\"}\n\n",
        ),
        (
            "revoked_by_token",
            CloseReason::Revoked,
            "event: close\ndata: {\"reason\":\"revoked\"}\n\n",
        ),
        (
            "destructor",
            CloseReason::Revoked,
            "event: close\ndata: {\"reason\":\"revoked\"}\n\n",
        ),
        ("nothing", CloseReason::Finished, ""),
    ] {
        let (response, reason, tasks, told) = why(how).await;
        assert_eq!(reason, expected, "{how}");
        assert_eq!(tasks, 0, "{how}: a task was still alive when the hook ran");
        assert!(response.contains(last), "{how}: {response}");
        // The handler ran only once.
        assert_eq!(told.tasks.count().started, 1);
    }
}

#[tokio::test]
async fn hook_distinguishes_disconnect_from_shutdown() {
    let (told, mut reasons) = Told::new();
    let shutdown = Shutdown::within(Duration::from_millis(100));
    let app = Router::new()
        .sse(waits)
        .layer(shutdown.clone())
        .with_state(told.clone());
    let addr = serve(app).await;

    let mut leaves = Client::get(addr, "/waits").await;
    leaves.head().await;
    let left: u64 = leaves.expect_chunk().await["data: ".len()..]
        .trim()
        .parse()
        .unwrap();
    let mut stays = Client::get(addr, "/waits").await;
    stays.head().await;
    let stayed: u64 = stays.expect_chunk().await["data: ".len()..]
        .trim()
        .parse()
        .unwrap();
    assert_ne!(left, stayed);

    drop(leaves);
    let first = within("the hook", reasons.recv()).await.unwrap();
    // The remaining task belongs to the stream that is still open.
    assert_eq!(first, (left, CloseReason::ClientGone, 1));
    shutdown.begin();
    let second = within("the hook", reasons.recv()).await.unwrap();
    assert_eq!(second, (stayed, CloseReason::Shutdown, 0));
    told.generators.until_alive(0).await;
    told.tasks.until_alive(0).await;
}

#[tokio::test]
async fn revoked_stream_does_not_wait_for_the_drain_time() {
    let (told, mut reasons) = Told::new();
    let shutdown = Shutdown::within(Duration::MAX);
    let app = Router::new()
        .sse(stays)
        .layer(shutdown.clone())
        .with_state(told.clone());
    let addr = serve(app).await;
    let mut client = Client::get(addr, "/stays").await;
    client.head().await;
    client.expect_chunk().await;
    shutdown.begin();
    // Open another stream after the shutdown has begun.
    let mut other = Client::get(addr, "/stays").await;
    other.head().await;
    other.expect_chunk().await;
    told.revoke.notify_waiters();
    for client in [&mut client, &mut other] {
        let last = client.expect_chunk().await;
        assert_eq!(last, "event: close\ndata: {\"reason\":\"revoked\"}\n\n");
        assert_eq!(client.chunk().await, Ok(None));
        let (_, reason, _) = within("the hook", reasons.recv()).await.unwrap();
        assert_eq!(reason, CloseReason::Revoked);
    }
    shutdown.closed().await;
}

#[tokio::test]
async fn hooks_run_once_after_a_thousand_random_endings() {
    const STREAMS: usize = 1_000;
    let (told, mut reasons) = Told::new();
    let addr = serve(Router::new().sse(ends).with_state(told.clone())).await;
    let mut clients = tokio::task::JoinSet::new();
    for at in 0..STREAMS {
        let how = [
            "finished", "failed", "panicked", "expired", "rejected", "waits",
        ][at % 6];
        let client = ask(addr, how).await;
        clients.spawn(async move {
            if at % 7 == 0 {
                // Disconnect at an arbitrary moment.
                drop(client);
            } else {
                client.rest().await;
            }
        });
    }
    within("the streams to end", clients.join_all()).await;
    told.generators.until_alive(0).await;
    told.tasks.until_alive(0).await;
    // If a client disconnected before the server had read the request, no stream was started for
    // that client.
    let started = told.generators.count().started;
    assert!(started > STREAMS / 2, "{started}");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..started {
        let (id, _, tasks) = within("a hook", reasons.recv()).await.unwrap();
        assert!(ids.insert(id), "the hook of {id} ran twice");
        // Tasks of other streams may still be alive.
        assert!(tasks < started);
    }
    assert!(reasons.try_recv().is_err());
}

#[tokio::test]
async fn panicking_or_hanging_hook_does_not_block_others() {
    #[sse_endpoint("/hooks")]
    async fn hooks(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
        connection.on_close(|_| async { panic!("in a hook") });
        connection.on_close(|_| pending());
        told.watch(&connection);
        tokio::task::yield_now().await;
        yield_!(1);
    }
    let log = Log::capture();
    let (told, mut reasons) = Told::new();
    let client = testing::Client::new(Router::new().sse(hooks).with_state(told));
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut events = client.get("/hooks").await.events();
    events.expect_event().await;
    events.expect_end().await;
    let (_, reason, _) = reasons.recv().await.unwrap();
    assert_eq!(reason, CloseReason::Finished);
    // The clock is paused, so the hooks' timeout takes no real time.
    assert!(start.elapsed() < Duration::from_secs(10));
    let log = log.text();
    for what in ["a close hook panicked", "a close hook took too long"] {
        assert!(log.contains(what), "{log}");
    }
}

#[tokio::test]
async fn late_hook_runs_but_late_task_does_not() {
    #[sse_endpoint("/hands-over")]
    async fn hands_over(
        connection: Connection,
        State(sender): State<mpsc::UnboundedSender<Connection>>,
    ) -> impl Stream<Item = u32> {
        sender.send(connection).unwrap();
        yield_!(1);
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let client = testing::Client::new(Router::new().sse(hands_over).with_state(sender));
    let mut events = client.get("/hands-over").await.events();
    events.expect_event().await;
    let connection = receiver.recv().await.unwrap();
    assert_eq!(connection.peer(), None);
    let waiting = connection.clone();
    let waiting = tokio::spawn(async move { waiting.closed().await });
    events.expect_end().await;
    within("the stream to close", waiting).await.unwrap();
    // Start waiting only after this stream has closed.
    let mut others = client.get("/hands-over").await.events();
    others.expect_event().await;
    let other = receiver.recv().await.unwrap();
    others.expect_end().await;
    within("the stream that has already closed", other.closed()).await;

    // The hook receives the original reason, although the client has since disconnected.
    drop(events);
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    connection.spawn(async move {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (told, hook) = tokio::sync::oneshot::channel();
    connection.on_close(|reason| async move { told.send(reason).unwrap() });
    let reason = within("the late hook", hook).await.unwrap();
    assert_eq!(reason, CloseReason::Finished);
    assert_eq!(
        ran.load(Ordering::Relaxed),
        0,
        "a task was started after the stream had closed"
    );
}

#[tokio::test]
async fn disconnect_waits_for_the_hooks() {
    let (told, mut reasons) = Told::new();
    let client = testing::Client::new(Router::new().sse(waits).with_state(told));
    let mut events = client.get("/waits").await.events();
    events.expect_event().await;
    events.disconnect().await;
    let (_, reason, tasks) = reasons.try_recv().unwrap();
    assert_eq!((reason, tasks), (CloseReason::ClientGone, 0));
}
