//! The four return forms, what can be yielded, and where.

use std::{num::ParseIntError, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use sse_runtime::{
    Event, RouterExt as _, Stream, first_ok, sse_endpoint,
    testing::{Client, Events},
};
use tokio::sync::Semaphore;

/// The error of a stream.
#[derive(Debug, serde::Serialize)]
struct Oops {
    message: String,
}

impl From<ParseIntError> for Oops {
    fn from(error: ParseIntError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

/// The error of a response.
struct Refused(StatusCode);

impl From<ParseIntError> for Refused {
    fn from(_: ParseIntError) -> Self {
        Self(StatusCode::BAD_REQUEST)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

async fn values(events: &mut Events) -> Vec<u64> {
    let mut values = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        assert_eq!(event.event, "message", "{event:?}");
        values.push(event.json());
    }
    values
}

async fn get(app: Router, uri: &str) -> sse_runtime::testing::Response {
    Client::new(app).get(uri).await
}

#[sse_endpoint("/stream/{n}")]
async fn stream(Path(n): Path<u64>) -> impl Stream<Item = u64> {
    for i in 0..n {
        if i == 3 {
            return;
        }
        yield_!(i);
    }
}

#[sse_endpoint("/try-stream/{n}", error_event = "failure")]
async fn try_stream(Path(n): Path<String>) -> impl Stream<Item = Result<u64, Oops>> {
    let n: u64 = n.parse()?;
    yield_!(n);
    if n == 1 {
        return;
    }
    if n == 2 {
        return Err(Oops {
            message: "two".to_owned(),
        });
    }
    let _: u64 = "x".parse()?;
    yield_!(0);
}

#[sse_endpoint("/response/{n}")]
async fn response(Path(n): Path<String>) -> Result<impl Stream<Item = u64>, Refused> {
    let n: u64 = n.parse()?;
    match n {
        0 => return,
        1 => return Err(Refused(StatusCode::NOT_FOUND)),
        _ => {}
    }
    yield_!(n);
    if n == 2 {
        return;
    }
    yield_!(n + 1);
}

#[sse_endpoint("/try-response/{n}")]
async fn try_response(
    Path(n): Path<String>,
) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
    let n: u64 = n.parse()?;
    if n == 0 {
        return;
    }
    if n == 1 {
        return Err(Refused(StatusCode::NOT_FOUND));
    }
    yield_!(n);
    match n {
        2 => return,
        3 => {
            return Err(Oops {
                message: "three".to_owned(),
            });
        }
        _ => {}
    }
    let _: u64 = "x".parse()?;
}

fn app() -> Router {
    Router::new()
        .sse(stream)
        .sse(try_stream)
        .sse(response)
        .sse(try_response)
}

#[tokio::test]
async fn what_is_not_compiled_does_not_leave() {
    #[sse_endpoint("/plain")]
    async fn plain() -> impl Stream<Item = u64> {
        yield_!(1);
        #[cfg(any())]
        return;
        yield_!(2);
        #[cfg(any())]
        yield_!(3)
    }
    #[sse_endpoint("/both")]
    async fn both() -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
        #[cfg(any())]
        return Err(Refused(StatusCode::GONE));
        yield_!(1);
        #[cfg(any())]
        return;
        yield_!(2);
    }
    let client = Client::new(Router::new().sse(plain).sse(both));
    for path in ["/plain", "/both"] {
        let mut events = client.get(path).await.events();
        assert_eq!(values(&mut events).await, [1, 2], "{path}");
    }
}

#[tokio::test]
async fn conditional_yield_does_not_begin_response() {
    #[sse_endpoint("/statement/{n}")]
    async fn statement(
        Path(n): Path<String>,
    ) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
        #[cfg(any())]
        yield_!("gone");
        let n: u64 = n.parse()?;
        yield_!(n);
    }
    #[sse_endpoint("/nested/{n}")]
    async fn nested(
        #[cfg(any())] gone: Gone,
        Path(n): Path<String>,
    ) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
        match n.len() {
            #[cfg(any())]
            0 => yield_!("gone"),
            _ => {
                #[cfg(any())]
                yield_!("gone");
            }
        }
        #[cfg(not(any()))]
        yield_!(n.parse()?);
        yield_!(n.parse()?);
    }
    let client = Client::new(Router::new().sse(statement).sse(nested));
    let response = client.get("/statement/x").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let mut events = client.get("/statement/1").await.events();
    assert_eq!(values(&mut events).await, [1]);
    // The conditional `yield_!` is there, so this error is one of the stream.
    let mut events = client.get("/nested/x").await.events();
    assert_eq!(events.expect_event().await.event, "error");
    let mut events = client.get("/nested/2").await.events();
    assert_eq!(values(&mut events).await, [2, 2]);
}

#[tokio::test]
async fn a_closure_in_a_macro_leaves_itself() {
    #[sse_endpoint("/closures")]
    async fn closures() -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
        tokio::select! {
            () = std::future::ready(()) => {
                let parse = |text: &str| -> Result<u64, ParseIntError> {
                    let number: u64 = text.parse()?;
                    Ok(number)
                };
                yield_!(parse("1").unwrap_or(0));
                yield_!(parse("x").unwrap_or(2));
            }
        }
    }
    let mut events = get(Router::new().sse(closures), "/closures").await.events();
    assert_eq!(values(&mut events).await, [1, 2]);
}

#[tokio::test]
async fn a_stream_that_cannot_fail() {
    let mut events = get(app(), "/stream/2").await.events();
    assert_eq!(values(&mut events).await, [0, 1]);
    let mut events = get(app(), "/stream/9").await.events();
    assert_eq!(values(&mut events).await, [0, 1, 2]);
}

#[tokio::test]
async fn an_error_in_the_stream_is_its_last_event() {
    let mut events = get(app(), "/try-stream/1").await.events();
    assert_eq!(values(&mut events).await, [1]);

    for (uri, values, message) in [
        ("/try-stream/x", vec![], "invalid digit found in string"),
        ("/try-stream/2", vec![2], "two"),
        ("/try-stream/3", vec![3], "invalid digit found in string"),
    ] {
        let mut events = get(app(), uri).await.events();
        for value in values {
            assert_eq!(events.expect_event().await.json::<u64>(), value);
        }
        let error = events.expect_event().await;
        assert_eq!(error.event, "failure");
        assert_eq!(error.json::<serde_json::Value>()["message"], message);
        events.expect_end().await;
    }
}

#[tokio::test]
async fn an_error_before_the_response_is_a_status() {
    for (uri, status) in [
        ("/response/x", StatusCode::BAD_REQUEST),
        ("/response/0", StatusCode::NO_CONTENT),
        ("/response/1", StatusCode::NOT_FOUND),
        ("/try-response/x", StatusCode::BAD_REQUEST),
        ("/try-response/0", StatusCode::NO_CONTENT),
        ("/try-response/1", StatusCode::NOT_FOUND),
    ] {
        let response = get(app(), uri).await;
        assert_eq!(response.status(), status, "{uri}");
        assert!(!response.is_stream(), "{uri}");
        assert_eq!(response.text().await, "", "{uri}");
    }
    let mut events = get(app(), "/response/2").await.events();
    assert_eq!(values(&mut events).await, [2]);
    let mut events = get(app(), "/response/3").await.events();
    assert_eq!(values(&mut events).await, [3, 4]);
}

#[tokio::test]
async fn with_both_errors_the_place_decides() {
    let mut events = get(app(), "/try-response/2").await.events();
    assert_eq!(values(&mut events).await, [2]);
    for (uri, message) in [
        ("/try-response/3", "three"),
        ("/try-response/4", "invalid digit found in string"),
    ] {
        let mut events = get(app(), uri).await.events();
        events.expect_event().await;
        let error = events.expect_event().await;
        assert_eq!(error.event, "error");
        assert_eq!(error.json::<serde_json::Value>()["message"], message);
        events.expect_end().await;
    }
}

#[sse_endpoint("/permit")]
async fn permit(
    State(permits): State<Arc<Semaphore>>,
) -> Result<impl Stream<Item = usize>, StatusCode> {
    // Bound before the response, and not mentioned behind it.
    let _permit = permits
        .try_acquire()
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let text = String::from("borrowed");
    let borrowed = text.as_str();
    // The borrow crosses the beginning of the response, and then the event.
    yield_!(borrowed.len());
    yield_!(borrowed.len() + 1);
    std::future::pending::<()>().await;
    drop(text);
}

#[tokio::test]
async fn what_was_bound_before_the_response_lives_as_long_as_the_stream() {
    let permits = Arc::new(Semaphore::new(1));
    let client = Client::new(Router::new().sse(permit).with_state(Arc::clone(&permits)));
    let mut events = client.get("/permit").await.events();
    assert_eq!(permits.available_permits(), 0);
    assert_eq!(events.expect_event().await.json::<usize>(), 8);
    assert_eq!(events.expect_event().await.json::<usize>(), 9);
    assert_eq!(client.get("/permit").await.status(), 503);
    events.leave().await;
    assert_eq!(permits.available_permits(), 1);
}

macro_rules! twice {
    ($value:expr) => {
        yield_!($value);
        yield_!($value)
    };
}

macro_rules! through {
    ($($tokens:tt)*) => { $($tokens)* };
}

#[sse_endpoint("/anywhere")]
async fn anywhere() -> impl Stream<Item = u64> {
    for i in 0..2 {
        yield_!(i);
    }
    match 2 {
        2 => yield_!(2),
        _ => yield_!(99),
    }
    if let Some(three) = Some(3) {
        yield_!(three);
    }
    let mut numbers = vec![5, 4];
    while let Some(number) = numbers.pop() {
        yield_!(number);
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(3600)) => yield_!(99),
            () = std::future::ready(()) => {
                yield_!(6);
                break;
            }
        }
    }
    twice!(7);
    through! { yield_!(8); }
    yield_all!(tokio_stream::iter([9, 10]));
    tokio::select! {
        () = std::future::ready(()) => return,
        () = std::future::pending() => yield_!(99),
    }
}

#[tokio::test]
async fn yield_works_wherever_an_expression_does() {
    let mut events = get(Router::new().sse(anywhere), "/anywhere").await.events();
    let expected = [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10];
    assert_eq!(values(&mut events).await, expected);
}

#[sse_endpoint("/select/{n}")]
async fn select(Path(n): Path<u64>) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
    tokio::select! {
        () = std::future::ready(()) => if n == 0 { return Err(Refused(StatusCode::NOT_FOUND)); },
    }
    tokio::select! {
        () = std::future::ready(()) => { if n == 1 { "x".parse::<u64>()?; } }
    }
    yield_!(n);
    tokio::select! {
        () = std::future::ready(()) => match n {
            2 => { "x".parse::<u64>()?; }
            3 => return Err(Oops { message: "three".to_owned() }),
            _ => return,
        }
    }
    yield_!(99);
}

#[tokio::test]
async fn what_leaves_a_select_arm_leads_where_it_would_outside() {
    let app = || Router::new().sse(select);
    assert_eq!(get(app(), "/select/0").await.status(), 404);
    assert_eq!(get(app(), "/select/1").await.status(), 400);
    for (uri, message) in [
        ("/select/2", "invalid digit found in string"),
        ("/select/3", "three"),
    ] {
        let mut events = get(app(), uri).await.events();
        events.expect_event().await;
        let error = events.expect_event().await;
        assert_eq!(error.json::<serde_json::Value>()["message"], message);
    }
    let mut events = get(app(), "/select/4").await.events();
    assert_eq!(values(&mut events).await, [4]);
}

/// A model that refuses, fails in the middle, or answers.
fn upstream(n: u64) -> impl Stream<Item = Result<u64, Oops>> {
    let fail = || {
        Err(Oops {
            message: "upstream".to_owned(),
        })
    };
    tokio_stream::iter(match n {
        0 => vec![fail()],
        1 => vec![Ok(1), fail(), Ok(2)],
        2 => vec![Ok(1), Ok(2)],
        _ => vec![],
    })
}

impl From<Oops> for Refused {
    fn from(_: Oops) -> Self {
        Self(StatusCode::TOO_MANY_REQUESTS)
    }
}

#[sse_endpoint("/upstream", method = POST)]
async fn answer(Json(n): Json<u64>) -> Result<impl Stream<Item = Result<u64, Oops>>, Refused> {
    let tokens = first_ok(upstream(n)).await?;
    yield_all!(tokens);
}

#[tokio::test]
async fn an_upstreams_failure_before_its_first_item_is_a_status() {
    let client = Client::new(Router::new().sse(answer));
    let refused = client.post("/upstream").json(&0).await;
    assert_eq!(refused.status(), 429);

    let mut events = client.post("/upstream").json(&1).await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 1);
    assert_eq!(events.expect_event().await.event, "error");
    events.expect_end().await;

    let mut events = client.post("/upstream").json(&2).await.events();
    assert_eq!(values(&mut events).await, [1, 2]);
    let mut events = client.post("/upstream").json(&3).await.events();
    events.expect_end().await;
}

#[sse_endpoint("/mixed")]
async fn mixed() -> impl Stream<Item = Option<u64>> {
    yield_!(None);
    yield_!(Some(1));
    let two = Some(2);
    yield_!(&two);
    yield_!(Event::json(&two).id(2_u64));
    yield_!(Event::json(Some(3)).event("three"));
    yield_!(Event::comment("between"));
    yield_!(Event::text("[DONE]"));
}

#[tokio::test]
async fn values_references_and_events_mix() {
    let text = get(Router::new().sse(mixed), "/mixed").await.text().await;
    assert_eq!(
        text,
        "data: null\n\ndata: 1\n\ndata: 2\n\nid: 2\ndata: 2\n\nevent: three\ndata: 3\n\n: between\ndata: [DONE]\n\n"
    );
}

#[sse_endpoint("/guards")]
async fn guards(State(numbers): State<Arc<std::sync::Mutex<Vec<u64>>>>) -> impl Stream<Item = u64> {
    // The guard is a temporary of the value, and given back before the generator waits.
    yield_!(numbers.lock().unwrap()[0]);
    yield_!(numbers.lock().unwrap().len() as u64);
}

#[tokio::test]
async fn a_guard_in_a_value_is_not_held_while_the_generator_waits() {
    let numbers = Arc::new(std::sync::Mutex::new(vec![5]));
    let app = Router::new().sse(guards).with_state(Arc::clone(&numbers));
    let mut events = get(app, "/guards").await.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 5);
    numbers.try_lock().unwrap().push(6);
    assert_eq!(events.expect_event().await.json::<u64>(), 2);
}

/// The route knows what its attribute and its function say.
#[sse_endpoint("/described", method = PUT)]
async fn described() -> impl Stream<Item = Oops> {
    yield_!(Event::comment("nothing"));
}

#[test]
fn a_route_describes_itself() {
    let route = described();
    assert_eq!(route.path(), "/described");
    assert_eq!(route.method(), "PUT");
    assert_eq!(route.name(), "described");
    assert_eq!(
        route.docs(),
        "The route knows what its attribute and its function say."
    );
    assert_eq!(route.item_type(), "forms::Oops");
}
