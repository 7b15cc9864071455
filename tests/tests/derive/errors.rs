//! `#[derive(SseError)]`: one error type that works both before and after the response starts.

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{SseError, Stream, sse_endpoint, testing::Client};
use support::{SseRouterExt as _, log::Log};

/// An error type that can be returned both before and after the response starts.
#[derive(Debug, thiserror::Error, SseError)]
enum AskError {
    #[error("room {room} does not exist")]
    #[sse(status = 404)]
    NoRoom { room: u64 },
    #[error("the model is overloaded")]
    #[sse(status = 429, title = "Slow down", type = "https://example.com/busy")]
    Busy {
        #[sse(retry_after)]
        after: Duration,
        detail: &'static str,
        /// Is not sent to the client because `Secret` does not implement `Serialize`.
        secret: Secret,
        #[serde(skip)]
        password: &'static str,
        #[serde(rename = "left", skip_serializing_if = "Option::is_none")]
        remaining: Option<u8>,
    },
    #[error("the database at 10.0.0.7 failed")]
    Database(#[from] fmt::Error),
    #[error("the cache failed")]
    Cache {
        /// Is not sent to the client because this field is the source, even though `Cause`
        /// implements `Serialize`.
        #[source]
        cause: Cause,
        source_of_it: u8,
    },
    #[error("{0}")]
    #[sse(status = 400, code = "odd")]
    Odd(String),
}

#[derive(Debug)]
struct Secret;

#[derive(Debug, Serialize, thiserror::Error, JsonSchema)]
#[error("10.0.0.7 does not respond")]
struct Cause {
    host: &'static str,
}

#[sse_endpoint("/ask/{side}/{error}")]
async fn ask(
    Path((side, error)): Path<(String, u8)>,
) -> Result<impl Stream<Item = Result<u8, AskError>>, AskError> {
    let error = match error {
        0 => AskError::NoRoom { room: 7 },
        1 => AskError::Busy {
            after: Duration::from_millis(1_500),
            detail: "try again later",
            secret: Secret,
            password: "hunter2",
            remaining: None,
        },
        2 => AskError::Database(fmt::Error),
        4 => AskError::Cache {
            cause: Cause { host: "10.0.0.7" },
            source_of_it: 1,
        },
        _ => AskError::Odd("hunter2".to_owned()),
    };
    if side == "before" {
        return Err(error);
    }
    yield_!(1);
    return Err(error);
}

#[tokio::test]
async fn error_is_a_response_or_an_event() {
    let client = Client::new(Router::new().sse(ask));
    for (error, status, retry_after, body) in [
        (
            0,
            StatusCode::NOT_FOUND,
            None,
            json!({"title": "Not Found", "status": 404, "code": "no_room", "room": 7}),
        ),
        (
            1,
            StatusCode::TOO_MANY_REQUESTS,
            Some("2"),
            json!({
                "type": "https://example.com/busy", "title": "Slow down", "status": 429, "code": "busy", "after": 2,
                "detail": "try again later",
            }),
        ),
        (
            2,
            StatusCode::INTERNAL_SERVER_ERROR,
            None,
            json!({"title": "Internal Server Error", "status": 500, "code": "database"}),
        ),
        (
            3,
            StatusCode::BAD_REQUEST,
            None,
            json!({"title": "Bad Request", "status": 400, "code": "odd"}),
        ),
        (
            4,
            StatusCode::INTERNAL_SERVER_ERROR,
            None,
            json!({"title": "Internal Server Error", "status": 500, "code": "cache", "source_of_it": 1}),
        ),
    ] {
        let before = client.get(&format!("/ask/before/{error}")).await;
        assert_eq!(before.status(), status);
        assert_eq!(
            before.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(before.header("retry-after"), retry_after);
        assert_eq!(before.json::<Value>().await, body);

        let mut events = client.get(&format!("/ask/in/{error}")).await.events();
        assert_eq!(events.expect_event().await.json::<u8>(), 1);
        let event = events.expect_event().await;
        assert_eq!(event.event, "error");
        assert_eq!(event.json::<Value>(), body);
        assert_eq!(event.retry.is_some(), retry_after.is_some());
        if retry_after.is_some() {
            assert_eq!(event.retry, Some(Duration::from_millis(1_500)));
        }
        events.expect_end().await;
    }
}

#[tokio::test]
async fn display_of_an_error_is_only_logged() {
    let client = Client::new(Router::new().sse(ask));
    let logged = async |uri: &str| {
        let log = Log::capture();
        let text = client.get(uri).await.text().await;
        assert!(!text.contains("10.0.0.7"), "{text}");
        log.text()
    };
    let failed = format!("the database at 10.0.0.7 failed: {}", fmt::Error);
    let before = logged("/ask/before/2").await;
    assert!(
        before.contains("ERROR") && before.contains(&failed),
        "{before}"
    );
    let after = logged("/ask/in/2").await;
    assert!(after.contains("WARN") && after.contains(&failed), "{after}");
}

#[tokio::test]
async fn transparent_variant_is_described_by_its_content() {
    #[derive(Debug, thiserror::Error, SseError)]
    #[sse(status = 400)]
    enum Outer {
        #[error(transparent)]
        #[sse(transparent)]
        Ask(#[from] AskError),
        #[error("no question was asked")]
        #[sse(detail = "Ask something")]
        Nothing,
    }
    #[sse_endpoint("/outer/{error}")]
    async fn outer(Path(error): Path<u8>) -> Result<impl Stream<Item = Result<u8, Outer>>, Outer> {
        let busy = || AskError::Busy {
            after: Duration::from_secs(30),
            detail: "try again later",
            secret: Secret,
            password: "hunter2",
            remaining: Some(1),
        };
        match error {
            0 => Err(busy())?,
            1 => return Err(Outer::Nothing),
            _ => {}
        }
        yield_!(1);
        Err(busy())?;
    }
    let client = Client::new(Router::new().sse(outer));
    let busy = json!({
        "type": "https://example.com/busy", "title": "Slow down", "status": 429, "code": "busy", "after": 30,
        "detail": "try again later", "left": 1,
    });

    let before = client.get("/outer/0").await;
    assert_eq!(before.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(before.header("retry-after"), Some("30"));
    assert_eq!(before.json::<Value>().await, busy);
    let mut events = client.get("/outer/2").await.events();
    events.expect_event().await;
    let event = events.expect_event().await;
    assert_eq!(event.retry, Some(Duration::from_secs(30)));
    assert_eq!(event.json::<Value>(), busy);

    let nothing = client.get("/outer/1").await;
    assert_eq!(nothing.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        nothing.json::<Value>().await,
        json!({"title": "Bad Request", "detail": "Ask something", "status": 400, "code": "nothing"})
    );
}

#[tokio::test]
async fn members_are_always_written_exactly_once() {
    /// A value whose serialization always fails.
    #[derive(Debug)]
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    #[derive(Debug, SseError)]
    enum Odd {
        Hidden {
            code: Secret,
        },
        Shown {
            code: &'static str,
            title: &'static str,
        },
        Skipped {
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<u8>,
        },
        Late {
            #[sse(retry_after)]
            title: Duration,
        },
        Broken {
            field: Fails,
        },
    }
    let answer = async |error: Odd| {
        let error = Arc::new(std::sync::Mutex::new(Some(error)));
        let app = Router::new().route(
            "/",
            get(move || async move { error.lock().unwrap().take().unwrap() }),
        );
        let response = Client::new(app).get("/").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        response.text().await
    };
    for (error, body) in [
        (
            Odd::Hidden { code: Secret },
            r#"{"title":"Internal Server Error","code":"hidden","status":500}"#,
        ),
        (
            Odd::Shown {
                code: "mine",
                title: "Mine",
            },
            r#"{"status":500,"code":"mine","title":"Mine"}"#,
        ),
        (
            Odd::Skipped { detail: None },
            r#"{"title":"Internal Server Error","code":"skipped","status":500}"#,
        ),
        (
            Odd::Late {
                title: Duration::MAX,
            },
            r#"{"code":"late","status":500,"title":18446744073709551615}"#,
        ),
        (
            Odd::Broken { field: Fails },
            r#"{"title":"Internal Server Error","code":"broken","status":500}"#,
        ),
    ] {
        assert_eq!(answer(error).await, body);
    }
}

#[tokio::test]
async fn struct_can_be_an_error() {
    #[derive(SseError)]
    #[sse(status = 503)]
    struct Draining<T> {
        #[sse(retry_after)]
        seconds: Option<u32>,
        hidden: T,
    }
    let draining = |seconds| Draining {
        seconds,
        hidden: Secret,
    };
    for (seconds, header, body) in [
        (
            Some(30),
            Some("30"),
            json!({"title": "Service Unavailable", "status": 503, "code": "draining", "seconds": 30}),
        ),
        (
            None,
            None,
            json!({"title": "Service Unavailable", "status": 503, "code": "draining"}),
        ),
    ] {
        assert_eq!(draining(seconds).status(), StatusCode::SERVICE_UNAVAILABLE);
        let app = Router::new().route("/", get(move || async move { draining(seconds) }));
        let response = Client::new(app).get("/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.header("retry-after"), header);
        assert_eq!(response.json::<Value>().await, body);
    }
}
