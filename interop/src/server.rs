//! The server that the clients read from. It has one endpoint per property and records the
//! requests.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use sse_runtime::{Event, LastEventId, SseRouterExt as _, Stream, StreamLimit, Text, sse_endpoint};
use tokio::{sync::watch, time::sleep};

/// The `retry` time of the `retry` endpoint. It is longer than any client's default, so a client
/// that ignores it reconnects too early.
pub(crate) const RETRY: Duration = Duration::from_secs(6);

pub(crate) const ORDERED: u32 = 100;
pub(crate) const MANY: u32 = 10_000;

/// Text with all three kinds of line breaks, one of them at the end.
pub(crate) const LINES: &str = "one\ntwo\r\nthree\rfour\r\n\r\n five\r";
/// The data that every client must receive for `LINES`.
pub(crate) const LINES_READ: &str = "one\ntwo\nthree\nfour\n\n five\n";

/// Characters with two, three and four bytes in UTF-8, a character with several code points, and
/// every character that some parsers mistake for a line break.
pub(crate) const UNICODE: &str =
    "ä € 𝄞 😀 👩‍🚀 e\u{301} \u{feff} \u{2028} \u{2029} \u{85} \u{b} \u{c} \u{1c} end";
/// The same text without the characters that some parsers mistake for line breaks.
pub(crate) const TEXT: &str = "ä € 𝄞 😀 👩‍🚀 e\u{301} \u{feff} end";
/// Characters that some parsers mistake for line breaks.
pub(crate) const NO_BREAKS: &str = "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f\u{1c}g";

/// Returns 1 MiB of three-byte characters, some of which are split across frames.
pub(crate) fn big() -> String {
    "€".repeat(1024 * 1024 / 3)
}

/// The requests and generators of one trial.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visits {
    pub(crate) requests: Vec<RequestInfo>,
    /// The number of running generators.
    pub(crate) alive: usize,
    /// The times at which generators were dropped.
    pub(crate) ended: Vec<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct RequestInfo {
    pub(crate) at: Instant,
    pub(crate) last_event_id: Option<String>,
    /// `None` until the response begins.
    pub(crate) status: Option<StatusCode>,
}

/// All trials by name. The name is the first path segment.
#[derive(Clone, Default)]
pub(crate) struct Trials(Arc<Mutex<HashMap<String, watch::Sender<Visits>>>>);

impl Trials {
    pub(crate) fn watch(&self, trial: &str) -> watch::Receiver<Visits> {
        self.sender(trial).subscribe()
    }

    fn sender(&self, trial: &str) -> watch::Sender<Visits> {
        let mut trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trials.entry(trial.to_owned()).or_default().clone()
    }
}

fn trial(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// Records every request. This is a layer because a request that is answered with a 204 never
/// reaches a generator.
async fn record(State(trials): State<Trials>, request: Request, next: Next) -> Response {
    let visits = trials.sender(trial(request.uri().path()));
    let id = request.headers().get("last-event-id");
    let info = RequestInfo {
        at: Instant::now(),
        last_event_id: id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()),
        status: None,
    };
    let mut number = 0;
    visits.send_modify(|visits| {
        number = visits.requests.len();
        visits.requests.push(info);
    });
    let response = next.run(request).await;
    visits.send_modify(|visits| visits.requests[number].status = Some(response.status()));
    response
}

/// A drop guard that counts a running generator, which receives the guard as an argument.
pub(crate) struct Visit(watch::Sender<Visits>);

impl FromRequestParts<Trials> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, trials: &Trials) -> Result<Self, Infallible> {
        let visits = trials.sender(trial(parts.uri.path()));
        visits.send_modify(|visits| visits.alive += 1);
        Ok(Self(visits))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.send_modify(|visits| {
            visits.alive -= 1;
            visits.ended.push(Instant::now());
        });
    }
}

#[sse_endpoint("/{trial}/order")]
async fn order(_visit: Visit) -> impl Stream<Item = u32> {
    for number in 1..=ORDERED {
        yield_!(number);
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/many")]
async fn many(_visit: Visit) -> impl Stream<Item = u32> {
    for number in 1..=MANY {
        yield_!(number);
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/post", method = POST)]
async fn post(_visit: Visit) -> impl Stream<Item = u32> {
    for number in 1..=3 {
        yield_!(number);
    }
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/names")]
async fn names(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    yield_!(Event::json(&2).event("word"));
    yield_!(Event::json(&3).event("tool-call"));
    yield_!(4);
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/ids")]
async fn ids(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(Event::json(&1).id(1));
    yield_!(Event::json(&2).id("b-2"));
    yield_!(Event::json(&3).id("3~%C3%A4"));
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/resume", retry = "100ms")]
async fn resume(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    let seen = last.ok().unwrap_or(0);
    for number in seen + 1..=seen + 3 {
        yield_!(Event::json(&number).id(number));
    }
    if seen > 0 {
        pending::<()>().await;
    }
}

/// Sends an id without an event, like the keep-alive of a stream that filters a topic.
#[sse_endpoint("/{trial}/id_alone", retry = "100ms")]
async fn id_alone(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    yield_!(Event::json(&1).id(1));
    yield_!(Event::empty().id(2));
    if last.ok().is_some() {
        pending::<()>().await;
    }
}

#[sse_endpoint("/{trial}/retry", retry = "6s")]
async fn retry(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    let seen = last.ok().unwrap_or(0);
    yield_!(Event::json(&(seen + 1)).id(seen + 1));
    if seen > 0 {
        pending::<()>().await;
    }
}

#[sse_endpoint("/{trial}/lines")]
async fn lines(_visit: Visit) -> impl Stream<Item = Text<&'static str>> {
    yield_!(Text(LINES));
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/unicode")]
async fn unicode(_visit: Visit) -> impl Stream<Item = &'static str> {
    yield_!(UNICODE);
    yield_!(Event::text(TEXT));
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/no_breaks")]
async fn no_breaks(_visit: Visit) -> impl Stream<Item = Text<&'static str>> {
    yield_!(Text(NO_BREAKS));
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/empty")]
async fn empty(_visit: Visit) -> impl Stream<Item = Text<&'static str>> {
    yield_!(Text(""));
    yield_!(Event::text("").event("word"));
    yield_!(Text("last"));
    pending::<()>().await;
}

#[sse_endpoint("/{trial}/large")]
async fn large(_visit: Visit) -> impl Stream<Item = Text<String>> {
    yield_!(Text(big()));
    pending::<()>().await;
}

/// Pauses for several keep-alive intervals.
#[sse_endpoint("/{trial}/comments", keep_alive = "200ms")]
async fn comments(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    sleep(Duration::from_secs(1)).await;
    yield_!(2);
    pending::<()>().await;
}

#[sse_endpoint(
    "/{trial}/heartbeat",
    keep_alive = "200ms",
    keep_alive_event = "heartbeat"
)]
async fn heartbeat(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    sleep(Duration::from_secs(1)).await;
    yield_!(2);
    pending::<()>().await;
}

#[derive(Debug, Serialize)]
struct Failed {
    title: &'static str,
}

#[sse_endpoint("/{trial}/error", retry = "10m")]
async fn error(_visit: Visit) -> impl Stream<Item = Result<u32, Failed>> {
    yield_!(1);
    return Err(Failed {
        title: "on purpose",
    });
}

#[sse_endpoint("/{trial}/done", retry = "100ms")]
async fn done(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(Event::json(&1).id(1));
    yield_!(Event::done());
}

#[sse_endpoint("/{trial}/stop", retry = "100ms", end = "stop")]
async fn stop(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(Event::json(&1).id(1));
}

/// Without keep-alives, the server only notices a disconnect because the connection closes.
#[sse_endpoint("/{trial}/leaving", keep_alive = "off")]
async fn leaving(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

/// Rejects every request, because its limit is 0 streams.
#[sse_endpoint("/{trial}/refused")]
async fn refused(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
}

/// Creates the app, which serves the endpoints, an empty page, and the clients and npm packages in `js`.
pub(crate) fn app(trials: Trials, js: &Path) -> Router {
    let js = js.to_owned();
    let file = get(async move |request: Request| {
        let path = request.uri().path().trim_start_matches('/');
        script(&js.join(path.replace("npm/", "node_modules/"))).await
    });
    Router::new()
        .sse(order)
        .sse(many)
        .sse(post)
        .sse(names)
        .sse(ids)
        .sse(resume)
        .sse(id_alone)
        .sse(retry)
        .sse(lines)
        .sse(unicode)
        .sse(no_breaks)
        .sse(empty)
        .sse(large)
        .sse(comments)
        .sse(heartbeat)
        .sse(error)
        .sse(done)
        .sse(stop)
        .sse(leaving)
        .sse(refused().layer(StreamLimit::new(0)))
        .merge(crate::hypermedia::routes())
        .merge(crate::languages::routes())
        .merge(crate::recipes::routes())
        .layer(from_fn_with_state(trials.clone(), record))
        .route("/", get(Html("<!doctype html><title>interop</title>")))
        .route("/page.js", file.clone())
        .route("/read.js", file.clone())
        .route("/datastar/{*path}", file.clone())
        .route("/npm/{*path}", file)
        .with_state(trials)
}

/// Serves a JavaScript module. The `.js` extension may be missing, because `fetch-event-source`
/// imports its modules without it.
async fn script(path: &Path) -> Response {
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(text),
        Err(_) => tokio::fs::read_to_string(path.with_extension("js")).await,
    };
    let Ok(text) = text else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // The examples' pages, which have a different origin, also load these modules.
    let headers = [
        (header::CONTENT_TYPE, "text/javascript"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, text).into_response()
}
