//! The server that runs in each node's process, and [`Node`], which starts and kills this process.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    ops::Range,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::StatusCode,
    middleware::map_response,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sse_redis::Redis;
use sse_runtime::{
    EventId, Hub, LastEventId, Start, Stream, Topic, sse_endpoint,
    topic::{HubError, PublishError},
};
use support::SseRouterExt as _;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::redis_servers::PATIENCE;

/// The environment variable that makes this binary a node. It contains the node's [`Settings`].
const NODE: &str = "CLUSTER_NODE";

/// The prefix of the hub's topics.
pub(crate) const HUB: &str = "cluster";

/// The response header that contains the node's number.
pub(crate) const NUMBER: &str = "node";

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) number: usize,
    pub(crate) url: String,
    pub(crate) keep: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) run_ttl: Duration,
    /// Whether the node runs a version that cannot decode [`Value::Renamed`].
    pub(crate) is_old: bool,
}

/// The values of the topics.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Stored")]
pub(crate) enum Value {
    Number {
        value: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        text: String,
    },
    Renamed {
        value: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Number {
        value: u64,
        #[serde(default)]
        text: String,
    },
    Renamed {
        value: u64,
    },
}

static IS_OLD: OnceLock<bool> = OnceLock::new();

impl TryFrom<Stored> for Value {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, &'static str> {
        match stored {
            Stored::Number { value, text } => Ok(Self::Number { value, text }),
            Stored::Renamed { .. } if IS_OLD.get() == Some(&true) => Err("unknown variant"),
            Stored::Renamed { value } => Ok(Self::Renamed { value }),
        }
    }
}

#[derive(Clone)]
struct Server {
    redis: Redis,
    hub: Hub<Value>,
    number: usize,
}

/// Sends the stored bytes.
#[sse_endpoint("/topics/{name}", retry = "20ms", keep_alive = "1s")]
async fn read(
    State(server): State<Server>,
    Path(name): Path<String>,
    last: LastEventId,
) -> Result<impl Stream<Item = Value>, HubError> {
    let topic = server.hub.topic(&name).await?;
    yield_all!(topic.subscribe(last.or(Start::First)));
}

/// Decodes each event.
#[sse_endpoint("/typed/{name}", retry = "20ms", keep_alive = "1s")]
async fn read_typed(
    State(server): State<Server>,
    Path(name): Path<String>,
    last: LastEventId,
) -> Result<impl Stream<Item = Value>, HubError> {
    let topic = server.hub.topic(&name).await?;
    let mut updates = topic.subscribe(last.or(Start::First));
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
}

/// The number of events of a resumable run.
pub(crate) const RUN_LENGTH: u64 = 300;

/// Starts or reads a run. The texts of its events contain the number of the node that has published
/// them.
#[sse_endpoint("/runs/{kind}/{name}", retry = "20ms", keep_alive = "1s")]
async fn run(
    State(server): State<Server>,
    Path((kind, name)): Path<(String, String)>,
    last: LastEventId,
) -> Result<impl Stream<Item = Value>, HubError> {
    let (hub, number) = (&server.hub, server.number);
    let run = match &*kind {
        "resumable" => {
            hub.spawn_or_resume(&name, last, move |topic, so_far| {
                count_up(topic, number, so_far.len() as u64..RUN_LENGTH)
            })
            .await?
        }
        _ => {
            hub.spawn(&name, last, |topic| count_up(topic, number, 0..u64::MAX))
                .await?
        }
    };
    yield_all!(run);
}

async fn count_up(
    topic: Topic<Value>,
    node: usize,
    values: Range<u64>,
) -> Result<(), PublishError> {
    for value in values {
        let text = node.to_string();
        topic
            .publish_with_retry(&Value::Number { value, text })
            .await?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// An event to publish.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Publish {
    pub(crate) value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The length of the text.
    pub(crate) len: usize,
    pub(crate) is_renamed: bool,
}

/// Publishes an event, and returns the result as text.
async fn publish(
    State(server): State<Server>,
    Path(name): Path<String>,
    Query(event): Query<Publish>,
) -> String {
    let topic = match server.hub.topic(&name).await {
        Ok(topic) => topic,
        Err(error) => return format!("unavailable {error}"),
    };
    let value = match event.is_renamed {
        true => Value::Renamed { value: event.value },
        false => Value::Number {
            value: event.value,
            text: "x".repeat(event.len),
        },
    };
    report(match event.key {
        Some(key) => {
            let key = u128::from_str_radix(&key, 16).unwrap();
            topic.publish_with_key(key, &value).await
        }
        None => topic.publish(&value).await,
    })
}

fn report(published: Result<EventId, PublishError>) -> String {
    match published {
        Ok(id) => format!("ok {id}"),
        Err(PublishError::Unavailable { source, .. }) => format!("unavailable {source}"),
        Err(PublishError::Unknown { key, .. }) => format!("unknown {key}"),
        Err(PublishError::Finished) => "finished".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

async fn finish(State(server): State<Server>, Path(name): Path<String>) -> String {
    let topic = match server.hub.topic(&name).await {
        Ok(topic) => topic,
        Err(error) => return format!("unavailable {error}"),
    };
    match topic.finish().await {
        Ok(()) => "finished".to_owned(),
        Err(error) => report(Err(error)),
    }
}

async fn is_ready(State(server): State<Server>) -> StatusCode {
    match server.redis.is_healthy() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Runs a node until its process is killed. Prints the node's address, or the reason why it cannot
/// start.
#[test]
fn node() {
    let Ok(settings) = env::var(NODE) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    IS_OLD.set(settings.is_old).unwrap();
    thread::spawn(|| {
        // The pipe is closed when the test's process ends, even if it is killed.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let print = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let redis = Redis::builder().publish_timeout(settings.publish_timeout);
        let redis = redis.run_ttl(settings.run_ttl);
        let redis = match redis.open(&settings.url).await {
            Ok(redis) => redis,
            Err(error) => return print(format!("\nfailed {error}\n")),
        };
        let hub = Hub::builder(move || Topic::builder().keep(settings.keep));
        let hub = hub.engine(&redis, HUB).build();
        let app = Router::new()
            .sse(read)
            .sse(read_typed)
            .sse(run)
            .route("/topics/{name}", post(publish))
            .route("/topics/{name}/end", post(finish))
            .route("/readyz", get(is_ready))
            .layer(map_response(move |mut response: Response| async move {
                response
                    .headers_mut()
                    .insert(NUMBER, settings.number.into());
                response
            }))
            .with_state(Server {
                redis,
                hub,
                number: settings.number,
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        print(format!("\nat {}\n", listener.local_addr().unwrap()));
        sse_runtime::serve(listener, app).await.unwrap();
    });
}

/// A node's process. It is killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts a node. If the node cannot connect to its engine, returns the reason.
    pub(crate) async fn start(
        settings: &Settings,
        environment: &[(String, String)],
    ) -> Result<Self, String> {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["node::node", "--exact", "--nocapture", "--test-threads=1"])
            .env(NODE, serde_json::to_string(settings).unwrap())
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, mut lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|len| len > 0) {
                let _ = sender.send(line.trim_end().to_owned());
                line.clear();
            }
        });
        loop {
            let line = timeout(PATIENCE, lines.recv()).await;
            let line = line.expect("the node does not start").unwrap_or_default();
            let (word, rest) = line.split_once(' ').unwrap_or_default();
            match word {
                "at" => {
                    let address = rest.parse().unwrap();
                    return Ok(Self { child, address });
                }
                "failed" => {
                    child.wait().unwrap();
                    return Err(rest.to_owned());
                }
                _ => {}
            }
        }
    }

    /// Kills the process with SIGKILL and waits for it to exit.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Suspends the process with SIGSTOP, or resumes it with SIGCONT.
    pub(crate) fn suspend(&self, is_suspended: bool) {
        let signal = if is_suspended { "-STOP" } else { "-CONT" };
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Returns the size of the process's resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.unwrap().parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
