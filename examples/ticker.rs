//! Streams prices to many browsers. Each price is encoded once, and a client that reconnects
//! receives the prices it missed.
//!
//! ```sh
//! cargo run --example ticker         # a page at http://127.0.0.1:3000; restart it while the page is open
//! cargo run --example ticker -- --store ticker.redb      # prices survive a restart, even after `kill -9`
//! curl -N 'http://127.0.0.1:3000/prices?symbol=ACME,HOOLI'
//! curl http://127.0.0.1:3000/prices --json '{"symbol":"ACME","cents":9999}'
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its address")]

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use sse_log::Log;
use sse_runtime::{
    Hub, LastEventId, SseRouterExt, Start, Stream, Topic, sse_endpoint,
    topic::{HubError, PublishError},
};
use tokio::time::{interval, timeout};

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

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Price {
    symbol: String,
    cents: u32,
    /// Milliseconds since 1970, like JavaScript's `Date.now()`.
    at: u64,
}

#[derive(serde::Deserialize)]
struct Symbols {
    /// One symbol, or several separated by commas.
    symbol: String,
}

/// Streams the prices of the requested symbols. Each event's id encodes the reader's position in
/// every one of them.
#[sse_endpoint("/prices", retry = "1s")]
async fn prices(
    Query(query): Query<Symbols>,
    State(market): State<Hub<Price>>,
    last: LastEventId,
) -> Result<impl Stream<Item = Price>, Refused> {
    // This code runs before the response starts. An unknown symbol is therefore answered with a 404
    // and does not create a topic.
    let symbols = query.symbol.split(',').map(listed);
    let symbols = symbols.collect::<Result<Vec<_>, _>>()?;
    let updates = market
        .subscribe(symbols, last.or(Start::Latest(DRAWN)))
        .await?;
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
    State(market): State<Hub<Price>>,
    Json(offer): Json<Offer>,
) -> Result<Json<String>, Refused> {
    let symbol = listed(&offer.symbol)?;
    let price = Price {
        symbol: symbol.to_owned(),
        cents: offer.cents,
        at: now(),
    };
    let topic = market.topic(symbol).await?;
    let id = topic.publish(&price).await?;
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

/// Publishes random price movements, starting from the newest stored prices.
async fn trade(market: Hub<Price>) {
    let mut prices = SYMBOLS;
    for (symbol, cents) in &mut prices {
        let Ok(topic) = market.topic(symbol).await else {
            continue;
        };
        let mut held = topic.subscribe(Start::Latest(1));
        // If there is no price yet, `recv` would wait, so limit its time to zero.
        if let Ok(Some(Ok(newest))) = timeout(Duration::ZERO, held.recv()).await {
            *cents = newest.cents;
        }
    }
    let mut interval = interval(Duration::from_millis(150));
    loop {
        interval.tick().await;
        let (symbol, cents) = &mut prices[fastrand::usize(..SYMBOLS.len())];
        let step = *cents / 150;
        *cents = (*cents + fastrand::u32(0..=2 * step))
            .saturating_sub(step)
            .max(100);
        let price = Price {
            symbol: symbol.to_string(),
            cents: *cents,
            at: now(),
        };
        let published = async {
            let topic = market
                .topic(symbol)
                .await
                .map_err(|error| error.to_string())?;
            topic
                .publish(&price)
                .await
                .map_err(|error| error.to_string())
        };
        if let Err(error) = published.await {
            tracing::warn!(error, "failed to publish a price");
        }
    }
}

/// Creates a hub with one topic per symbol, either in memory or in a log.
fn market(log: Option<&Log>) -> Hub<Price> {
    let market = Hub::builder(|| Topic::builder().keep(HELD)).max_topics(SYMBOLS.len());
    match log {
        None => market.build(),
        Some(log) => market.engine(log, "prices").build(),
    }
}

fn app(market: Hub<Price>) -> Router {
    Router::new()
        .route("/", get(Html(include_str!("ticker.html"))))
        .route("/prices", post(set_price))
        .sse(prices)
        .with_state(market)
}

#[derive(clap::Parser)]
struct Args {
    /// The file in which to store the prices. By default, prices are lost when the program stops.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[arg(long, env, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let log = match args.store {
        None => None,
        Some(file) => Some(Log::open(file).await?),
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    let market = market(log.as_ref());
    tokio::spawn(trade(market.clone()));
    sse_runtime::serve(listener, app(market)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
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
        let client = Client::new(app(market(None)));
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
        let client = Client::new(app(market(None)));
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
        let before = Client::new(app(market(None)));
        set(&before, "ACME", 1).await;
        let mut events = before.get("/prices?symbol=ACME").await.events();
        let seen = events.expect_event().await;

        let after = Client::new(app(market(None)));
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
        let log = Log::open(&file).await.unwrap();
        let before = Client::new(app(market(Some(&log))));
        set(&before, "ACME", 1).await;
        set(&before, "ACME", 2).await;
        let mut events = before.get(path).await.events();
        let seen = events.expect_event().await;
        events.disconnect().await;
        drop((before, log));

        let log = Log::open(&file).await.unwrap();
        let after = Client::new(app(market(Some(&log))));
        set(&after, "ACME", 3).await;
        let mut events = after.get(path).last_event_id(&seen.id).await.events();
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 2));
        assert_eq!(price(&events.expect_event().await), ("ACME".into(), 3));
    }

    #[tokio::test]
    async fn unlisted_symbols_are_not_found() {
        let client = Client::new(app(market(None)));
        let watched = client.get("/prices?symbol=ACME,ENRON").await;
        assert_eq!(watched.status(), StatusCode::NOT_FOUND);
        assert_eq!(set(&client, "ENRON", 1).await, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn page_reads_the_endpoint() {
        let page = Client::new(app(market(None))).get("/").await.text().await;
        assert!(page.contains(&format!("new EventSource(`{}?symbol=", prices().path())));
        for (symbol, _) in SYMBOLS {
            assert!(page.contains(symbol));
        }
    }
}
