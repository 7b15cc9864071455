//! Streams prices to many browsers. Each price is encoded once, and a client that reconnects
//! receives the prices it missed.
//!
//! ```sh
//! cargo run --example ticker         # a page at http://127.0.0.1:3000; restart it while the page is open
//! cargo run --example ticker -- --store ticker.redb      # prices survive a restart, even after `kill -9`
//! cargo run --example ticker -- --store redis://127.0.0.1 --port 3001      # several servers share the prices
//! curl -N 'http://127.0.0.1:3000/prices?symbol=ACME,HOOLI'
//! curl http://127.0.0.1:3000/prices --json '{"symbol":"ACME","cents":9999}'
//! ```
//!
//! With Redis, every server publishes the prices, but each price is stored only once, because all
//! servers give it the same key. `cargo xtask cluster` runs two servers and prints how to kill one
//! of them.
#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::{FromRef, Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use schemars::JsonSchema;
use sse_runtime::{
    Hub, LastEventId, Server, SseEvent, SseRouterExt, Start, Stream, Topic,
    openapi::Api,
    sse_endpoint,
    topic::{HubError, PublishError},
};
use tokio::time::{sleep, timeout};

mod node;
use node::{Node, NodeArgs};

/// The traded symbols, with their initial prices in cents.
const SYMBOLS: [(&str, u32); 4] = [
    ("ACME", 12_400),
    ("GLOBEX", 8_150),
    ("HOOLI", 31_900),
    ("INITECH", 4_620),
];

/// The number of prices to keep per symbol, for clients that connect or reconnect.
const HELD: usize = 300;

/// The number of prices per symbol that a new client receives. The page draws the same number.
const DRAWN: usize = 120;

/// The time between two prices, in milliseconds.
const TICK: u64 = 150;

/// The events of `/prices`.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema, SseEvent)]
enum Update {
    /// The name of the server that the client is connected to.
    #[sse(text)]
    Server(String),
    /// A price. The event has no name, so an `EventSource` dispatches it as `message`.
    #[sse(message)]
    Price(Price),
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
struct Price {
    symbol: String,
    cents: u32,
    /// Milliseconds since 1970, like JavaScript's `Date.now()`.
    at: u64,
}

#[derive(serde::Deserialize, JsonSchema)]
struct Symbols {
    /// One symbol, or several separated by commas.
    symbol: String,
}

/// Streams the prices of the requested symbols. Each event's id encodes the reader's position in
/// every one of them.
#[sse_endpoint("/prices", retry = "1s")]
async fn prices(
    Query(query): Query<Symbols>,
    State(market): State<Hub<Update>>,
    State(node): State<Node>,
    last: LastEventId,
) -> Result<impl Stream<Item = Update>, Refused> {
    // This code runs before the response starts. An unknown symbol is therefore answered with a 404
    // and does not create a topic.
    let symbols = query.symbol.split(',').map(listed);
    let symbols = symbols.collect::<Result<Vec<_>, _>>()?;
    let updates = market
        .subscribe(symbols, last.or(Start::Latest(DRAWN)))
        .await?;
    // The page shows the server that it is connected to. The event has no id, so it does not change
    // the position at which the client resumes.
    if let Some(name) = node.name() {
        yield_!(Update::Server(name.to_owned()));
    }
    // If prices that a client missed are no longer available, `yield_all!` sends a `gap` event.
    yield_all!(updates);
}

#[derive(serde::Deserialize)]
struct Offer {
    symbol: String,
    cents: u32,
}

/// Publishes a price and returns the id of its event.
async fn set_price(
    State(market): State<Hub<Update>>,
    Json(offer): Json<Offer>,
) -> Result<Json<String>, Refused> {
    let symbol = listed(&offer.symbol)?;
    let price = Price {
        symbol: symbol.to_owned(),
        cents: offer.cents,
        at: now(),
    };
    let topic = market.topic(symbol).await?;
    let id = topic.publish(&Update::Price(price)).await?;
    Ok(Json(id.to_string()))
}

/// The reasons why a request is rejected.
enum Refused {
    NotListed,
    Hub(HubError),
    Publish(PublishError),
}

impl From<HubError> for Refused {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::NotListed => StatusCode::NOT_FOUND.into_response(),
            Self::Hub(error) => error.into_response(),
            Self::Publish(error) => error.into_response(),
        }
    }
}

fn listed(symbol: &str) -> Result<&'static str, Refused> {
    let mut symbols = SYMBOLS.iter().map(|(listed, _)| *listed);
    symbols
        .find(|listed| *listed == symbol)
        .ok_or(Refused::NotListed)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Publishes one price per tick of the clock.
async fn trade(market: Hub<Update>) {
    let mut tick = now() / TICK;
    loop {
        tick = (now() / TICK).max(tick + 1);
        let wait = (tick * TICK).saturating_sub(now());
        sleep(Duration::from_millis(wait)).await;
        if let Err(error) = publish_tick(&market, tick).await {
            tracing::warn!(error, "failed to publish a price");
        }
    }
}

/// Publishes the price of this tick, which moves one of the symbols by a random amount.
///
/// The tick's number is the price's key. If several servers publish the same tick, only the first
/// price is stored, so the prices continue without duplicates as long as one server is running. The
/// servers' clocks may differ, provided that the topic still holds the price of a tick when the
/// server with the slowest clock publishes this tick.
async fn publish_tick(market: &Hub<Update>, tick: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(tick);
    let (symbol, initial) = SYMBOLS[random.usize(..SYMBOLS.len())];
    let topic = market.topic(symbol).await;
    let topic = topic.map_err(|error| error.to_string())?;
    let cents = newest(&topic).await.map_or(initial, |price| price.cents);
    let step = cents / 150;
    let cents = (cents + random.u32(0..=2 * step))
        .saturating_sub(step)
        .max(100);
    let price = Price {
        symbol: symbol.to_owned(),
        cents,
        at: tick * TICK,
    };
    let published = topic
        .publish_with_key(u128::from(tick), &Update::Price(price))
        .await;
    published.map(drop).map_err(|error| error.to_string())
}

/// Returns the newest price in the topic.
async fn newest(topic: &Topic<Update>) -> Option<Price> {
    let mut held = topic.subscribe(Start::Latest(1));
    // If there is no price yet, `recv` would wait, so use a timeout of zero.
    match timeout(Duration::ZERO, held.recv()).await {
        Ok(Some(Ok(newest))) => match &*newest {
            Update::Price(price) => Some(price.clone()),
            Update::Server(_) => None,
        },
        _ => None,
    }
}

/// Creates a hub with one topic per symbol.
fn market(node: &Node) -> Hub<Update> {
    let market = Hub::builder(|| Topic::builder().keep(HELD)).max_topics(SYMBOLS.len());
    node.hub(market, "prices")
}

#[derive(Clone, FromRef)]
struct App {
    market: Hub<Update>,
    node: Node,
}

impl App {
    fn new(node: Node) -> Self {
        Self {
            market: market(&node),
            node,
        }
    }
}

/// Returns a router with the endpoint, and adds the endpoint to the description.
fn endpoints(api: &Api) -> Router<App> {
    Router::new().sse(api.of(prices))
}

fn app(app: App) -> Router {
    let api = Api::new("Ticker", env!("CARGO_PKG_VERSION"));
    let client = (
        [(CONTENT_TYPE, "text/javascript")],
        include_str!("clients/ticker.js"),
    );
    endpoints(&api)
        .route("/", get(Html(include_str!("ticker.html"))))
        .route("/streams.js", get(client))
        .route("/prices", post(set_price))
        .route("/openapi.json", api.json())
        .route("/streams", api.explorer("/openapi.json"))
        .with_state(app)
}

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[arg(long, env, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let state = App::new(Node::open(args.node).await?);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(trade(state.market.clone()));
    let node = state.node.clone();
    Server::new(app(state))
        .readiness_check("/readyz", move || node.is_healthy())
        .serve(listener)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cluster::{Process, Program, free_ports};
    use sse_runtime::testing::{Client, ReceivedEvent};

    use super::*;

    async fn set(client: &Client, symbol: &str, cents: u32) -> StatusCode {
        let offer = serde_json::json!({ "symbol": symbol, "cents": cents });
        client.post("/prices").json(&offer).await.status()
    }

    fn price(event: &ReceivedEvent) -> (String, u64) {
        let price: serde_json::Value = event.json();
        let symbol = price["symbol"].as_str().unwrap().to_owned();
        (symbol, price["cents"].as_u64().unwrap())
    }

    #[tokio::test]
    async fn new_clients_get_earlier_and_later_prices() {
        let client = Client::new(app(App::new(Node::default())));
        assert_eq!(set(&client, "ACME", 1).await, StatusCode::OK);
        assert_eq!(set(&client, "HOOLI", 2).await, StatusCode::OK);
        let mut events = client.get("/prices?symbol=ACME").await.events();
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 1));
        set(&client, "HOOLI", 3).await;
        set(&client, "ACME", 4).await;
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 4));
    }

    #[tokio::test]
    async fn reconnecting_clients_get_what_they_missed() {
        let client = Client::new(app(App::new(Node::default())));
        let path = "/prices?symbol=ACME,HOOLI";
        set(&client, "ACME", 1).await;
        let mut events = client.get(path).await.events();
        let seen = events.expect_event().await;
        events.disconnect().await;
        set(&client, "HOOLI", 2).await;
        set(&client, "ACME", 3).await;
        let mut events = client.get(path).last_event_id(&seen.id).await.events();
        let mut missed = [
            price(&events.expect_event().await),
            price(&events.expect_event().await),
        ];
        missed.sort();
        assert_eq!(missed, [("ACME".into(), 3), ("HOOLI".into(), 2)]);
    }

    #[tokio::test]
    async fn clients_get_a_gap_after_a_server_restart() {
        let before = Client::new(app(App::new(Node::default())));
        set(&before, "ACME", 1).await;
        let mut events = before.get("/prices?symbol=ACME").await.events();
        let seen = events.expect_event().await;

        let after = Client::new(app(App::new(Node::default())));
        set(&after, "ACME", 2).await;
        let again = after.get("/prices?symbol=ACME").last_event_id(&seen.id);
        let mut events = again.await.events();
        let gap = events.expect_event().await;
        assert_eq!(gap.event, "gap");
        let gap: serde_json::Value = gap.json();
        assert_eq!(gap["reason"], "other_epoch");
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 2));
    }

    #[tokio::test]
    async fn stored_prices_survive_a_server_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ticker.redb");
        let path = "/prices?symbol=ACME";
        let args = NodeArgs {
            store: Some(file.to_str().unwrap().to_owned()),
            name: None,
        };
        let open = async || Node::open(args.clone()).await.unwrap();
        let before = Client::new(app(App::new(open().await)));
        set(&before, "ACME", 1).await;
        set(&before, "ACME", 2).await;
        let mut events = before.get(path).await.events();
        let seen = events.expect_event().await;
        events.disconnect().await;
        drop(before);

        let after = Client::new(app(App::new(open().await)));
        set(&after, "ACME", 3).await;
        let mut events = after.get(path).last_event_id(&seen.id).await.events();
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 2));
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 3));
    }

    #[tokio::test]
    async fn servers_share_prices_in_redis() {
        let directory = tempfile::tempdir().unwrap();
        let [port] = free_ports().unwrap();
        let redis = Program::redis("redis", directory.path(), port, None).unwrap();
        let _redis = Process::start(redis).await.unwrap();
        let server = async |name: &str| {
            let args = NodeArgs {
                store: Some(format!("redis://127.0.0.1:{port}")),
                name: Some(name.to_owned()),
            };
            Client::new(app(App::new(Node::open(args).await.unwrap())))
        };
        let (a, b) = (server("a").await, server("b").await);
        let path = "/prices?symbol=ACME";
        set(&a, "ACME", 1).await;
        let mut events = a.get(path).await.events();
        let name = events.expect_event().await;
        assert_eq!((&*name.event, &*name.data, &*name.id), ("server", "a", ""));
        let seen = events.expect_event().await;
        events.disconnect().await;
        set(&a, "ACME", 2).await;

        let mut events = b.get(path).last_event_id(&seen.id).await.events();
        assert_eq!(events.expect_event().await.data, "b");
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 2));
        set(&b, "ACME", 3).await;
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 3));
    }

    /// The second server publishes the same ticks as the first.
    #[tokio::test]
    async fn price_is_stored_once_if_it_is_published_twice() {
        let market = market(&Node::default());
        let ticks = 1..50;
        for tick in ticks.clone().chain(ticks.clone()) {
            publish_tick(&market, tick).await.unwrap();
        }
        let mut stored = Vec::new();
        for (symbol, _) in SYMBOLS {
            let topic = market.topic(symbol).await.unwrap();
            topic.finish().await.unwrap();
            let mut prices = topic.subscribe(Start::First);
            while let Some(price) = prices.recv().await {
                let Update::Price(price) = &*price.unwrap() else {
                    panic!("expected a price");
                };
                stored.push(price.at / TICK);
            }
        }
        stored.sort_unstable();
        assert_eq!(stored, Vec::from_iter(ticks));
    }

    #[tokio::test]
    async fn unlisted_symbols_are_not_found() {
        let client = Client::new(app(App::new(Node::default())));
        let watched = client.get("/prices?symbol=ACME,ENRON").await;
        assert_eq!(watched.status(), StatusCode::NOT_FOUND);
        assert_eq!(set(&client, "ENRON", 1).await, StatusCode::NOT_FOUND);
    }

    /// `UPDATE_CLIENTS=1 cargo test -p examples --example ticker` updates the description and
    /// the client, and then
    /// `UPDATE_CLIENTS=1 cargo xtask contract examples` updates the script.
    #[test]
    fn page_uses_the_generated_client() {
        let api = Api::new("Ticker", env!("CARGO_PKG_VERSION"));
        drop(endpoints(&api));
        let document = format!("{:#}\n", api.document());
        for (extension, new) in [("ts", api.typescript()), ("json", document)] {
            let path = format!("{}/clients/ticker.{extension}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_CLIENTS").is_some() {
                std::fs::write(&path, &new).unwrap();
            }
            let is_current = std::fs::read_to_string(&path).unwrap() == new;
            assert!(is_current, "{path} is out of date");
        }
        assert_eq!(api.untyped(), [""; 0]);
        let page = include_str!("ticker.html");
        assert!(page.contains(".prices({ symbol:"));
        for (symbol, _) in SYMBOLS {
            assert!(page.contains(symbol));
        }
    }
}
