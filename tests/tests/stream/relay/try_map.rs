//! `Relay::try_map`: errors that an upstream reports as events.

use super::*;
use sse_runtime::relay::RelayedEvent;

/// The error that the upstream reported, or the text of a `RelayError`.
#[derive(serde::Serialize)]
struct Failed(Value);

impl From<RelayError> for Failed {
    fn from(error: RelayError) -> Self {
        Self(error.to_string().into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0.to_string()).into_response()
    }
}

fn check(event: RelayedEvent) -> Result<RelayedEvent, Failed> {
    match event.name() == "error" {
        true => Err(Failed(event.json().unwrap())),
        false => Ok(event),
    }
}

fn upstream(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    body.into_data_stream()
}

#[sse_endpoint("/first", method = POST)]
async fn first(body: Body) -> Result<impl Stream<Item = Result<Value, Failed>>, Failed> {
    let events = first_ok(relay(upstream(body)).try_map(check)).await?;
    yield_all!(events);
}

#[sse_endpoint("/later", method = POST)]
async fn later(body: Body) -> Result<impl Stream<Item = Result<Value, Failed>>, Failed> {
    let mut events = first_ok(relay(upstream(body))).await?.try_map(check);
    while let Some(event) = events.next().await {
        let event = event?;
        yield_!(event);
    }
}

async fn post(path: &str, body: Body) -> testing::Response {
    let app = Router::new().sse(first).sse(later);
    testing::Client::new(app).post(path).body(body).await
}

const ERROR: &str = "event: error\nid: 7\ndata: {\"code\":\"overloaded\"}\n\n";

#[tokio::test]
async fn error_in_first_event_determines_the_status() {
    let response = post("/first", Body::from(ERROR)).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.text().await, r#"{"code":"overloaded"}"#);
}

#[tokio::test]
async fn reported_error_ends_the_stream() {
    for path in ["/first", "/later"] {
        let body = format!("id: 6\ndata: 1\n\n{ERROR}data: 2\n\n");
        let relayed = post(path, Body::from(body)).await.text().await;
        let expected = "id: 6\ndata: 1\n\nevent: error\ndata: {\"code\":\"overloaded\"}\n\n";
        assert_eq!(relayed, expected, "{path}");
    }
}

#[tokio::test]
async fn relay_error_is_converted() {
    let broken = || Body::from_stream(tokio_stream::iter(broken(&["data: 1\n\n"])));
    for path in ["/first", "/later"] {
        let relayed = post(path, broken()).await.text().await;
        let expected =
            "data: 1\n\nevent: error\ndata: \"the upstream's event stream was cut off\"\n\n";
        assert_eq!(relayed, expected, "{path}");
    }
}
