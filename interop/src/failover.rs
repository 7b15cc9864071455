//! Tests clients that read from two `ticker` servers through HAProxy. The servers share a Redis
//! server. They are killed and restarted, first in turn and then both at once. Each client must
//! receive every price exactly once and in order.

use std::{
    collections::BTreeSet,
    env,
    fmt::Display,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cluster::{Balance, Process, Program, down_servers, free_ports};
use serde::{Deserialize, Serialize};
use sse_redis::Redis;
use sse_runtime::{SseEvent, Start, Topic, topic::PublishError};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{Ask, Client, PATIENCE, Programs, Reading, Received},
    column::Column,
    property::same,
    table::{Cell, Table},
};

const TITLE: &str = "receives every price once while its servers are killed";

/// The clients that reconnect automatically and are the most likely to be used with several servers.
const COLUMNS: [Column; 3] = [Column::Chromium, Column::Firefox, Column::NodeEventSource];

/// The symbol whose prices the clients read.
const SYMBOL: &str = "ACME";

/// The time between two prices of the test. The servers publish their own prices as well.
const PRICE_INTERVAL: Duration = Duration::from_millis(50);

/// The price that ends the test.
const LAST: u32 = u32::MAX;

/// The events of `ticker`. It stores only prices.
#[derive(Clone, Debug, Deserialize, SseEvent)]
enum Update {
    #[sse(text)]
    Server(String),
    #[sse(message)]
    Price(Price),
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Price {
    symbol: String,
    cents: u32,
    at: u64,
}

impl Price {
    /// Creates a price of the test. The prices that the servers publish have a greater `at`.
    fn numbered(number: u32) -> Self {
        Self {
            symbol: SYMBOL.to_owned(),
            cents: number,
            at: 0,
        }
    }

    /// Parses the price in an event. Returns `None` for any other event.
    fn of(event: &Received) -> Option<Self> {
        let is_price = event.name == "message";
        is_price.then(|| serde_json::from_str(&event.data).ok())?
    }

    fn number(&self) -> Option<u32> {
        (self.at == 0).then_some(self.cents)
    }
}

/// Tests all clients at the same time.
pub(crate) async fn test(programs: &Programs, scripts: &str) -> Result<Table, String> {
    let directory = tempfile::tempdir().map_err(to_text)?;
    let mut servers = Servers::start(directory.path()).await?;
    let url = format!("{}/prices?symbol={SYMBOL}", servers.url());
    let mut table = Table::new(vec![TITLE.to_owned()]);
    let mut readers = Vec::new();
    for column in COLUMNS {
        match column.start(programs, scripts).await {
            Ok(client) => readers.push(Reader::start(column, client, &url).await),
            Err(error) => table.column(column.name(), vec![Cell::Skipped(error)]),
        }
    }
    let seconds = env::var("SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(20));
    let start = Instant::now();
    let mut kills = 0;
    while start.elapsed() < duration {
        servers.kill_one(kills % 2).await?;
        kills += 1;
    }
    servers.kill_both().await?;
    let all = servers.finish().await?;
    println!(
        "killed {kills} servers while {} prices were published",
        all.len()
    );
    for reader in readers {
        let name = reader.column.name();
        let outcome = reader.finish(&all).await;
        if let Err(error) = &outcome {
            println!("{name}, {TITLE}: {error}");
        }
        table.column(name, vec![Cell::of(outcome, None)]);
    }
    Ok(table)
}

/// A client and the events that it has received.
struct Reader {
    column: Column,
    client: Client,
    reading: Result<Reading, String>,
    events: Vec<Received>,
}

impl Reader {
    /// Starts reading and waits for the first price, so that no server is killed while the client
    /// connects for the first time.
    async fn start(column: Column, client: Client, url: &str) -> Self {
        let reading = client.read(Ask::get(url.to_owned())).await;
        let mut reader = Self {
            column,
            client,
            reading,
            events: Vec::new(),
        };
        if let Err(error) = reader.read_until(|_| true).await {
            reader.reading = Err(error);
        }
        reader
    }

    async fn read_until(&mut self, is_last: impl Fn(&Price) -> bool) -> Result<(), String> {
        let reading = self.reading.as_mut().map_err(|error| error.clone())?;
        loop {
            let event = reading.event().await?;
            let is_over = Price::of(&event).is_some_and(|price| is_last(&price));
            self.events.push(event);
            if is_over {
                return Ok(());
            }
        }
    }

    /// Reads up to the last price, and compares the client's events with all prices.
    async fn finish(mut self, all: &[Price]) -> Result<(), String> {
        let read = self.read_until(|price| price.number() == Some(LAST)).await;
        let checked = read.and_then(|()| check(&self.events, all));
        self.client.quit().await;
        checked
    }
}

/// Checks that a client has received all prices since its first one, has not received a gap, and
/// has been connected to both servers.
fn check(events: &[Received], all: &[Price]) -> Result<(), String> {
    let (names, prices): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.name == "server");
    let prices = prices.into_iter().map(|event| {
        let price = Price::of(event);
        price.ok_or_else(|| format!("{event:?} instead of a price"))
    });
    let prices = prices.collect::<Result<Vec<_>, _>>()?;
    let first = all.iter().position(|price| prices.first() == Some(price));
    let expected = &all[first.ok_or("the first price is not stored")?..];
    for (at, (received, expected)) in prices.iter().zip(expected).enumerate() {
        same(&format!("price {at}"), received, expected)?;
    }
    same("number of prices", &prices.len(), &expected.len())?;
    let server_names = ["a", "b"];
    let missing = server_names
        .iter()
        .find(|name| names.iter().all(|event| event.data != **name));
    match missing {
        None => Ok(()),
        Some(name) => Err(format!("was never connected to server {name}")),
    }
}

/// HAProxy with two servers, and a publisher and a reader that use Redis directly.
struct Servers {
    haproxy: Process,
    nodes: [Process; 2],
    _redis: Process,
    is_finished: Arc<AtomicBool>,
    publisher: JoinHandle<Result<(), PublishError>>,
    reader: JoinHandle<Result<Vec<Price>, String>>,
}

impl Servers {
    async fn start(directory: &Path) -> Result<Self, String> {
        let [redis, a, b, haproxy] = free_ports().map_err(to_text)?;
        let url = format!("redis://127.0.0.1:{redis}");
        let redis = start(Program::redis("redis", directory, redis, None)).await?;
        let nodes = [
            start(Program::example("ticker", "a", directory, a, &url)).await?,
            start(Program::example("ticker", "b", directory, b, &url)).await?,
        ];
        let haproxy = Program::haproxy("haproxy", directory, haproxy, [a, b], Balance::RoundRobin);
        let haproxy = start(haproxy).await?;
        let engine = Redis::open(&url).await.map_err(to_text)?;
        // The topic's name in the hub of `ticker`, which has the prefix `prices`.
        let name = format!("prices/{SYMBOL}");
        let topic = Topic::open(&engine, &name).await.map_err(to_text)?;
        let is_finished = Arc::<AtomicBool>::default();
        Ok(Self {
            haproxy,
            nodes,
            _redis: redis,
            publisher: tokio::spawn(publish(topic.clone(), is_finished.clone())),
            reader: tokio::spawn(read(topic)),
            is_finished,
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.haproxy.program().port())
    }

    /// Kills a server, and restarts it once the clients have had time to reconnect.
    async fn kill_one(&mut self, node: usize) -> Result<(), String> {
        self.nodes[node].kill().await.map_err(to_text)?;
        self.wait_for_haproxy(|down| !down.is_empty()).await?;
        // The clients wait for one second before they reconnect, as specified by `retry`.
        sleep(Duration::from_millis(1_500)).await;
        self.nodes[node].restart().await.map_err(to_text)?;
        self.wait_for_haproxy(<[String]>::is_empty).await
    }

    /// Kills both servers, and restarts them once the clients have tried to reconnect. While no
    /// server is running, HAProxy must respond in such a way that browsers keep reconnecting.
    async fn kill_both(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            node.kill().await.map_err(to_text)?;
        }
        self.wait_for_haproxy(|down| down.len() == 2).await?;
        sleep(Duration::from_millis(1_500)).await;
        for node in &mut self.nodes {
            node.restart().await.map_err(to_text)?;
        }
        self.wait_for_haproxy(<[String]>::is_empty).await
    }

    /// Waits until HAProxy considers an expected set of servers to be down.
    async fn wait_for_haproxy(
        &self,
        is_expected: impl Fn(&[String]) -> bool,
    ) -> Result<(), String> {
        let directory = self.haproxy.program().directory();
        let waiting = async {
            while !is_expected(&down_servers(directory).await.map_err(to_text)?) {
                // Poll, since HAProxy does not announce the results of its health checks.
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        let waited = timeout(PATIENCE, waiting).await;
        waited.map_err(|_| "HAProxy did not notice that a server was killed or restarted")?
    }

    /// Publishes the last price, and returns all prices up to that one. The test's own prices must
    /// all be stored.
    async fn finish(&mut self) -> Result<Vec<Price>, String> {
        self.is_finished.store(true, Ordering::Relaxed);
        let published = (&mut self.publisher).await.map_err(to_text)?;
        published.map_err(to_text)?;
        let all = (&mut self.reader).await.map_err(to_text)??;
        let mut numbers: Vec<_> = all.iter().filter_map(Price::number).collect();
        numbers.pop();
        let expected: Vec<_> = (1..).take(numbers.len()).collect();
        same("stored prices", &numbers, &expected)?;
        // Both servers publish a price at each tick, and only one of the two prices is stored.
        let mut times = BTreeSet::new();
        let mut of_servers = all.iter().filter(|price| price.number().is_none());
        match of_servers.find(|price| !times.insert(price.at)) {
            Some(price) => return Err(format!("both servers have stored {price:?}")),
            None if times.is_empty() => return Err("the servers have stored no price".to_owned()),
            None => {}
        }
        Ok(all)
    }
}

async fn start(program: io::Result<Program>) -> Result<Process, String> {
    Process::start(program.map_err(to_text)?)
        .await
        .map_err(to_text)
}

/// Publishes numbered prices until `is_finished` is set, and then the last price.
async fn publish(topic: Topic<Update>, is_finished: Arc<AtomicBool>) -> Result<(), PublishError> {
    for number in 1.. {
        if is_finished.load(Ordering::Relaxed) {
            break;
        }
        let price = Update::Price(Price::numbered(number));
        topic.publish(&price).await?;
        sleep(PRICE_INTERVAL).await;
    }
    let last = Update::Price(Price::numbered(LAST));
    topic.publish(&last).await.map(drop)
}

/// Reads all prices up to the last one.
async fn read(topic: Topic<Update>) -> Result<Vec<Price>, String> {
    let mut reader = topic.subscribe(Start::First);
    let mut prices = Vec::new();
    while prices.last().and_then(Price::number) != Some(LAST) {
        match reader.recv().await {
            Some(Ok(update)) => match &*update {
                Update::Price(price) => prices.push(price.clone()),
                Update::Server(name) => return Err(format!("the name {name:?} is stored")),
            },
            other => return Err(format!("expected a price, found {other:?}")),
        }
    }
    Ok(prices)
}

fn to_text(error: impl Display) -> String {
    error.to_string()
}
