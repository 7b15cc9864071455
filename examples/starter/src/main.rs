//! A news feed: `GET /news` streams headlines, and `POST /news` publishes one.
//!
//! ```sh
//! cargo run
//! curl -N http://127.0.0.1:3000/news
//! curl http://127.0.0.1:3000/news --json '{"title":"It works"}'
//! ```

use std::{env, error::Error, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use sse_runtime::{
    LastEventId, Server, SseRouterExt, Start, Stream, Topic, sse_endpoint, topic::PublishError,
};
use tracing_subscriber::EnvFilter;

/// The number of headlines that are kept for clients that reconnect.
const HELD: usize = 1_000;

/// The number of headlines that a new client receives.
const SHOWN: usize = 10;

/// The maximum number of open streams. Each one needs a file descriptor, so the limit on open files
/// must be higher.
const MAX_STREAMS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Headline {
    title: String,
}

/// Streams the newest headlines, and then every new one. A client that reconnects continues after
/// the last headline it has received.
#[sse_endpoint("/news")]
async fn news(
    State(news): State<Topic<Headline>>,
    last: LastEventId,
) -> impl Stream<Item = Headline> {
    yield_all!(news.subscribe(last.or(Start::Latest(SHOWN))));
}

/// Publishes a headline to all clients. Put a layer that authenticates the request in front of this
/// handler before you deploy it.
async fn publish(
    State(news): State<Topic<Headline>>,
    Json(headline): Json<Headline>,
) -> Result<StatusCode, PublishError> {
    let id = news.publish(&headline).await?;
    tracing::info!(%id, title = headline.title, "published a headline");
    Ok(StatusCode::CREATED)
}

fn app() -> Router {
    Router::new()
        .sse(news)
        .route("/news", post(publish))
        .with_state(Topic::in_memory(HELD))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    // The time between SIGTERM and SIGKILL. The default is that of `docker stop` and Cloud Run.
    let grace = match env::var("GRACE_SECONDS") {
        Ok(seconds) => seconds
            .parse()
            .map_err(|error| format!("GRACE_SECONDS is `{seconds}`: {error}"))?,
        Err(_) => 10,
    };
    Server::new(app())
        .max_streams(MAX_STREAMS)
        .readiness_path("/readyz")
        .grace(Duration::from_secs(grace))
        .serve(address)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sse_runtime::testing::Client;

    use super::*;

    fn headline(title: &str) -> Headline {
        Headline {
            title: title.to_owned(),
        }
    }

    async fn publish(client: &Client, title: &str) {
        let response = client.post("/news").json(&headline(title)).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    }

    #[tokio::test]
    async fn headline_reaches_open_streams() {
        let client = Client::new(app());
        let mut events = client.get("/news").await.events();
        publish(&client, "It works").await;
        let event = events.expect_event().await;
        assert_eq!(event.json::<Headline>(), headline("It works"));
    }

    #[tokio::test]
    async fn client_resumes_after_its_last_headline() {
        let client = Client::new(app());
        let mut events = client.get("/news").await.events();
        publish(&client, "first").await;
        events.expect_event().await;
        let last = events.last_event_id().to_owned();
        events.disconnect().await;

        publish(&client, "second").await;
        let again = client.get("/news").last_event_id(last);
        let event = again.await.events().expect_event().await;
        assert_eq!(event.json::<Headline>(), headline("second"));
    }

    #[tokio::test]
    async fn invalid_headline_is_rejected() {
        let client = Client::new(app());
        let response = client.post("/news").json(&"no title").await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
