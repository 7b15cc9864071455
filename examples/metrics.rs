//! Metrics for Prometheus, and a page that shows what they count.
//!
//! ```sh
//! cargo run --example metrics        # a page at http://127.0.0.1:3000
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! `grafana.json`, beside this file, is a dashboard of them: in Grafana under "Dashboards", "New", "Import".
#![allow(
    clippy::print_stdout,
    reason = "an example says where it can be looked at"
)]

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
use sse_runtime::{Event, RouterExt, Server, Stream, StreamLimit, Text, sse_endpoint};
use tokio::time::{interval, sleep};

/// A stream that only its client ends: the seconds since it was opened.
#[sse_endpoint("/clock")]
async fn clock() -> impl Stream<Item = u64> {
    let mut every = interval(Duration::from_secs(1));
    for second in 0.. {
        every.tick().await;
        yield_!(second);
    }
}

const STEPS: u64 = 10;
const STEP: Duration = Duration::from_millis(400);

/// A job, which comes to its end.
#[sse_endpoint("/job")]
async fn job() -> impl Stream<Item = u64> {
    for step in 1..=STEPS {
        sleep(STEP).await;
        yield_!(step);
    }
    yield_!(Event::done());
}

/// The same with bad luck: every third run fails in the middle.
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

/// Seconds: up to a day, where streams are open for as long as a page is.
const DURATIONS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
];
/// Seconds: from what is there at once to what nobody waits for.
const FIRST_EVENTS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Installs the recorder, which all that is counted goes to from then on. What was counted before is lost, so it comes
/// first in `main`.
fn install() -> Result<PrometheusHandle, BuildError> {
    let metric = |name: &str| Matcher::Full(format!("sse.server.{name}"));
    PrometheusBuilder::new()
        // Names as Prometheus has them: the unit at the end, and `_total` behind what only grows.
        .with_recommended_naming(true)
        // With buckets it is a histogram; without, a summary, whose quantiles are those of one instance for ever.
        .set_buckets_for_metric(metric("stream_duration"), DURATIONS)?
        .set_buckets_for_metric(metric("time_to_first_event"), FIRST_EVENTS)?
        .install_recorder()
}

/// Puts what the histograms were given into their buckets. Else that is kept until the next scrape, and for ever if nobody
/// scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

/// What Prometheus scrapes. Whoever can reach it can read it: on the internet it is better on a port of its own.
async fn scrape(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    let content_type = (
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    );
    ([content_type], metrics.render())
}

/// The same for the page, once a second, without the buckets. It is a stream like any other, and counts itself.
#[sse_endpoint("/numbers")]
async fn numbers(State(metrics): State<PrometheusHandle>) -> impl Stream<Item = Text<String>> {
    let mut every = interval(Duration::from_secs(1));
    loop {
        every.tick().await;
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
        // So small that the page runs into it; it is around what stands above it, and not around the rest.
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
        .ready("/readyz")
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

    /// A process has one recorder, so these tests share it, and each has its routes to itself.
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().unwrap());

    /// An app that takes all requests for those of one client.
    fn client() -> Client {
        let peer = SocketAddr::from(([127, 0, 0, 1], 49_152));
        Client::new(app(METRICS.clone()).layer(Extension(ConnectInfo(peer))))
    }

    /// The value of a series, as Prometheus gets it.
    async fn value(series: &str) -> f64 {
        let rendered = client().get("/metrics").await.text().await;
        let mut lines = rendered.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let Some(value) = value else {
            panic!("there is no {series} in\n{rendered}");
        };
        value.parse().unwrap()
    }

    // The durations are those of tokio's clock, which is paused in these tests.
    #[tokio::test(start_paused = true)]
    async fn a_job_is_counted_from_its_first_event_to_its_end() {
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
            // With the event `done`.
            ("events_total", 11.0),
            ("time_to_first_event_seconds_sum", 0.4),
            ("time_to_first_event_seconds_count", 1.0),
        ] {
            assert_eq!(value(&of_job(name)).await, expected, "{name}");
        }
        assert!(value(&of_job("sent_bytes_total")).await > 100.0);

        // 4 s are more than 1 s and less than 5 s.
        for (bucket, expected) in [("1", 0.0), ("5", 1.0), ("+Inf", 1.0)] {
            let labels = format!(r#"{{http_route="/job",reason="finished",le="{bucket}"}}"#);
            let series = format!("sse_server_stream_duration_seconds_bucket{labels}");
            assert_eq!(value(&series).await, expected, "{series}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_third_run_fails_and_is_counted_as_failed() {
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
    async fn who_finds_no_room_is_counted_by_the_limit() {
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

        // It takes a place, and nobody reads it: its run is not one of those that another test counts.
        open.push(client.get("/flaky").await.events());
        let fourth = client.get("/clock").await;
        assert_eq!(fourth.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!((rejected("total").await, rejected("key").await), (1.0, 1.0));
        for events in open {
            events.leave().await;
        }
        let active = value(r#"sse_server_active_streams{http_route="/clock"}"#).await;
        assert_eq!(active, 0.0);
    }

    #[tokio::test]
    async fn the_page_reads_the_endpoints() {
        let page = client().get("/").await.text().await;
        let listens = format!(r#"new EventSource("{}")"#, numbers().path());
        assert!(page.contains(&listens));
        for route in [clock().path(), job().path(), flaky().path()] {
            assert!(page.contains(&format!(r#"add("{route}""#)), "{route}");
        }
    }

    /// The strings in a dashboard that Prometheus is asked.
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

    /// The words of a query: names, and strings with their quotes.
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
            let (word, behind) = rest.split_at(length);
            if !word.trim().is_empty() {
                words.push(word);
            }
            rest = behind;
        }
        words
    }

    #[tokio::test(start_paused = true)]
    async fn the_dashboard_asks_for_nothing_that_is_not_there() {
        // One stream that comes and goes, and one for which there is no room.
        let app = app(METRICS.clone()).layer(StreamLimit::new(1));
        let client = Client::new(app);
        let mut events = client.get("/numbers").await.events();
        events.expect_event().await;
        let refused = client.get("/numbers").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        events.leave().await;
        let rendered = client.get("/metrics").await.text().await;
        // `name{label="value"}`, in the words that a query has.
        let lines = rendered.lines().filter(|line| !line.starts_with('#'));
        let there: BTreeSet<&str> = lines.flat_map(words).collect();

        let dashboard: Value = serde_json::from_str(include_str!("grafana.json")).unwrap();
        let mut asked = Vec::new();
        queries(&dashboard, &mut asked);
        let mut checked = BTreeSet::new();
        for query in &asked {
            // Labels stand in the braces behind a metric, or in the parentheses behind `by`.
            let mut is_label = false;
            let mut is_by = false;
            for word in words(query) {
                match word {
                    "by" => is_by = true,
                    "{" => is_label = true,
                    "(" => is_label = is_by,
                    ")" | "}" => (is_label, is_by) = (false, false),
                    // The label of the scrape, which Prometheus adds.
                    "job" => {}
                    _ if word.starts_with('"') && is_label => {
                        // `=~` takes several; a variable is what the dashboard's reader chose.
                        for value in word.trim_matches('"').split('|') {
                            let value = format!("\"{value}\"");
                            assert!(
                                value.starts_with("\"$") || there.contains(value.as_str()),
                                "{value} of {query} is not in\n{rendered}"
                            );
                        }
                    }
                    _ if word.starts_with("sse_")
                        || is_label && word.starts_with(char::is_alphabetic) =>
                    {
                        assert!(
                            there.contains(word),
                            "{word} of {query} is not in\n{rendered}"
                        );
                        checked.insert(word);
                    }
                    _ => {}
                }
            }
        }
        // All there is, each once at least: else the words were not found.
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
