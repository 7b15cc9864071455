//! Streams the steps of an order without this framework.

use std::time::Duration;

use axum::{
    Router,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
    serve::ListenerExt,
};
use futures_core::Stream;

mod orders;
use orders::{Order, find};

#[derive(serde::Deserialize)]
struct Resume {
    #[serde(rename = "lastEventId")]
    last_event_id: Option<String>,
}

/// The steps of an order, starting after the last one that the client received.
async fn steps(
    Path(id): Path<u64>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = header.map(str::to_owned).or(resume.last_event_id);
    if last.as_deref().is_some_and(|id| id.ends_with("~done")) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let order = find(id).await.ok_or(StatusCode::NOT_FOUND)?;
    let seen: u64 = last.and_then(|id| id.parse().ok()).unwrap_or(0);
    let stream = Sse::new(events(order, seen)).keep_alive(KeepAlive::default());
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

fn events(order: Order, seen: u64) -> impl Stream<Item = Result<Event, axum::Error>> {
    async_stream::try_stream! {
        yield Event::default().retry(Duration::from_secs(3));
        for number in seen + 1..=order.steps {
            match order.step(number).await {
                Ok(step) => yield Event::default().id(number.to_string()).json_data(step)?,
                Err(error) => {
                    tracing::warn!(?error, "the stream ended with an error");
                    yield Event::default().event("error").json_data(error)?;
                    return;
                }
            }
        }
        let done = format!("{}~done", order.steps);
        yield Event::default().event("done").id(done).data("null");
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/orders/{id}/steps", get(steps));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    tokio::select! {
        served = axum::serve(listener, app) => served,
        pressed = tokio::signal::ctrl_c() => pressed,
    }
}
