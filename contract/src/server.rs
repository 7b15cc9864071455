//! The server that the client reads from. It has one endpoint per case, and counts the requests and
//! the running generators of each path. The first segment of a path names the runtime under test.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{pending, ready},
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{FromRef, FromRequestParts, OriginalUri, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Connection, Event, LastEventId, SseError, SseEvent, SseRouterExt as _, Stream, Text, Topic,
    openapi::Api, sse_endpoint,
};
use tokio::time::sleep;

/// The requests and the running generators of one path.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Count {
    pub(crate) requests: usize,
    pub(crate) running: usize,
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<String, Count>>>);

impl Counts {
    fn change<T>(&self, path: &str, change: impl FnOnce(&mut Count) -> T) -> T {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry(path.to_owned()).or_default())
    }
}

/// The state of the server. The epochs of its two topics differ.
#[derive(Clone, FromRef)]
pub(crate) struct App {
    counts: Counts,
    topics: [Topic<u32>; 2],
}

/// A drop guard that counts a running generator. `number` is the number of the request, starting
/// with 1.
struct Visit {
    counts: Counts,
    path: String,
    number: usize,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, app).await?;
        let path = uri.path().to_owned();
        let number = app.counts.change(&path, |count| {
            count.running += 1;
            count.requests
        });
        Ok(Self {
            counts: app.counts.clone(),
            path,
            number,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.counts.change(&self.path, |count| count.running -= 1);
    }
}

/// Counts the requests in a layer, because a request that is answered with a 204 never reaches a
/// generator.
async fn count(State(counts): State<Counts>, request: Request, next: Next) -> Response {
    counts.change(request.uri().path(), |count| count.requests += 1);
    next.run(request).await
}

/// A struct rather than a number, because the path also contains the name of the runtime.
#[derive(Deserialize, JsonSchema)]
struct Room {
    room: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Debug, JsonSchema, SseEvent)]
enum AnswerEvent {
    Token { text: String },
    Finished,
}

#[derive(Debug, SseError)]
enum AskError {
    #[sse(status = 404)]
    NoRoom { room: u64 },
    #[sse(status = 429)]
    Busy {
        #[sse(retry_after)]
        after: u64,
    },
}

/// Room 0 does not exist, and in room 1, the model fails after the first token.
#[sse_endpoint(
    "/rooms/{room}/answer",
    retry = "20ms",
    end = "stop",
    allow(early_yield)
)]
async fn answer(
    Path(Room { room }): Path<Room>,
    _visit: Visit,
) -> Result<impl Stream<Item = Result<AnswerEvent, AskError>>, AskError> {
    if room == 0 {
        return Err(AskError::NoRoom { room });
    }
    let text = "Hello".to_owned();
    yield_!(AnswerEvent::Token { text });
    if room == 1 {
        return Err(AskError::Busy { after: 3 });
    }
    yield_!(AnswerEvent::Finished);
}

/// Sends text, and then an error that is not text.
#[sse_endpoint("/text", end = "stop", allow(early_yield))]
async fn text(_visit: Visit) -> impl Stream<Item = Result<Text<String>, AskError>> {
    yield_!(Text("42".to_owned()));
    return Err(AskError::Busy { after: 3 });
}

/// Rejects the first request as too busy.
#[sse_endpoint("/busy", end = "stop")]
async fn busy(visit: Visit) -> Result<impl Stream<Item = Result<AnswerEvent, AskError>>, AskError> {
    if visit.number == 1 {
        return Err(AskError::Busy { after: 1 });
    }
    yield_!(AnswerEvent::Finished);
}

/// The first response is cut off after the third event, the second ends after the sixth, and the
/// third is done after the ninth. A client that lost events when the first response was cut off
/// receives them again.
#[sse_endpoint("/resume", retry = "20ms", on_cut = "abort")]
async fn resume(
    connection: Connection,
    visit: Visit,
    last: LastEventId<u32>,
) -> impl Stream<Item = u32> {
    let seen = last.ok().unwrap_or(0);
    let end = match visit.number {
        1 => 3,
        2 => 6,
        _ => 9,
    };
    for number in seen + 1..=end {
        yield_!(Event::json(&number).id(number));
    }
    match visit.number {
        1 => {
            connection.close_when(ready(()));
            pending::<()>().await;
        }
        2 => {}
        _ => yield_!(Event::done()),
    }
}

#[sse_endpoint("/stopped", retry = "20ms", end = "stop")]
async fn stopped(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/topics/{name}", retry = "20ms")]
async fn topic(
    Path(Name { name }): Path<Name>,
    State(topics): State<[Topic<u32>; 2]>,
    _visit: Visit,
    last: LastEventId,
) -> impl Stream<Item = u32> {
    let topic = &topics[usize::from(name == "second")];
    yield_all!(topic.subscribe(last.or(sse_runtime::Start::First)));
}

#[sse_endpoint("/closes", retry = "20ms")]
async fn closes(
    connection: Connection,
    _visit: Visit,
    last: LastEventId<u32>,
) -> impl Stream<Item = u32> {
    if last.ok().is_none() {
        yield_!(Event::json(&1).id(1));
        connection.close_when(ready(()));
        pending::<()>().await;
    }
    yield_!(Event::json(&2).id(2));
    yield_!(Event::done());
}

/// Sends nothing after its first event, not even a comment.
#[sse_endpoint("/silent", retry = "20ms", keep_alive = "off")]
async fn silent(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    if last.ok().is_none() {
        yield_!(Event::json(&1).id(1));
        pending::<()>().await;
    }
    yield_!(Event::json(&2).id(2));
    yield_!(Event::done());
}

/// Sends nothing but comments for longer than three keep-alive intervals, after which the client
/// would consider the connection lost. The interval is long, because a busy machine may delay the
/// comments.
#[sse_endpoint("/quiet", keep_alive = "1s", end = "stop")]
async fn quiet(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    sleep(Duration::from_secs(5)).await;
    yield_!(2);
}

/// Without keep-alives, the server only notices a disconnect because the connection closes.
#[sse_endpoint("/leaving", keep_alive = "off")]
async fn leaving(_visit: Visit) -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

/// Makes the client wait for an hour before its second request.
#[sse_endpoint("/later", retry = "1h")]
async fn later(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    let seen = last.ok().unwrap_or(0);
    yield_!(Event::json(&(seen + 1)).id(seen + 1));
    if seen > 0 {
        yield_!(Event::done());
    }
}

/// Rejects every request after the first one, as if the client's credentials had expired.
#[sse_endpoint("/expires", retry = "20ms")]
async fn expires(
    visit: Visit,
    _last: LastEventId<u32>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    if visit.number > 1 {
        return Err(StatusCode::UNAUTHORIZED);
    }
    yield_!(Event::json(&1).id(1));
}

/// Never begins its response.
#[sse_endpoint("/undecided")]
async fn undecided(_visit: Visit) -> Result<impl Stream<Item = u32>, StatusCode> {
    pending::<()>().await;
    yield_!(1);
}

/// Sends an event of 10 MB.
#[sse_endpoint("/large", end = "stop")]
async fn large(_visit: Visit) -> impl Stream<Item = String> {
    yield_!("ü".repeat(5_000_000));
}

#[sse_endpoint("/burst", end = "stop", flush = "ready")]
async fn burst(_visit: Visit) -> impl Stream<Item = u32> {
    for number in 0..100_000 {
        yield_!(number);
    }
}

/// Sends what the framework never sends: a byte order mark, and all kinds of line breaks. Each byte
/// is a chunk of its own.
async fn breaks() -> Response {
    const STREAM: &str = "\u{feff}data: 1\r\rdata: 2\r\n\r\ndata: 3\n\ndata: ü\rdata: €\r\n\nevent: done\nid: ~done\ndata: null\n\n";
    let bytes = STREAM.bytes().map(|byte| Ok::<_, Infallible>(vec![byte]));
    let body = Body::from_stream(tokio_stream::iter(bytes));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Counts to 300, which takes several seconds.
#[sse_endpoint("/ticks", retry = "20ms")]
async fn ticks(_visit: Visit, last: LastEventId<u32>) -> impl Stream<Item = u32> {
    for number in last.ok().unwrap_or(0) + 1..=300 {
        yield_!(Event::json(&number).id(number));
        sleep(Duration::from_millis(20)).await;
    }
    yield_!(Event::done());
}

#[derive(Deserialize, JsonSchema)]
struct Prompt {
    prompt: String,
}

#[sse_endpoint("/post", method = POST)]
async fn post(_visit: Visit, Json(prompt): Json<Prompt>) -> impl Stream<Item = String> {
    for word in prompt.prompt.split(' ') {
        yield_!(word.to_owned());
    }
}

#[sse_endpoint("/post_cut", method = POST)]
async fn post_cut(
    connection: Connection,
    _visit: Visit,
    Json(prompt): Json<Prompt>,
) -> impl Stream<Item = String> {
    yield_!(prompt.prompt);
    connection.close_when(ready(()));
    pending::<()>().await;
}

/// The path, the query and the body of a request share names.
#[derive(Deserialize, JsonSchema, Serialize)]
struct SharedNames {
    id: String,
    body: String,
}

#[sse_endpoint("/shared/{id}/{body}", method = PUT)]
async fn shared_names(
    _visit: Visit,
    Path(path): Path<SharedNames>,
    Query(query): Query<SharedNames>,
    Json(prompt): Json<Prompt>,
) -> impl Stream<Item = (SharedNames, SharedNames, String)> {
    yield_!((path, query, prompt.prompt));
}

/// Sends the content type and the bytes back.
#[sse_endpoint("/upload", method = POST)]
async fn upload(
    _visit: Visit,
    headers: HeaderMap,
    bytes: Bytes,
) -> impl Stream<Item = (String, Vec<u8>)> {
    let of = headers.get(header::CONTENT_TYPE);
    let of = of.map(|of| String::from_utf8_lossy(of.as_bytes()).into_owned());
    yield_!((of.unwrap_or_default(), bytes.to_vec()));
}

#[derive(Deserialize)]
struct Of {
    path: String,
}

/// Returns the endpoints of one runtime, and adds them to the description.
pub(crate) fn endpoints(api: &Api) -> Router<App> {
    Router::new()
        .sse(api.of(answer))
        .sse(api.of(busy))
        .sse(api.of(text))
        .sse(api.of(resume))
        .sse(api.of(stopped))
        .sse(api.of(topic))
        .sse(api.of(closes))
        .sse(api.of(silent))
        .sse(api.of(quiet))
        .sse(api.of(leaving))
        .sse(api.of(later))
        .sse(api.of(expires))
        .sse(api.of(undecided))
        .sse(api.of(large))
        .sse(api.of(burst))
        .sse(api.of(ticks))
        .sse(api.of(post))
        .sse(api.of(post_cut))
        .sse(api.of(shared_names))
        .sse(api.of(upload))
        .route("/breaks", get(breaks))
}

/// Creates the app, which serves the endpoints, the counts, an empty page, and the scripts in `js`.
pub(crate) async fn app(endpoints: Router<App>, js: &FilePath) -> Result<Router, String> {
    let topics = [Topic::in_memory(16), Topic::in_memory(16)];
    for topic in &topics {
        for number in 1..=3 {
            let published = topic.publish(&number).await;
            published.map_err(|error| error.to_string())?;
        }
        let finished = topic.finish().await;
        finished.map_err(|error| error.to_string())?;
    }
    let app = App {
        counts: Counts::default(),
        topics,
    };
    let js = js.to_owned();
    let counts = get(async |State(counts): State<Counts>, Query(of): Query<Of>| {
        Json(counts.change(&of.path, |count| *count))
    });
    let scripts = get(async move |Path(name): Path<String>| script(js.join(name)).await);
    Ok(Router::new()
        .nest("/{runtime}", endpoints)
        .layer(from_fn_with_state(app.counts.clone(), count))
        .route("/count", counts)
        .route("/", get(Html("<!doctype html><title>contract</title>")))
        .route("/js/{name}", scripts)
        .with_state(app))
}

async fn script(path: PathBuf) -> Response {
    match tokio::fs::read(path).await {
        Ok(script) => ([(header::CONTENT_TYPE, "text/javascript")], script).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
