//! A node of `cargo xtask peers`. It stores a topic and a run in Redis. The first argument is the
//! port, and the second is the Redis URL.
//!
//! | path | purpose |
//! | --- | --- |
//! | `GET /events` | the events, from the first or after the client's last event id |
//! | `POST /publish` | publishes the number in the body. The status is 200 if `publish` returned `Ok` |
//! | `GET /run` | the run, which publishes 20 numbers per second |

use std::time::Duration;

use axum::{extract::State, http::StatusCode, routing::post};
use sse_redis::Redis;
use sse_runtime::{
    Hub, LastEventId, SseRouterExt as _, Start, Stream, Topic, sse_endpoint,
    topic::{HubError, PublishError},
};
use tokio::{net::TcpListener, time::interval};

#[sse_endpoint("/events")]
async fn events(
    State(hub): State<Hub<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, HubError> {
    let topic = hub.topic("events").await?;
    yield_all!(topic.subscribe(last.or(Start::First)));
}

#[sse_endpoint("/run")]
async fn run(
    State(hub): State<Hub<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, HubError> {
    let run = hub.spawn(
        "run",
        last.or(Start::First),
        |topic: Topic<u64>| async move {
            let mut every = interval(Duration::from_millis(50));
            for number in 1.. {
                every.tick().await;
                topic.publish(&number).await?;
            }
            Ok::<(), PublishError>(())
        },
    );
    let run = run.await?;
    yield_all!(run);
}

async fn publish(State(hub): State<Hub<u64>>, body: String) -> Result<(), StatusCode> {
    let number = body.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let unavailable = |_| StatusCode::SERVICE_UNAVAILABLE;
    let topic = hub.topic("events").await.map_err(unavailable)?;
    match topic.publish(&number).await {
        Ok(_) => Ok(()),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().ok_or("the port is missing")?.parse()?;
    let url = args.next().ok_or("the Redis URL is missing")?;
    let redis = Redis::open(url).await?;
    let hub = Hub::builder(|| Topic::builder().keep(10_000))
        .engine(&redis, "peers")
        .build();
    let app = axum::Router::new()
        .sse(events)
        .sse(run)
        .route("/publish", post(publish))
        .with_state(hub);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(sse_runtime::serve(listener, app).await?)
}
