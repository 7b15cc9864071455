//! [`Cluster`]: a server, three nodes, and the clients and publishers that use them.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use sse_redis::Redis;
use sse_runtime::Topic;
use tokio::time::sleep;

use crate::{
    client::{Addresses, Client, Mode},
    history::{History, Item, Kind},
    node::{HUB, Node, Publish, Settings, Value},
    publisher::{Attempt, Outcome, Publisher, Publishing},
    redis_servers::{
        PATIENCE,
        proxy::Proxy,
        server::{Program, Server},
        until,
    },
};

pub(crate) const NODES: usize = 3;

/// The topic of most scenarios.
pub(crate) const TOPIC: &str = "numbers";

/// A single run of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    /// The program of the server.
    pub(crate) server: String,
    pub(crate) seed: u64,
}

pub(crate) struct Cluster {
    pub(crate) run: Run,
    pub(crate) rng: Rng,
    start: Instant,
    /// The server to which the proxies forward connections.
    pub(crate) server: Server,
    /// The proxy between each node and the server.
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) settings: Settings,
    addresses: Addresses,
    http: reqwest::Client,
    pub(crate) clients: Vec<Client>,
    /// The proxies of the clients that use `eventsource-client`. Each connection leads to a random
    /// node.
    balancers: Vec<Proxy>,
    pub(crate) publishing: Publishing,
    publishers: Vec<Publisher>,
}

impl Cluster {
    /// Starts a server and three nodes.
    pub(crate) async fn start(run: Run, arguments: &[&str]) -> Self {
        let server = Server::start_program(&Program::new(&*run.server), arguments).await;
        Self::start_on(run, server, 100_000).await
    }

    /// Starts three nodes, whose topics keep `keep` events.
    pub(crate) async fn start_on(run: Run, server: Server, keep: usize) -> Self {
        let mut cluster = Self::without_nodes(run, server, keep).await;
        for number in 0..NODES {
            cluster.start_node(number).await;
        }
        cluster
    }

    pub(crate) async fn without_nodes(run: Run, server: Server, keep: usize) -> Self {
        let rng = Rng::with_seed(run.seed);
        let mut proxies = Vec::new();
        for _ in 0..NODES {
            proxies.push(Proxy::start(server.port()).await);
        }
        let addresses: Addresses = Arc::new(Mutex::new(vec![None; NODES]));
        let http = reqwest::Client::builder().no_proxy();
        let http = http.pool_max_idle_per_host(8).build().unwrap();
        let start = Instant::now();
        let publishing = Publishing {
            http: http.clone(),
            addresses: Arc::clone(&addresses),
            start,
            attempts: Arc::default(),
        };
        let settings = Settings {
            number: 0,
            url: String::new(),
            keep,
            publish_timeout: Duration::from_millis(500),
            run_ttl: Duration::from_secs(10),
            is_old: false,
        };
        Self {
            run,
            rng,
            start,
            server,
            proxies,
            nodes: (0..NODES).map(|_| None).collect(),
            settings,
            addresses,
            http,
            clients: Vec::new(),
            balancers: Vec::new(),
            publishing,
            publishers: Vec::new(),
        }
    }

    /// Returns a new random generator, so that a task's choices do not depend on those of others.
    pub(crate) fn fork(&mut self) -> Rng {
        Rng::with_seed(self.rng.u64(..))
    }

    pub(crate) async fn start_node(&mut self, number: usize) {
        let settings = self.settings.clone();
        self.start_node_with(number, settings, &[]).await.unwrap();
    }

    /// Starts a node with these settings and this number. If the settings contain no URL, the node
    /// reaches the server through its proxy.
    pub(crate) async fn start_node_with(
        &mut self,
        number: usize,
        settings: Settings,
        environment: &[(String, String)],
    ) -> Result<(), String> {
        let mut settings = Settings { number, ..settings };
        if settings.url.is_empty() {
            settings.url = self.proxies[number].url();
        }
        let node = Node::start(&settings, environment).await?;
        self.addresses.lock().unwrap()[number] = Some(node.address);
        self.nodes[number] = Some(node);
        Ok(())
    }

    pub(crate) fn kill_node(&mut self, number: usize) {
        self.addresses.lock().unwrap()[number] = None;
        // The operating system may assign the node's port to another process.
        self.balance();
        // Dropping the node kills it.
        self.nodes[number] = None;
    }

    /// Returns the URL of a path at a node.
    pub(crate) fn url(&self, number: usize, path: &str) -> String {
        let address = self.nodes[number].as_ref().unwrap().address;
        format!("http://{address}{path}")
    }

    pub(crate) async fn get(&self, number: usize, path: &str) -> reqwest::Response {
        let request = self.http.get(self.url(number, path));
        request.send().await.unwrap()
    }

    pub(crate) async fn post(&self, number: usize, path: &str) -> String {
        let request = self.http.post(self.url(number, path));
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Starts a client that reads `/topics/numbers`. Returns its index.
    pub(crate) fn add_client(&mut self, mode: Mode) -> usize {
        self.add_client_of(&format!("/topics/{TOPIC}"), mode)
    }

    pub(crate) fn add_client_of(&mut self, path: &str, mode: Mode) -> usize {
        let rng = self.fork();
        let index = self.clients.len();
        self.clients.push(Client::start(
            format!("client {index}"),
            self.http.clone(),
            Arc::clone(&self.addresses),
            path,
            mode,
            History::new(self.start),
            rng,
        ));
        index
    }

    /// Starts `count` clients that connect to random nodes, and a quarter as many clients that use
    /// `eventsource-client`.
    pub(crate) async fn add_crowd(&mut self, count: usize) {
        for index in 0..count {
            let mode = match index % 4 {
                0 => Mode::Stay,
                _ => Mode::Roam,
            };
            self.add_client(mode);
        }
        for _ in 0..count.div_ceil(16) {
            let balancer = Proxy::start(0).await;
            for _ in 0..4 {
                let url = format!("http://127.0.0.1:{}/topics/{TOPIC}", balancer.port());
                let name = format!("eventsource-client {}", self.clients.len());
                let history = History::new(self.start);
                let client = Client::start_event_source(name, &url, history);
                self.clients.push(client);
            }
            self.balancers.push(balancer);
        }
        self.balance();
    }

    /// Forwards new connections of the balancers to random nodes.
    pub(crate) fn balance(&mut self) {
        let addresses = self.addresses.lock().unwrap();
        let ports = addresses.iter().flatten().map(std::net::SocketAddr::port);
        let ports: Vec<u16> = ports.collect();
        for balancer in &self.balancers {
            if let Some(port) = self.rng.choice(&ports) {
                balancer.redirect(*port);
            }
        }
    }

    /// Cuts the connections of one balancer's clients, which then reconnect to random nodes.
    pub(crate) fn shuffle(&mut self) {
        self.balance();
        if !self.balancers.is_empty() {
            self.balancers[self.rng.usize(..self.balancers.len())].cut();
        }
    }

    /// Starts `count` publishers, each of which publishes an event every `pace` on average.
    pub(crate) fn publish_all_the_time(&mut self, count: u64, pace: Duration) {
        for publisher in 0..count {
            let rng = self.fork();
            let path = format!("/topics/{TOPIC}");
            let publishing = self.publishing.clone();
            let first = publisher + 1;
            let publisher = Publisher::start(publishing, &path, first, count, pace, rng);
            self.publishers.push(publisher);
        }
    }

    pub(crate) async fn stop_publishers(&mut self) {
        for publisher in self.publishers.drain(..) {
            publisher.stop().await;
        }
    }

    /// Publishes an event with a random key once through a node.
    pub(crate) async fn publish(&mut self, number: usize, value: u64) -> Outcome {
        let key = Some(format!("{:032x}", self.rng.u128(..)));
        self.publish_event(number, value, key).await
    }

    pub(crate) async fn publish_event(
        &self,
        number: usize,
        value: u64,
        key: Option<String>,
    ) -> Outcome {
        let event = Publish {
            value,
            key,
            ..Publish::default()
        };
        let path = format!("/topics/{TOPIC}");
        let outcome = self.publishing.attempt(number, &path, &event).await;
        outcome.unwrap_or_else(|| Outcome::Unavailable("the node is not running".into()))
    }

    /// Publishes a value through a node until it is stored. Returns its id.
    pub(crate) async fn publish_stubbornly(&mut self, number: usize, value: u64) -> String {
        let event = Publish {
            value,
            ..Publish::default()
        };
        self.store(number, TOPIC, event).await
    }

    /// Publishes an event with a random key to a topic through a node until it is stored. Returns
    /// its id.
    pub(crate) async fn store(
        &mut self,
        number: usize,
        topic: impl fmt::Display,
        mut event: Publish,
    ) -> String {
        event.key = Some(format!("{:032x}", self.rng.u128(..)));
        let path = format!("/topics/{topic}");
        let end = Instant::now() + PATIENCE;
        loop {
            let outcome = self.publishing.attempt(number, &path, &event).await;
            if let Some(Outcome::Ok(id)) = outcome {
                return id;
            }
            let value = event.value;
            assert!(Instant::now() < end, "{value} is not stored: {outcome:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Publishes values from this process, directly to a server.
    pub(crate) async fn publish_elsewhere(&self, server: &Server, values: Range<u64>) {
        if values.is_empty() {
            return;
        }
        let redis = Redis::open(server.url()).await.unwrap();
        let topic = Topic::builder().keep(self.settings.keep);
        let topic = topic.open(&redis, &format!("{HUB}/{TOPIC}")).await.unwrap();
        for value in values {
            let text = String::new();
            let id = topic.publish(&Value::Number { value, text }).await.unwrap();
            self.publishing.attempts.lock().unwrap().push(Attempt {
                at: self.start.elapsed(),
                node: NODES,
                value,
                key: None,
                outcome: Outcome::Ok(id.to_string()),
            });
        }
    }

    /// Waits until the publishers have received confirmations for `count` more events.
    pub(crate) async fn confirmed(&mut self, count: usize) {
        let wanted = self.publishing.confirmed() + count;
        let publishing = self.publishing.clone();
        until("more events are confirmed", async || {
            publishing.confirmed() >= wanted
        })
        .await;
    }

    pub(crate) async fn pause(&mut self, milliseconds: Range<u64>) {
        let pause = self.rng.u64(milliseconds);
        sleep(Duration::from_millis(pause)).await;
    }

    /// Waits until all of these clients have received the event with this id.
    pub(crate) async fn received(&self, clients: &[usize], id: &str) {
        until("the clients have received an event", async || {
            let has = |client: &usize| {
                let is_it = |kind: &Kind| matches!(kind, Kind::Event { id: got, .. } if got == id);
                self.clients[*client].history.count(is_it) > 0
            };
            clients.iter().all(has)
        })
        .await;
    }

    pub(crate) fn items(&self, client: usize) -> Vec<Item> {
        self.clients[client].history.items()
    }

    /// Returns the gaps that a client has received.
    pub(crate) fn gaps(&self, client: usize) -> Vec<(String, Option<u64>)> {
        let items = self.items(client).into_iter();
        let gaps = items.filter_map(|item| match item.kind {
            Kind::Gap { reason, missed, .. } => Some((reason, missed)),
            _ => None,
        });
        gaps.collect()
    }

    /// Removes all faults that the proxies inject.
    pub(crate) fn heal(&self) {
        for proxy in &self.proxies {
            proxy.hold_replies(false);
            proxy.drop_messages(false);
            proxy.delay_messages(Duration::ZERO);
            proxy.heal();
        }
    }
}
