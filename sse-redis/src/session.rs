//! Keeps the connections open, and passes the messages of the feed to the node.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{
    Msg, Value,
    aio::{MultiplexedConnection, PubSubSink},
    cmd,
};
use sse_runtime::topic::engine::Backoff;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::{Instant, sleep, timeout},
};
use tokio_stream::StreamExt as _;

use crate::{
    connect::{self, Opened, is_master},
    shared::Shared,
    wire::{self, Message},
};

/// A request to subscribe to a topic's channel if [`Shared::watched`] contains the topic, or to
/// unsubscribe from the channel otherwise. It is confirmed once the server has confirmed the
/// change.
pub(crate) struct Request {
    pub(crate) topic: Arc<str>,
    pub(crate) done: Option<oneshot::Sender<()>>,
}

pub(crate) type Requests = UnboundedSender<Request>;

/// The interval between heartbeats, which detect connections that have failed silently.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The time within which the pub/sub connection must respond.
const FEED_TIMEOUT: Duration = Duration::from_secs(3);

/// The time within which the connection for commands must respond. Large replies may precede the
/// reply to the heartbeat.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of channels per request.
const CHANNELS: usize = 500;

/// The first delay between attempts to reconnect.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// The longest delay between attempts to reconnect. [`longest_delay`] reduces it if the leases of
/// runs are short.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// The reason why a session has ended.
enum End {
    /// The engine has been dropped.
    Dropped,
    Lost(String),
}

/// Keeps the connections open until the engine is dropped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    opened: Opened,
    mut requests: UnboundedReceiver<Request>,
) {
    let longest = longest_delay(shared.config.run_ttl);
    let mut backoff = Backoff::new(FIRST_DELAY, longest);
    let mut opened = Some(opened);
    // Whether a failed attempt to reconnect has been logged as a warning during this outage.
    let mut is_reported = false;
    loop {
        let is_first = opened.is_some();
        let session = match opened.take() {
            Some(opened) => Ok(opened),
            None => connect::connect(&shared.config).await,
        };
        let address = shared.config.address();
        match session {
            Ok(session) => {
                if !is_first {
                    tracing::info!(address = &*address, "reconnected to Redis");
                }
                let start = Instant::now();
                let end = serve(&shared, session, &mut requests).await;
                shared.set_connections(None);
                if let Some(feed) = shared.feed() {
                    feed.disconnected();
                }
                match end {
                    End::Dropped => return,
                    End::Lost(reason) => {
                        tracing::warn!(
                            address = &*address,
                            reason,
                            "lost the connection to Redis; reconnecting"
                        );
                    }
                }
                is_reported = false;
                if start.elapsed() > longest {
                    backoff.reset();
                }
            }
            Err(error) if is_reported => {
                tracing::debug!(%error, "failed to reconnect to Redis; trying again");
            }
            Err(error) => {
                tracing::warn!(%error, "failed to reconnect to Redis; trying again");
                is_reported = true;
            }
        }
        if requests.is_closed() {
            return;
        }
        backoff.wait().await;
    }
}

/// Returns the longest delay between attempts to reconnect. After an outage, the owner of a run has
/// the duration of a lease to renew it, so it must reconnect well within this time.
fn longest_delay(run_ttl: Duration) -> Duration {
    LONGEST_DELAY.min(run_ttl / 5)
}

/// Serves a session until one of its connections is lost.
async fn serve(shared: &Shared, opened: Opened, requests: &mut UnboundedReceiver<Request>) -> End {
    let Opened {
        connections,
        mut subscriptions,
        mut messages,
    } = opened;
    let watched: Vec<_> = shared.watched().iter().cloned().collect();
    if let Err(reason) = subscribe(shared, &mut subscriptions, &watched).await {
        return End::Lost(reason);
    }
    shared.set_seen();
    shared.set_connections(Some(connections.clone()));
    let address = shared.config.address();
    // From here on, the connection receives the messages of all these topics. The loop below passes
    // them to the feed.
    if let Some(feed) = shared.feed() {
        feed.reconnected();
    }
    let mut heartbeat = std::pin::pin!(heartbeats(
        shared,
        connections.commands.clone(),
        connections.appends.map(|(appends, _)| appends),
        subscriptions.clone(),
    ));
    let mut replaced = std::pin::pin!(shared.config.replaced(&address));
    let mut subscribing = std::pin::pin!(keep_subscribed(shared, subscriptions, requests));
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => deliver(shared, &message),
                None => return End::Lost("the pub/sub connection was closed".to_owned()),
            },
            reason = &mut heartbeat => return End::Lost(reason),
            reason = &mut replaced => return End::Lost(reason),
            end = &mut subscribing => return end,
            () = connections.lost.notified() => {
                return End::Lost("the connection was closed, or the server was demoted".to_owned());
            }
        }
    }
}

/// Passes a message to the feed.
fn deliver(shared: &Shared, message: &Msg) {
    let (Some(feed), channel) = (shared.feed(), message.get_channel_name()) else {
        return;
    };
    let Some(topic) = shared.config.topic_of(channel) else {
        return;
    };
    match wire::message(message.get_payload_bytes()) {
        Some(Message::Record(epoch, previous, stored)) => {
            feed.record(topic, epoch, previous, stored);
        }
        Some(Message::Look) => feed.skipped(topic),
        Some(Message::Nothing) => {}
        None => tracing::warn!(
            channel,
            "skipped a message on a topic's channel that this version of sse-redis cannot decode"
        ),
    }
}

/// Processes requests until the engine is dropped or the connection is lost.
async fn keep_subscribed(
    shared: &Shared,
    mut subscriptions: PubSubSink,
    requests: &mut UnboundedReceiver<Request>,
) -> End {
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, CHANNELS).await > 0 {
        let mut done = Vec::new();
        let mut topics = HashMap::new();
        for request in batch.drain(..) {
            done.extend(request.done);
            topics.insert(request.topic, false);
        }
        {
            let watched = shared.watched();
            for (topic, is_watched) in &mut topics {
                *is_watched = watched.contains(topic);
            }
        }
        let (watched, unwatched): (Vec<_>, Vec<_>) =
            topics.into_iter().partition(|(_, is_watched)| *is_watched);
        let names = |topics: Vec<(Arc<str>, bool)>| -> Vec<Arc<str>> {
            topics.into_iter().map(|(topic, _)| topic).collect()
        };
        let changed = async {
            subscribe(shared, &mut subscriptions, &names(watched)).await?;
            unsubscribe(shared, &mut subscriptions, &names(unwatched)).await
        };
        if let Err(reason) = changed.await {
            return End::Lost(reason);
        }
        for done in done {
            // The follower may have stopped waiting.
            let _ = done.send(());
        }
    }
    End::Dropped
}

async fn subscribe(
    shared: &Shared,
    subscriptions: &mut PubSubSink,
    topics: &[Arc<str>],
) -> Result<(), String> {
    for topics in topics.chunks(CHANNELS) {
        let channels = channels(shared, topics);
        let subscribed = timeout(FEED_TIMEOUT, subscriptions.subscribe(channels)).await;
        let subscribed = subscribed.map_err(|_| "a subscription was not confirmed".to_owned())?;
        subscribed.map_err(|error| shared.config.without_password(error.to_string()))?;
    }
    Ok(())
}

async fn unsubscribe(
    shared: &Shared,
    subscriptions: &mut PubSubSink,
    topics: &[Arc<str>],
) -> Result<(), String> {
    if topics.is_empty() {
        return Ok(());
    }
    let channels = channels(shared, topics);
    let unsubscribed = timeout(FEED_TIMEOUT, subscriptions.unsubscribe(channels)).await;
    let unsubscribed =
        unsubscribed.map_err(|_| "an unsubscription was not confirmed".to_owned())?;
    unsubscribed.map_err(|error| shared.config.without_password(error.to_string()))
}

fn channels(shared: &Shared, topics: &[Arc<str>]) -> Vec<String> {
    let channel = |topic: &Arc<str>| shared.config.channel(topic);
    topics.iter().map(channel).collect()
}

/// Checks at regular intervals that the server responds on all connections and is still a master.
/// Returns the reason once a check fails.
async fn heartbeats(
    shared: &Shared,
    mut commands: MultiplexedConnection,
    appends: Option<MultiplexedConnection>,
    mut feed: PubSubSink,
) -> String {
    let no_reply = |connection: &str| format!("the {connection} does not respond");
    let commands = async {
        loop {
            sleep(HEARTBEAT).await;
            let mut info = cmd("INFO");
            let info = info.arg("replication").query_async::<String>(&mut commands);
            match timeout(COMMANDS_TIMEOUT, info).await {
                Ok(Ok(info)) if is_master(&info) => shared.set_seen(),
                Ok(Ok(_)) => return "the server has become a replica".to_owned(),
                Ok(Err(error)) => return shared.config.without_password(error.to_string()),
                Err(_) => return no_reply("connection for commands"),
            }
        }
    };
    let appends = async {
        let Some(mut appends) = appends else {
            return std::future::pending().await;
        };
        let patience = shared.config.publish_timeout + COMMANDS_TIMEOUT;
        loop {
            sleep(HEARTBEAT).await;
            let ping = cmd("PING");
            match timeout(patience, ping.query_async::<Value>(&mut appends)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return shared.config.without_password(error.to_string()),
                Err(_) => return no_reply("connection for appends"),
            }
        }
    };
    let feed = async {
        loop {
            sleep(HEARTBEAT).await;
            match timeout(FEED_TIMEOUT, feed.ping::<Value>()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return shared.config.without_password(error.to_string()),
                Err(_) => return no_reply("pub/sub connection"),
            }
        }
    };
    tokio::select! {
        reason = commands => reason,
        reason = appends => reason,
        reason = feed => reason,
    }
}
