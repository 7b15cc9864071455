//! [`RedisEngine`]: implements [`Engine`] for a Redis server.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Value, aio::MultiplexedConnection, cmd};
use sse_runtime::topic::engine::{
    AppendError, Appended, BoxFuture, Engine, Feed, Keep, Kind, Members, Page, Record, RunLeases,
    RunOwner, Tail, Unreachable,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    failure::{Failure, is_demoted, rejects_writes},
    session::{Request, Requests},
    shared::{Connections, Shared},
    wire::{self, AppendReply},
};

/// The maximum size of a body that is sent through the channel, in bytes. Larger records are read
/// from the log.
pub(crate) const MAX_MESSAGE_BODY: u64 = 16 * 1024;

/// The maximum number of logs that are read at the same time. Heartbeats use the same connection,
/// so their replies arrive only after the replies to these reads.
const MAX_READS: usize = 8;

/// The maximum time that a read waits for a connection. If the read fails, the node repeats it
/// later.
pub(crate) const READ_PATIENCE: Duration = Duration::from_secs(5);

/// The maximum of the numbers that are passed to a script. Lua's numbers are `f64`s, which
/// represent every integer up to this one exactly.
const MAX_NUMBER: u64 = (1 << 53) - 1;

pub(crate) struct RedisEngine {
    pub(crate) shared: Arc<Shared>,
    /// The session ends when this is dropped.
    requests: Requests,
    reads: Semaphore,
}

impl RedisEngine {
    pub(crate) fn new(shared: Arc<Shared>, requests: Requests) -> Self {
        Self {
            shared,
            requests,
            reads: Semaphore::new(MAX_READS),
        }
    }

    /// Converts an error returned by a request for `key`. If the server is no longer the master,
    /// ends the session, which then reconnects.
    pub(crate) fn failure(
        &self,
        connections: &Connections,
        error: &redis::RedisError,
        key: &str,
    ) -> Failure {
        if is_demoted(error) {
            connections.lost.notify_one();
        }
        if rejects_writes(error) {
            self.shared.set_not_writable();
        }
        Failure::from_request(&self.shared.config, error, key)
    }

    async fn append(
        &self,
        topic: &str,
        record: Record,
        keep: Keep,
        owner: Option<RunOwner>,
    ) -> Result<Appended, AppendError> {
        let config = &self.shared.config;
        let (len, max) = (record.body.len(), config.max_event_bytes);
        if len > max && record.kind == Kind::Event {
            return Err(AppendError::TooLarge { len, max });
        }
        let deadline = Instant::now() + config.publish_timeout;
        let mut connections = self.shared.connected(config.publish_timeout).await?;
        let Some((mut appends, turn)) = connections.appends.take() else {
            let mut commands = connections.commands.clone();
            return self
                .append_on(&mut commands, &connections, topic, record, keep, owner)
                .await;
        };
        let turn = timeout_at(deadline, turn.lock_owned()).await;
        let _turn = turn.map_err(|_| {
            let waited = config.publish_timeout;
            AppendError::Unavailable(Box::new(Failure::Busy { waited }))
        })?;
        let appended = self
            .append_on(&mut appends, &connections, topic, record, keep, owner)
            .await?;
        let waiting = self.wait_for_replicas(&mut appends, &connections, topic);
        // The record is already stored, so no error, not even one that the server returns, means
        // that it was not stored.
        let unknown = |failure| AppendError::Unknown(Box::new(failure));
        waiting.await.map_err(unknown)?;
        Ok(appended)
    }

    async fn append_on(
        &self,
        connection: &mut MultiplexedConnection,
        connections: &Connections,
        topic: &str,
        record: Record,
        keep: Keep,
        owner: Option<RunOwner>,
    ) -> Result<Appended, AppendError> {
        let config = &self.shared.config;
        let [events, bytes, age] = limits(keep);
        let kind = match record.kind {
            Kind::Event => "b",
            Kind::End => "e",
        };
        let keys = [
            config.log(topic),
            config.index(topic),
            config.run(topic),
            config.leases(),
        ];
        let owner = owner.map_or(Bytes::new(), |owner| {
            Bytes::copy_from_slice(&owner.to_bytes())
        });
        let arguments: [Bytes; 12] = [
            wire::new_epoch().to_string().into(),
            Bytes::copy_from_slice(&record.key.to_bytes()),
            kind.into(),
            record.body,
            events,
            bytes,
            age,
            config.channel(topic).into(),
            count(MAX_MESSAGE_BODY),
            flag(config.replicas > 0),
            Bytes::copy_from_slice(topic.as_bytes()),
            owner,
        ];
        let running = self
            .shared
            .scripts
            .append
            .run(connection, &keys, &arguments);
        let reply = timeout(config.publish_timeout, running).await;
        let reply = reply.map_err(|_| Failure::no_reply(config, config.publish_timeout))?;
        let [log, ..] = keys;
        let reply = reply.map_err(|error| self.failure(connections, &error, &log))?;
        match wire::append_reply(&reply).ok_or(Failure::Malformed { key: log.clone() })? {
            AppendReply::Ended => Err(AppendError::Ended),
            AppendReply::Fenced => Err(AppendError::Fenced),
            AppendReply::Stored(appended, removed) => {
                if removed > 0 {
                    tracing::warn!(
                        key = log,
                        removed,
                        "removed entries from a topic's log that another program had added"
                    );
                }
                Ok(appended)
            }
        }
    }

    async fn wait_for_replicas(
        &self,
        connection: &mut MultiplexedConnection,
        connections: &Connections,
        topic: &str,
    ) -> Result<(), Failure> {
        let config = &self.shared.config;
        let (wanted, waited) = (config.replicas, config.publish_timeout);
        // With a timeout of 0, `WAIT` would block forever.
        let limit = waited.as_millis().max(1).to_string();
        let mut wait = cmd("WAIT");
        let waiting = wait.arg(wanted).arg(limit).query_async::<usize>(connection);
        // The server enforces the limit, so if no reply arrives, the connection is broken.
        let confirmed = timeout(waited * 2, waiting).await;
        let confirmed = confirmed.map_err(|_| Failure::no_reply(config, waited * 2))?;
        let failed = |error| self.failure(connections, &error, &config.log(topic));
        let confirmed = confirmed.map_err(failed)?;
        if confirmed < wanted {
            return Err(Failure::Replicas {
                confirmed,
                wanted,
                waited,
            });
        }
        Ok(())
    }

    async fn read(&self, topic: &str, after: u64, bytes: usize) -> Result<Page, Failure> {
        let Ok(_permit) = self.reads.acquire().await else {
            return Err(Failure::not_connected(&self.shared.config));
        };
        let connections = self.shared.connected(READ_PATIENCE).await?;
        let log = self.shared.config.log(topic);
        let after = after.min(MAX_NUMBER);
        let arguments = [
            wire::new_epoch().to_string().into(),
            after.to_string().into(),
            bytes.max(1).to_string().into(),
        ];
        let (mut commands, script) = (connections.commands.clone(), &self.shared.scripts.read);
        let reply = script.run(&mut commands, std::slice::from_ref(&log), &arguments);
        let reply = reply.await;
        let reply = reply.map_err(|error| self.failure(&connections, &error, &log));
        let reply = reply.inspect_err(|failure| {
            if let Failure::NotALog { .. } = failure {
                tracing::error!(%failure, "failed to read a topic");
            }
        })?;
        match wire::read_reply(reply, after) {
            Some((page, 0)) => Ok(page),
            Some((page, foreign)) => {
                tracing::warn!(
                    key = log,
                    foreign,
                    "skipped entries of a topic's log that another program has added"
                );
                Ok(page)
            }
            None => Err(Failure::Malformed { key: log }),
        }
    }

    async fn tails(&self, topics: &[&str]) -> Result<Vec<Option<Tail>>, Failure> {
        let connections = self.shared.connected(READ_PATIENCE).await?;
        let keys: Vec<_> = topics
            .iter()
            .map(|topic| self.shared.config.log(topic))
            .collect();
        let (mut commands, script) = (connections.commands.clone(), &self.shared.scripts.tails);
        let reply: Result<Value, _> = script.run(&mut commands, &keys, &[]).await;
        let key = || keys.first().cloned().unwrap_or_default();
        let reply = reply.map_err(|error| self.failure(&connections, &error, &key()))?;
        wire::tails_reply(&reply)
            .filter(|tails| tails.len() == topics.len())
            .ok_or_else(|| Failure::Malformed { key: key() })
    }
}

/// Encodes a Boolean argument of a script.
pub(crate) fn flag(value: bool) -> Bytes {
    Bytes::from_static(if value { b"1" } else { b"0" })
}

/// Converts a number to an argument of a script.
pub(crate) fn count(count: u64) -> Bytes {
    count.min(MAX_NUMBER).to_string().into()
}

/// Converts a duration to an argument of a script, in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> Bytes {
    count(u64::try_from(time.as_millis()).unwrap_or(MAX_NUMBER))
}

/// Converts the limits of a topic to the arguments of a script.
pub(crate) fn limits(keep: Keep) -> [Bytes; 3] {
    [
        count(keep.events as u64),
        count(keep.bytes as u64),
        keep.age.map_or(Bytes::new(), milliseconds),
    ]
}

impl Engine for RedisEngine {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn start(&self, feed: Feed) {
        self.shared.set_feed(feed);
    }

    fn run_leases(&self) -> Option<&dyn RunLeases> {
        Some(self)
    }

    fn members(&self) -> Option<&dyn Members> {
        Some(self)
    }

    fn watch<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            let topic: Arc<str> = topic.into();
            let (done, confirmed) = oneshot::channel();
            self.shared.watched().insert(Arc::clone(&topic));
            let request = Request {
                topic,
                done: Some(done),
            };
            let sent = self.requests.send(request);
            if sent.is_ok() && confirmed.await.is_ok() {
                return Ok(());
            }
            Err(Failure::not_connected(&self.shared.config).into())
        })
    }

    fn unwatch(&self, topic: &str) {
        let topic: Arc<str> = topic.into();
        self.shared.watched().remove(&topic);
        // Sending fails only if the session has ended because the runtime is shutting down.
        let _ = self.requests.send(Request { topic, done: None });
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        keep: Keep,
        owner: Option<RunOwner>,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(self.append(topic, record, keep, owner))
    }

    fn tails<'a>(
        &'a self,
        topics: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Tail>>, Unreachable>> {
        Box::pin(async { Ok(self.tails(topics).await?) })
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        after: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, Unreachable>> {
        Box::pin(async move { Ok(self.read(topic, after, bytes).await?) })
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}
