//! Two servers that share a topic.

use axum::{Router, extract::State, http::StatusCode, routing::post};
use sse_redis::Redis;
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint, topic::PublishError};
use support::{Client, SseRouterExt as _, serve};

#[path = "../../../sse-redis/tests/support/mod.rs"]
mod redis_servers;

#[sse_endpoint("/prices")]
async fn prices(State(prices): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(prices.subscribe(last.or(Start::Now)));
}

async fn set_price(
    State(prices): State<Topic<u64>>,
    price: String,
) -> Result<StatusCode, PublishError> {
    prices.publish(&price.parse().unwrap_or(0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a server of its own, with its own connection to Redis.
async fn start(redis: &str) -> std::net::SocketAddr {
    let redis = Redis::open(redis).await.unwrap();
    let topic: Topic<u64> = Topic::open(&redis, "prices").await.unwrap();
    let app = Router::new()
        .sse(prices)
        .route("/price", post(set_price))
        .with_state(topic);
    serve(app).await
}

async fn set(addr: std::net::SocketAddr, price: u64) {
    let price = price.to_string();
    let mut client = Client::post(addr, "/price", price.len(), price.as_bytes()).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
}

/// Reads until `price` has arrived. Returns all prices received so far, and the last id.
async fn prices_to(client: &mut Client, price: u64) -> (Vec<u64>, String) {
    let text = client.read_to(&format!("data: {price}\n\n")).await;
    let values = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let prices = values("data: ").into_iter();
    let prices = prices.map(|data| data.parse().unwrap()).collect();
    (prices, values("id: ").pop().unwrap())
}

async fn resume(addr: std::net::SocketAddr, id: &str) -> Client {
    let mut client = Client::connect(addr).await;
    let request = format!("GET /prices HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n");
    client.send(request.as_bytes()).await;
    client.head().await;
    client
}

#[tokio::test]
async fn client_resumes_at_the_other_replica() {
    let redis = redis_servers::server::Server::in_memory().await;
    let (one, two) = (start(&redis.url()).await, start(&redis.url()).await);

    // Each replica delivers the events that are published through the other one.
    let mut client = Client::get(one, "/prices").await;
    client.head().await;
    set(two, 100).await;
    let (prices, id) = prices_to(&mut client, 100).await;
    assert_eq!(prices, [100]);
    drop(client);

    // No replica has a client while these events are published.
    set(one, 101).await;
    set(two, 102).await;

    let mut client = resume(two, &id).await;
    assert_eq!(prices_to(&mut client, 102).await.0, [101, 102]);
    set(one, 103).await;
    assert_eq!(prices_to(&mut client, 103).await.0, [101, 102, 103]);
}
