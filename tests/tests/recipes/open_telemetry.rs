//! The memory that a tracing exporter needs for the log lines of an open stream.

use axum::{Router, extract::State};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, serve};
use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, registry::LookupSpan,
};

/// Logs a line before each of its events.
#[sse_endpoint("/lines")]
async fn lines(State(count): State<usize>) -> impl Stream<Item = usize> {
    for number in 1..=count {
        tracing::info!(number, "a line");
        yield_!(number);
    }
}

/// The filter on the page.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the page shows the closure, which is easier to extend"
)]
fn spans_only<S>(exporter: impl Layer<S> + Send + Sync) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    exporter.with_filter(filter_fn(|metadata| metadata.is_span()))
}

/// Reads a stream to its end. Returns the number of log lines that the exported span holds.
async fn exported_lines(is_filtered: bool) -> usize {
    const LINES: usize = 50;
    // See `support::log`.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let exported = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exported.clone())
        .build();
    let exporter = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let exporter: Box<dyn Layer<Registry> + Send + Sync> = if is_filtered {
        Box::new(spans_only(exporter))
    } else {
        Box::new(exporter)
    };
    let subscriber = tracing_subscriber::registry().with(exporter);
    let _default = tracing::subscriber::set_default(subscriber);

    let app = Router::new().sse(lines).with_state(LINES);
    let mut client = Client::get(serve(app).await, "/lines").await;
    client.head().await;
    while client.chunk().await.unwrap().is_some() {}
    let span = support::within("the span to be exported", async {
        loop {
            let spans = exported.get_finished_spans().unwrap();
            if let Some(span) = spans.into_iter().find(|span| span.name == "event_stream") {
                return span;
            }
            // The exporter cannot be awaited.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let span = span.await;
    let lines = span.events.iter().filter(|event| event.name == "a line");
    lines.count()
}

#[tokio::test]
async fn span_of_a_stream_collects_its_log_lines() {
    assert_eq!(exported_lines(false).await, 50);
}

#[tokio::test]
async fn filtered_exporter_collects_no_log_lines() {
    assert_eq!(exported_lines(true).await, 0);
}
