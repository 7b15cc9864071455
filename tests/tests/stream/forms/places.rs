//! Tests the places where `yield_!` can be used, and other ways to exit a generator.

use std::{num::ParseIntError, time::Duration};

use axum::{Router, extract::Path, http::StatusCode};
use sse_runtime::{Stream, sse_endpoint, testing::Client};
use support::SseRouterExt as _;

use super::{Oops, Refused, get, values};

#[tokio::test]
async fn cfg_disabled_code_does_not_count_as_yield() {
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
async fn conditional_yield_does_not_start_response() {
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
    // This error occurs inside a `yield_!`, so the error is sent in the stream.
    let mut events = client.get("/nested/x").await.events();
    assert_eq!(events.expect_event().await.event, "error");
    let mut events = client.get("/nested/2").await.events();
    assert_eq!(values(&mut events).await, [2, 2]);
}

#[tokio::test]
async fn return_in_a_closure_leaves_the_closure() {
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
async fn yield_works_where_an_expression_does() {
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
async fn select_arm_can_leave_the_generator() {
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
