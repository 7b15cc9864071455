//! Exports metrics to Prometheus and shows them on a page.
//!
//! ```sh
//! cargo run --example metrics        # a page at http://127.0.0.1:3000
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! `grafana.json`, next to this file, is a dashboard for these metrics. To use it in Grafana,
//! choose "Dashboards", "New", "Import".
#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use sse_runtime::{Event, Server, SseRouterExt, Stream, StreamLimit, Text, sse_endpoint};
use tokio::time::{interval, sleep};

/// Counts the seconds since the stream was opened. It runs until the client disconnects.
#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = u64> {
    let mut interval = interval(Duration::from_secs(1));
    for second in 0.. {
        interval.tick().await;
        yield_!(second);
    }
}

const STEPS: u64 = 10;
const STEP: Duration = Duration::from_millis(400);

/// A job that always finishes.
#[sse_endpoint("/job")]
async fn job() -> impl Stream<Item = u64> {
    for step in 1..=STEPS {
        sleep(STEP).await;
        yield_!(step);
    }
    yield_!(Event::done());
}

/// A job that sometimes fails. Every third run stops halfway with an error.
#[sse_endpoint("/flaky", error_event = "failed")]
async fn flaky() -> impl Stream<Item = Result<u64, &'static str>> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let is_third = RUNS.fetch_add(1, Ordering::Relaxed) % 3 == 2;
    for step in 1..=STEPS {
        sleep(STEP).await;
        if is_third && step > STEPS / 2 {
            return Err("the upstream is gone");
        }
        yield_!(step);
    }
    yield_!(Event::done());
}

/// Histogram buckets in seconds. The largest one is a day, because a stream can stay open as long
/// as its page does.
const DURATIONS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
];
/// Histogram buckets in seconds. They range from a millisecond to far longer than a user would
/// wait.
const FIRST_EVENTS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Installs the recorder. Metrics recorded before this call are lost, so `main` calls it first.
fn install() -> Result<PrometheusHandle, BuildError> {
    let metric = |name: &str| Matcher::Full(format!("sse.server.{name}"));
    PrometheusBuilder::new()
        // Follow Prometheus' naming conventions, such as the unit as a suffix and `_total` for
        // counters.
        .with_recommended_naming(true)
        // Without buckets, these metrics would be summaries, whose quantiles cannot be aggregated
        // across instances.
        .set_buckets_for_metric(metric("stream_duration"), DURATIONS)?
        .set_buckets_for_metric(metric("time_to_first_event"), FIRST_EVENTS)?
        .install_recorder()
}

/// Moves recorded samples into the histograms' buckets. Otherwise, samples accumulate until the
/// next scrape, or without bound if Prometheus never scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut interval = interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        metrics.run_upkeep();
    }
}

/// The endpoint that Prometheus scrapes. It has no authentication, so a server on the internet
/// should expose it on a separate port.
async fn scrape(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    let content_type = (
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    );
    ([content_type], metrics.render())
}

/// Streams the metrics to the page once a second, without the histogram buckets. This stream is
/// itself counted in the metrics.
#[sse_endpoint("/numbers")]
async fn numbers(State(metrics): State<PrometheusHandle>) -> impl Stream<Item = Text<String>> {
    let mut interval = interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        let rendered = metrics.render();
        let lines = rendered
            .lines()
            .filter(|line| line.starts_with("sse_server_") && !line.contains("_bucket{"));
        yield_!(Text(lines.collect::<Vec<_>>().join("\n")));
    }
}

fn app(metrics: PrometheusHandle) -> Router {
    Router::new()
        .sse(clock().layer(StreamLimit::new(2)))
        .sse(job)
        .sse(flaky)
        // This limit is low enough to be reached from the page. A layer only applies to the routes
        // added before it.
        .layer(StreamLimit::per_peer(3))
        .sse(numbers)
        .route("/metrics", get(scrape))
        .route("/", get(Html(include_str!("metrics.html"))))
        .with_state(metrics)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let metrics = install().map_err(std::io::Error::other)?;
    tokio::spawn(upkeep(metrics.clone()));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}", listener.local_addr()?);
    Server::new(app(metrics))
        .max_streams(10_000)
        .readiness_path("/readyz")
        .serve(listener)
        .await
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::SocketAddr, sync::LazyLock};

    use axum::{Extension, extract::ConnectInfo, http::StatusCode};
    use serde_json::Value;
    use sse_runtime::testing::Client;

    use super::*;

    /// A process can have only one recorder, so all tests share it. No two tests check the same
    /// route.
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().unwrap());

    /// Returns a client whose requests all come from the same peer address.
    fn client() -> Client {
        let peer = SocketAddr::from(([127, 0, 0, 1], 49_152));
        Client::new(app(METRICS.clone()).layer(Extension(ConnectInfo(peer))))
    }

    /// Returns the value of a series, as Prometheus would scrape it.
    async fn value(series: &str) -> f64 {
        let rendered = client().get("/metrics").await.text().await;
        let mut lines = rendered.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let Some(value) = value else {
            panic!("missing {series} in\n{rendered}");
        };
        value.parse().unwrap()
    }

    // The durations are measured with tokio's clock, which is paused in these tests.
    #[tokio::test(start_paused = true)]
    async fn jobs_are_counted_from_first_event_to_end() {
        let of_job = |name: &str| format!(r#"sse_server_{name}{{http_route="/job"}}"#);
        let mut events = client().get("/job").await.events();
        for step in 1..=STEPS {
            assert_eq!(events.expect_event().await.json::<u64>(), step);
            assert_eq!(value(&of_job("active_streams")).await, 1.0);
        }
        assert_eq!(events.expect_event().await.event, "done");
        events.expect_end().await;

        for (name, expected) in [
            ("active_streams", 0.0),
            ("streams_opened_total", 1.0),
            // Ten steps and `done`.
            ("events_total", 11.0),
            ("time_to_first_event_seconds_sum", 0.4),
            ("time_to_first_event_seconds_count", 1.0),
        ] {
            assert_eq!(value(&of_job(name)).await, expected, "{name}");
        }
        assert!(value(&of_job("sent_bytes_total")).await > 100.0);

        // The job takes 4 s, so it is counted in the bucket up to 5 s.
        for (bucket, expected) in [("1", 0.0), ("5", 1.0), ("+Inf", 1.0)] {
            let labels = format!(r#"{{http_route="/job",reason="finished",le="{bucket}"}}"#);
            let series = format!("sse_server_stream_duration_seconds_bucket{labels}");
            assert_eq!(value(&series).await, expected, "{series}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_third_run_is_counted_as_failed() {
        for last in ["done", "done", "failed"] {
            let mut events = client().get("/flaky").await.events();
            let mut name = String::new();
            while let Some(event) = events.next().await.unwrap() {
                name = event.event;
            }
            assert_eq!(name, last);
        }
        for (reason, count) in [("finished", 2.0), ("failed", 1.0), ("panicked", 0.0)] {
            let labels = format!(r#"{{http_route="/flaky",reason="{reason}"}}"#);
            let series = format!("sse_server_streams_closed_total{labels}");
            assert_eq!(value(&series).await, count, "{series}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_streams_are_counted_by_limit() {
        let rejected = async |limit: &str| {
            let labels = format!(r#"{{http_route="/clock",limit="{limit}"}}"#);
            value(&format!("sse_server_streams_rejected_total{labels}")).await
        };
        let client = client();
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut events = client.get("/clock").await.events();
            events.expect_event().await;
            open.push(events);
        }
        let third = client.get("/clock").await;
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((rejected("total").await, rejected("key").await), (1.0, 0.0));

        // This stream counts towards the limit but is never polled, so it does not advance the
        // count of runs that another test relies on.
        open.push(client.get("/flaky").await.events());
        let fourth = client.get("/clock").await;
        assert_eq!(fourth.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((rejected("total").await, rejected("key").await), (1.0, 1.0));
        for events in open {
            events.disconnect().await;
        }
        let active = value(r#"sse_server_active_streams{http_route="/clock"}"#).await;
        assert_eq!(active, 0.0);
    }

    #[tokio::test]
    async fn page_reads_the_endpoints() {
        let page = client().get("/").await.text().await;
        let subscribes = format!(r#"new EventSource("{}")"#, numbers().path());
        assert!(page.contains(&subscribes));
        for route in [clock().path(), job().path(), flaky().path()] {
            assert!(page.contains(&format!(r#"add("{route}""#)), "{route}");
        }
    }

    /// Collects the Prometheus queries of a dashboard.
    fn queries(json: &Value, found: &mut Vec<String>) {
        match json {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(query) if name == "expr" || name == "query" => {
                            found.push(query.clone());
                        }
                        _ => queries(value, found),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|value| queries(value, found)),
            _ => {}
        }
    }

    /// Splits a query into names, quoted strings and single characters.
    fn words(query: &str) -> Vec<&str> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut words = Vec::new();
        let mut rest = query;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => rest[1..].find('"').unwrap() + 2,
                first if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
                first => first.len_utf8(),
            };
            let (word, after) = rest.split_at(length);
            if !word.trim().is_empty() {
                words.push(word);
            }
            rest = after;
        }
        words
    }

    #[tokio::test(start_paused = true)]
    async fn dashboard_queries_only_existing_metrics() {
        // Open one stream, request another that is rejected, and close the first.
        let app = app(METRICS.clone()).layer(StreamLimit::new(1));
        let client = Client::new(app);
        let mut events = client.get("/numbers").await.events();
        events.expect_event().await;
        let rejected = client.get("/numbers").await;
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
        events.disconnect().await;
        let rendered = client.get("/metrics").await.text().await;
        // Split lines like `name{label="value"} 1` into words, in the same way as a query.
        let lines = rendered.lines().filter(|line| !line.starts_with('#'));
        let exported: BTreeSet<&str> = lines.flat_map(words).collect();

        let dashboard: Value = serde_json::from_str(include_str!("grafana.json")).unwrap();
        let mut found = Vec::new();
        queries(&dashboard, &mut found);
        let mut checked = BTreeSet::new();
        for query in &found {
            // Labels appear in the braces after a metric, or in the parentheses after `by`.
            let mut is_label = false;
            let mut is_by = false;
            for word in words(query) {
                match word {
                    "by" => is_by = true,
                    "{" => is_label = true,
                    "(" => is_label = is_by,
                    ")" | "}" => (is_label, is_by) = (false, false),
                    // Prometheus adds this label when it scrapes.
                    "job" => {}
                    _ if word.starts_with('"') && is_label => {
                        // `=~` matches alternatives. A value that starts with `$` is a dashboard
                        // variable.
                        for value in word.trim_matches('"').split('|') {
                            let value = format!("\"{value}\"");
                            assert!(
                                value.starts_with("\"$") || exported.contains(value.as_str()),
                                "{value} in {query} is missing from\n{rendered}"
                            );
                        }
                    }
                    _ if word.starts_with("sse_")
                        || is_label && word.starts_with(char::is_alphabetic) =>
                    {
                        assert!(
                            exported.contains(word),
                            "{word} in {query} is missing from\n{rendered}"
                        );
                        checked.insert(word);
                    }
                    _ => {}
                }
            }
        }
        // The dashboard must use all of these names. This also catches a parser that finds no words.
        for name in [
            "sse_server_active_streams",
            "sse_server_streams_opened_total",
            "sse_server_streams_closed_total",
            "sse_server_stream_duration_seconds_bucket",
            "sse_server_time_to_first_event_seconds_bucket",
            "sse_server_events_total",
            "sse_server_sent_bytes_total",
            "sse_server_streams_rejected_total",
            "http_route",
            "reason",
            "limit",
            "le",
        ] {
            assert!(checked.contains(name), "{name} is not on the dashboard");
        }
    }
}
