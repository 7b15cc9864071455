//! Close reasons. The test ends streams by their real causes and checks that the hook, the span and
//! the metrics agree on the reason.
//!
//! A process can have only one metrics recorder, so a single test must cover all endpoints. This is
//! why the file exceeds 450 lines.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Path, http::StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sse_runtime::{
    CloseReason, Connection, Hub, Shutdown, Start, Stream, StreamLimit, Topic, sse_endpoint,
    topic::HubError,
};
use support::{Client, SseRouterExt as _, log::Log, server_of, within};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};

type Told = mpsc::UnboundedSender<(u64, CloseReason)>;

/// Reports the stream's close reason to the test.
fn watch(connection: &Connection, told: Told) {
    let id = connection.id();
    connection.on_close(move |reason| async move {
        let _ = told.send((id, reason));
    });
}

#[sse_endpoint("/ends/{how}", max_duration = "300ms")]
async fn ends(
    Path(how): Path<String>,
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> impl Stream<Item = Result<String, String>> {
    watch(&connection, told);
    tracing::info!("logged by the handler");
    yield_!("first".to_owned());
    match how.as_str() {
        "finished" => {
            yield_!("second".to_owned());
            return;
        }
        "failed" => return Err("on purpose".to_owned()),
        "expired" => connection.expires_at(SystemTime::now()),
        "revoked" => connection.close_when(std::future::ready(())),
        "panicked" => panic!("on purpose"),
        _ => {}
    }
    pending::<()>().await;
}

/// Stays open until the server shuts down or the client disconnects.
#[sse_endpoint("/stays")]
async fn stays(
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> impl Stream<Item = u32> {
    watch(&connection, told);
    yield_!(1);
    pending::<()>().await;
}

/// Yields more than the client reads.
#[sse_endpoint("/floods")]
async fn floods(
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> impl Stream<Item = String> {
    watch(&connection, told);
    loop {
        yield_!("x".repeat(1_000));
    }
}

/// Falls behind on a topic.
#[sse_endpoint("/lags")]
async fn lags(
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> impl Stream<Item = u32> {
    watch(&connection, told);
    let topic: Topic<u32> = Topic::builder().keep(2).disconnect().build();
    let updates = topic.subscribe(Start::Now);
    for number in 0..10 {
        if let Err(error) = topic.publish(&number).await {
            tracing::error!(%error, "failed to publish a number");
        }
    }
    yield_all!(updates);
}

/// Yields more events than fit in one write, without waiting between them.
#[sse_endpoint("/counts/{how}", flush = "ready", retry = "3s")]
async fn counts(
    Path(how): Path<String>,
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    watch(&connection, told);
    let events = match how.as_str() {
        "ten" | "ten-and-fail" => 10,
        "many" => 20_000,
        _ => return Err(StatusCode::NOT_FOUND),
    };
    for _ in 0..events {
        yield_!(1);
    }
    if how == "ten-and-fail" {
        Err("on purpose".to_owned())?;
    }
}

/// Reads a run that fails or panics.
#[sse_endpoint("/runs/{how}")]
async fn runs(
    Path(how): Path<String>,
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> Result<impl Stream<Item = u32>, HubError> {
    watch(&connection, told);
    let hub: Hub<u32> = Hub::new(|| Topic::builder().keep(4));
    let run = hub
        .spawn("run", Start::First, async move |topic| {
            topic.publish(&1).await.map_err(|error| error.to_string())?;
            assert_ne!(how, "panicked", "on purpose");
            Err("on purpose".to_owned())
        })
        .await?;
    yield_all!(run);
}

/// Reads values from a spawned task that panics.
#[sse_endpoint("/task")]
async fn task(
    connection: Connection,
    axum::Extension(told): axum::Extension<Told>,
) -> impl Stream<Item = u32> {
    watch(&connection, told);
    let (sender, mut numbers) = mpsc::channel(1);
    connection.spawn(async move {
        let _ = sender.send(1).await;
        panic!("on purpose");
    });
    while let Some(number) = numbers.recv().await {
        yield_!(number);
    }
}

struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    told: mpsc::UnboundedReceiver<(u64, CloseReason)>,
    log: Log,
    metrics: PrometheusHandle,
}

impl Running {
    async fn start() -> Self {
        let metrics = PrometheusBuilder::new().install_recorder().unwrap();
        let log = Log::capture_spans();
        let (tell, told) = mpsc::unbounded_channel();
        let shutdown = Shutdown::within(Duration::from_millis(100));
        let app = Router::new()
            .sse(counts)
            .sse(ends)
            .sse(stays)
            .sse(floods)
            .sse(lags)
            .sse(runs)
            .sse(task);
        let newest = StreamLimit::per_peer(1).newest_wins();
        let newest = Router::new().nest("/api/newest", Router::new().sse(stays).layer(newest));
        let app = Router::new()
            .nest("/api", app)
            .layer(StreamLimit::new(1))
            .merge(newest)
            .layer(axum::Extension::<Told>(tell));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = server_of(app)
            .send_timeout(Duration::from_millis(300))
            .shutdown(shutdown.clone());
        tokio::spawn(server.serve(listener));
        Self {
            addr,
            shutdown,
            told,
            log,
            metrics,
        }
    }

    /// Waits for a hook to report a stream, asserts that the reason is `why`, and returns the
    /// stream's ID.
    async fn closed(&mut self, why: CloseReason) -> u64 {
        let (id, reason) = within("the close hook", self.told.recv()).await.unwrap();
        assert_eq!(reason, why);
        id
    }

    /// Returns the values of a metric, keyed by their labels.
    fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let rendered = self.metrics.render();
        let lines = rendered.lines().filter_map(|line| line.strip_prefix(name));
        lines
            .filter_map(|line| {
                let (labels, value) = line.strip_prefix('{')?.split_once("} ")?;
                Some((labels.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Returns the log line that is written when the stream's span closes.
    async fn span(&self, id: u64) -> String {
        let connection = format!("connection={id} ");
        within("the span to close", async {
            loop {
                let text = self.log.text();
                let closed = text.lines().find(|line| {
                    line.contains(&connection) && line.contains("sse_runtime: close ")
                });
                if let Some(closed) = closed {
                    return closed.to_owned();
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// The ID of a stream that has ended, and its close reason.
type Ended = (u64, CloseReason);

impl Running {
    /// Opens streams on the `ends` endpoint, which ends each stream as requested by the path.
    async fn end_by_cause(&mut self) -> Vec<Ended> {
        let mut ids = Vec::new();
        for (how, why) in [
            ("finished", CloseReason::Finished),
            ("failed", CloseReason::Failed),
            ("max_duration", CloseReason::MaxDuration),
            ("expired", CloseReason::Expired),
            ("revoked", CloseReason::Revoked),
            ("panicked", CloseReason::Panicked),
        ] {
            let mut client = Client::get(self.addr, &format!("/api/ends/{how}")).await;
            client.head().await;
            assert_eq!(client.expect_chunk().await, "data: \"first\"\n\n");
            ids.push((self.closed(why).await, why));
        }
        ids
    }

    /// Asserts that the span of each finished stream records the stream's event and byte counts.
    async fn assert_counts(&mut self) {
        let error = "event: error\ndata: \"on purpose\"\n\n".len();
        for (how, events, bytes, why) in [
            ("ten", 10, 90, CloseReason::Finished),
            ("ten-and-fail", 11, 90 + error, CloseReason::Failed),
            ("many", 20_000, 180_000, CloseReason::Finished),
        ] {
            let client = Client::get(self.addr, &format!("/api/counts/{how}")).await;
            let (id, ()) = tokio::join!(self.closed(why), async {
                let mut client = client;
                client.head().await;
                while client.chunk().await.unwrap().is_some() {}
            });
            let span = self.span(id).await;
            let bytes = "retry: 3000\n".len() + bytes;
            let counted = format!("events={events} bytes={bytes} ");
            assert!(span.contains(&counted), "{how}: {counted} is not in {span}");
        }
        let not_found = Client::get(self.addr, "/api/counts/none")
            .await
            .head()
            .await;
        assert_eq!(not_found.status_line, "HTTP/1.1 404 Not Found");
        let id = self.closed(CloseReason::Rejected).await;
        let span = self.span(id).await;
        assert!(span.contains("reason=\"rejected\""), "{span}");
    }

    /// Ends streams by making a run or a task fail.
    async fn fail_runs(&mut self) -> Vec<Ended> {
        let mut ids = Vec::new();
        for (how, why, is_cut) in [
            ("runs/failed", CloseReason::Failed, false),
            ("runs/panicked", CloseReason::Panicked, false),
            ("task", CloseReason::Panicked, true),
        ] {
            let mut client = Client::get(self.addr, &format!("/api/{how}")).await;
            client.head().await;
            let mut text = String::new();
            let end = loop {
                match client.chunk().await {
                    Ok(Some(chunk)) => text.push_str(&chunk),
                    end => break end,
                }
            };
            assert_eq!(end.is_err(), is_cut, "{how}");
            assert!(text.contains("data: 1\n"), "{how}: {text}");
            let error = text
                .split("\n\n")
                .find(|frame| frame.contains("event: error"));
            let error = error.unwrap_or_else(|| panic!("{how}: {text}"));
            assert!(
                error.contains("~done") && !text.contains("event: done"),
                "{how}: {text}"
            );
            ids.push((self.closed(why).await, why));
        }
        ids
    }

    /// Ends streams from outside: by the topic, the client, another stream or the server.
    async fn end_by_others(&mut self) -> Vec<Ended> {
        let mut ids = Vec::new();
        let mut lags = Client::get(self.addr, "/api/lags").await;
        lags.head().await;
        assert_eq!(
            lags.expect_chunk().await,
            "event: close\ndata: {\"reason\":\"lagged\"}\n\n"
        );
        assert_eq!(lags.chunk().await, Ok(None));
        let why = CloseReason::Lagged;
        ids.push((self.closed(why).await, why));

        let mut old = Client::get(self.addr, "/api/newest/stays").await;
        old.head().await;
        old.expect_chunk().await;
        let new = Client::get(self.addr, "/api/newest/stays").await;
        let why = CloseReason::Superseded;
        ids.push((self.closed(why).await, why));
        drop(new);
        self.closed(CloseReason::ClientGone).await;

        // This client never reads, and its receive buffer fills up quickly.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stalled = Client::over(socket.connect(self.addr).await.unwrap());
        stalled
            .send(b"GET /api/floods HTTP/1.1\r\nhost: test\r\n\r\n")
            .await;
        let why = CloseReason::Stalled;
        ids.push((self.closed(why).await, why));
        drop(stalled);

        let mut leaves = Client::get(self.addr, "/api/stays").await;
        leaves.head().await;
        leaves.expect_chunk().await;
        assert_eq!(
            self.metric("sse_server_active_streams")[r#"http_route="/api/stays""#],
            1.0
        );
        // The limit allows only one stream.
        let rejected = Client::get(self.addr, "/api/stays").await.head().await;
        assert_eq!(rejected.status_line, "HTTP/1.1 503 Service Unavailable");
        drop(leaves);
        let why = CloseReason::ClientGone;
        ids.push((self.closed(why).await, why));

        let mut last = Client::get(self.addr, "/api/stays").await;
        last.head().await;
        last.expect_chunk().await;
        self.shutdown.begin();
        let why = CloseReason::Shutdown;
        ids.push((self.closed(why).await, why));
        ids
    }

    /// Asserts that each span contains the reason and the other fields.
    async fn assert_spans(&self, ended: &[Ended]) {
        for &(id, why) in ended {
            let span = self.span(id).await;
            for field in [
                &format!("reason=\"{why}\""),
                "endpoint=",
                "route=\"/api/",
                "peer=127.0.0.1:",
                "events=",
                "bytes=",
                "duration=",
            ] {
                assert!(span.contains(field), "{field} is not in {span}");
            }
        }
        let (finished, _) = ended[0];
        let span = self.span(finished).await;
        let bytes = "data: \"first\"\n\ndata: \"second\"\n\n".len();
        assert!(span.contains(&format!("events=2 bytes={bytes} ")), "{span}");
        let text = self.log.text();
        let own = text
            .lines()
            .find(|line| line.contains("logged by the handler"))
            .unwrap();
        assert!(
            own.contains("event_stream"),
            "the handler did not run in the span: {own}"
        );
    }

    /// Asserts that each reason is counted once for its route and that nothing else is counted.
    fn assert_metrics(&self, ended: Vec<Ended>) {
        let closed = self.metric("sse_server_streams_closed");
        for (_, why) in ended {
            let route = match why {
                CloseReason::ClientGone | CloseReason::Shutdown => "/api/stays",
                CloseReason::Stalled => "/api/floods",
                CloseReason::Lagged => "/api/lags",
                CloseReason::Superseded => "/api/newest/stays",
                _ => "/api/ends/{how}",
            };
            let labels = format!("http_route=\"{route}\",reason=\"{why}\"");
            assert_eq!(closed.get(&labels), Some(&1.0), "{labels} of {closed:?}");
        }
        for (route, why, count) in [
            ("runs/{how}", "failed", 1.0),
            ("runs/{how}", "panicked", 1.0),
            ("runs/{how}", "finished", 0.0),
            ("task", "panicked", 1.0),
            ("task", "finished", 0.0),
        ] {
            let labels = format!("http_route=\"/api/{route}\",reason=\"{why}\"");
            assert_eq!(closed.get(&labels), Some(&count), "{labels} of {closed:?}");
        }
        let ends = r#"http_route="/api/ends/{how}""#;
        let stays = r#"http_route="/api/stays""#;
        // Before any stream has closed for a reason, the reason's counter is exported as zero, so
        // that a query sees the first such stream as an increase.
        let never = r#"http_route="/api/stays",reason="panicked""#;
        assert_eq!(closed.get(never), Some(&0.0));
        let never = r#"http_route="/api/stays",limit="key""#;
        assert_eq!(self.metric("sse_server_streams_rejected")[never], 0.0);
        let rejected = r#"http_route="/api/stays",limit="total""#;
        assert_eq!(self.metric("sse_server_streams_rejected")[rejected], 1.0);
        for (name, count) in [("opened", 6.0), ("closed", 6.0)] {
            let all = self.metric(&format!("sse_server_streams_{name}"));
            let of_route = all.iter().filter(|(labels, _)| labels.starts_with(ends));
            assert_eq!(
                of_route.map(|(_, count)| count).sum::<f64>(),
                count,
                "{name}"
            );
        }
        for route in [ends, stays] {
            assert_eq!(self.metric("sse_server_active_streams")[route], 0.0);
        }
        assert_eq!(self.metric("sse_server_events")[stays], 2.0);
        let goodbye =
            self.metric("sse_server_sent_bytes")[stays] - 2.0 * "data: 1\n\n".len() as f64;
        assert!(
            goodbye > 0.0,
            "the `retry` sent at shutdown should be counted"
        );
        assert_eq!(
            self.metric("sse_server_time_to_first_event_count")[ends],
            6.0
        );
        let durations = self.metric("sse_server_stream_duration_count");
        assert_eq!(durations.len(), 17, "{durations:?}");
    }
}

// This must be the only test, since a process can have only one metrics recorder.
#[tokio::test]
async fn each_reason_matches_in_hook_span_and_metric() {
    let mut server = Running::start().await;
    let mut ended = server.end_by_cause().await;
    server.assert_counts().await;
    let runs = server.fail_runs().await;
    ended.extend(server.end_by_others().await);
    server.assert_spans(&[&ended[..], &runs].concat()).await;
    server.assert_metrics(ended);
}
