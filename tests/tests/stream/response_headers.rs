//! `ResponseHeaders` in each of the four forms, until the head has been sent.

use axum::{
    Router,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use sse_runtime::{
    Connection, ResponseHeaders, Stream,
    route::{MissingConnection, ResponseHeaderError},
    sse_endpoint,
};
use tokio::sync::mpsc;

use support::{SseRouterExt as _, serve, serve_plain, within};

/// The results of the attempts to set headers.
type Results = mpsc::UnboundedSender<Result<(), ResponseHeaderError>>;

#[derive(Debug, serde::Serialize, JsonSchema)]
struct Oops;

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, [("x-origin", "error")]).into_response()
    }
}

#[sse_endpoint("/stream")]
async fn stream(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> impl Stream<Item = u8> {
    results.send(headers.insert("x-session", "7")).unwrap();
    yield_!(1);
    results.send(headers.insert("x-late", "7")).unwrap();
}

#[sse_endpoint("/try-stream")]
async fn try_stream(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> impl Stream<Item = Result<u8, Oops>> {
    results.send(headers.insert("x-session", "7")).unwrap();
    yield_!(1);
    results.send(headers.insert("x-late", "7")).unwrap();
}

#[sse_endpoint("/response")]
async fn response(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> Result<impl Stream<Item = u8>, Oops> {
    // The head is not sent while these statements wait.
    tokio::task::yield_now().await;
    results.send(headers.insert("x-session", "7")).unwrap();
    yield_!(1);
    results.send(headers.insert("x-late", "7")).unwrap();
}

#[sse_endpoint("/try-response")]
async fn try_response(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> Result<impl Stream<Item = Result<u8, Oops>>, Oops> {
    tokio::task::yield_now().await;
    results.send(headers.insert("x-session", "7")).unwrap();
    yield_!(1);
    results.send(headers.insert("x-late", "7")).unwrap();
}

/// Sets a header after the function has waited, although the response has no prelude.
#[sse_endpoint("/waits")]
async fn waits(headers: ResponseHeaders, State(results): State<Results>) -> impl Stream<Item = u8> {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    results.send(headers.insert("x-late", "7")).unwrap();
    yield_!(1);
}

#[sse_endpoint("/several")]
async fn several(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> impl Stream<Item = u8> {
    results.send(headers.append("set-cookie", "a=1")).unwrap();
    results.send(headers.append("set-cookie", "b=2")).unwrap();
    results
        .send(headers.insert("cache-control", "private"))
        .unwrap();
    yield_!(1);
}

#[sse_endpoint("/invalid")]
async fn invalid(
    headers: ResponseHeaders,
    State(results): State<Results>,
) -> impl Stream<Item = u8> {
    results
        .send(headers.insert("content-type", "text/plain"))
        .unwrap();
    results
        .send(headers.insert("Transfer-Encoding", "gzip"))
        .unwrap();
    results.send(headers.insert("x y", "1")).unwrap();
    results
        .send(headers.insert("x-session", "1\r\nx-forged: 2"))
        .unwrap();
    yield_!(1);
}

#[sse_endpoint("/nothing")]
async fn nothing(headers: ResponseHeaders) -> Result<impl Stream<Item = u8>, Oops> {
    if headers.insert("x-session", "7").is_ok() {
        return;
    }
    yield_!(1);
}

#[sse_endpoint("/rejects")]
async fn rejects(headers: ResponseHeaders) -> Result<impl Stream<Item = u8>, Oops> {
    headers.insert("x-session", "7").unwrap();
    headers.insert("x-origin", "function").unwrap();
    Err(Oops)?;
    yield_!(1);
}

/// Sets a header once the stream has ended. The hook is added while the request is still being read,
/// so that it also runs if a later extractor rejects the request.
struct InHook;

impl FromRequestParts<Results> for InHook {
    type Rejection = MissingConnection;

    async fn from_request_parts(
        parts: &mut Parts,
        results: &Results,
    ) -> Result<Self, MissingConnection> {
        let headers = ResponseHeaders::from_request_parts(parts, results).await?;
        let connection = Connection::from_request_parts(parts, results).await?;
        let results = results.clone();
        connection.on_close(async move |_| {
            results.send(headers.insert("x-late", "7")).unwrap();
        });
        Ok(Self)
    }
}

#[sse_endpoint("/in-hook/{number}")]
async fn in_hook(_: InHook, Path(number): Path<u8>) -> impl Stream<Item = u8> {
    yield_!(number);
}

/// Sends a request to each kind of server and returns the heads, along with the results of the
/// attempts to set headers.
async fn ask(path: &str) -> Vec<(reqwest::Response, Vec<Result<(), ResponseHeaderError>>)> {
    let mut answers = Vec::new();
    for plain in [false, true] {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let app = Router::new()
            .sse(stream)
            .sse(try_stream)
            .sse(response)
            .sse(try_response)
            .sse(waits)
            .sse(several)
            .sse(invalid)
            .sse(nothing)
            .sse(rejects)
            .with_state(sender);
        let addr = if plain {
            serve_plain(app).await
        } else {
            serve(app).await
        };
        let mut response = within("the head", reqwest::get(format!("http://{addr}{path}")))
            .await
            .unwrap();
        // The generator has run to its end once the body has ended.
        while within("the body", response.chunk())
            .await
            .unwrap()
            .is_some()
        {}
        let mut results = Vec::new();
        while let Ok(result) = receiver.try_recv() {
            results.push(result);
        }
        answers.push((response, results));
    }
    answers
}

fn values<'a>(response: &'a reqwest::Response, name: &str) -> Vec<&'a str> {
    response
        .headers()
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect()
}

fn is_late(result: &Result<(), ResponseHeaderError>) -> bool {
    matches!(result, Err(ResponseHeaderError::TooLate { name, .. }) if name == "x-late")
}

#[tokio::test]
async fn headers_set_before_the_first_yield_are_sent() {
    for path in ["/stream", "/try-stream", "/response", "/try-response"] {
        for (response, results) in ask(path).await {
            assert_eq!(values(&response, "x-session"), ["7"], "{path}");
            assert_eq!(values(&response, "x-late"), [""; 0], "{path}");
            assert_eq!(results[0], Ok(()), "{path}");
            assert!(is_late(&results[1]), "{path}: {results:?}");
        }
    }
}

#[tokio::test]
async fn header_set_after_a_wait_is_too_late() {
    for (response, results) in ask("/waits").await {
        assert_eq!(values(&response, "x-late"), [""; 0]);
        assert!(is_late(&results[0]), "{results:?}");
    }
}

#[tokio::test]
async fn header_set_after_the_end_is_too_late() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let app = Router::new().sse(in_hook).with_state(sender);
    let addr = serve(app).await;
    for (path, status) in [("/in-hook/7", 200), ("/in-hook/rejected", 400)] {
        let response = reqwest::get(format!("http://{addr}{path}")).await.unwrap();
        assert_eq!(response.status(), status);
        let result = within("the close hook", receiver.recv()).await.unwrap();
        assert!(is_late(&result), "{path}: {result:?}");
    }
}

#[tokio::test]
async fn headers_can_be_repeated_and_replaced() {
    for (response, results) in ask("/several").await {
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(values(&response, "set-cookie"), ["a=1", "b=2"]);
        assert_eq!(values(&response, "cache-control"), ["private"]);
    }
}

#[tokio::test]
async fn invalid_and_reserved_headers_are_refused() {
    for (response, results) in ask("/invalid").await {
        let messages: Vec<_> = results
            .into_iter()
            .map(|result| result.unwrap_err().to_string())
            .collect();
        assert_eq!(
            messages,
            [
                "the response header `content-type` is set by the framework and cannot be changed",
                "the response header `transfer-encoding` is set by the framework and cannot be changed",
                "a response header has an invalid name; it must be a token, such as `x-session`",
                "the value of the response header `x-session` is invalid; it must not contain control characters",
            ]
        );
        assert_eq!(
            values(&response, "content-type"),
            ["text/event-stream; charset=utf-8"]
        );
        assert_eq!(values(&response, "x-session"), [""; 0]);
    }
}

#[tokio::test]
async fn headers_are_added_to_responses_without_a_stream() {
    for (response, _) in ask("/nothing").await {
        assert_eq!(response.status(), 204);
        assert_eq!(values(&response, "x-session"), ["7"]);
    }
    for (response, _) in ask("/rejects").await {
        assert_eq!(response.status(), 502);
        assert_eq!(values(&response, "x-session"), ["7"]);
        assert_eq!(values(&response, "x-origin"), ["error"]);
    }
}
