#![cfg_attr(docsrs, feature(doc_cfg))]
//! Stores the topics of [`sse_runtime`] in Redis or Valkey, so that several servers can share them.
//!
//! By default, a [`Topic`](sse_runtime::Topic) is held in memory. Its events reach only the clients
//! of the same process, and they are lost when the process restarts. If a topic is stored in
//! [`Redis`], all servers deliver the same events in the same order. A client can reconnect to any
//! of the servers and then receives exactly the events that it missed.
//!
//! ```no_run
//! use sse_redis::Redis;
//! use sse_runtime::Topic;
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Price { symbol: String, cents: u64 }
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::open("redis://app:secret@redis.internal:6379").await?;
//! let prices: Topic<Price> = Topic::open(&redis, "prices").await?;
//!
//! // The clients of all servers receive the event.
//! prices.publish(&Price { symbol: "ACME".into(), cents: 1250 }).await?;
//! # Ok(()) }
//! ```
//!
//! Endpoints use the topic like any other topic. The values must implement
//! [`Serialize`](https://docs.rs/serde/latest/serde/trait.Serialize.html) and
//! [`Deserialize`](https://docs.rs/serde/latest/serde/trait.Deserialize.html).
//! [`HubBuilder::engine`](sse_runtime::topic::HubBuilder::engine) stores all topics of a hub.
//! [`Presence::open`](sse_runtime::topic::Presence::open) opens a presence that contains the members
//! of all servers.
//!
//! The page [Running on several machines](several_machines) describes how to move a program from
//! memory to Redis, and which events each configuration of Redis can lose.
//!
//! # Guarantees
//!
//! - All servers deliver a topic's events in the order in which Redis stored them. An event is
//!   delivered only after Redis has stored it.
//! - If a server loses its connection to Redis, its streams stay open. Once the connection has been
//!   restored, the clients receive the events that were published in the meantime.
//! - If Redis loses events, for example in a failover, the clients that may have received them get a
//!   gap with the reason `rolled_back`. If Redis loses an entire topic, its clients get a gap with
//!   the reason `other_epoch`.
//! - An event that is published again with [the same key](sse_runtime::Topic::publish_with_key) is
//!   stored only once, even if it is published by another server, provided that the topic still
//!   keeps the first copy.
//! - A [presence](sse_runtime::topic::Presence#several-servers) publishes one `joined` event when a
//!   member joins its first server, and one `left` event when the member leaves its last server or
//!   that server fails.
//! - The load on Redis depends on the number of events, topics and servers, but not on the number
//!   of clients. A server reads a topic from Redis when the topic is opened and whenever it may
//!   have missed an event. It also reads the topic if a client sends the id of an event that the
//!   server has not received, but at most ten times per second.
//!
//! # Durability
//!
//! Configure Redis according to the events that you can afford to lose:
//!
//! | configuration | `Ok` from `publish` means | possible loss |
//! | --- | --- | --- |
//! | `appendonly no` | the event is in Redis's memory | the events since the last snapshot, or all events without snapshots (`save ""`), if Redis stops |
//! | `appendonly yes`, `appendfsync everysec` | the event is in Redis's memory, and will be on the disk within about a second | the events of the last two seconds, in a power loss or if Redis is killed while the disk is slow |
//! | `appendonly yes`, `appendfsync always` | the event is on the disk (`fsync`) | none, unless the disk is lost |
//! | a replica | as above, for the master | the newest events, if the replica is promoted |
//! | a replica and [`replicas(1)`](RedisBuilder::replicas) | a replica has received the event as well | the newest events, if a replica that has not received them is promoted, or if the master restarts without them |
//!
//! Except with `appendfsync always`, clients may receive an event before it is on the disk.
//!
//! # Runs
//!
//! [`Hub::spawn`](sse_runtime::Hub::spawn) starts a run on one of the servers, no matter how many
//! servers receive a request for it. The clients of all servers read the run, and
//! [`Hub::abort`](sse_runtime::Hub::abort) stops it from any server.
//!
//! The server that is executing a run renews a lease in Redis. If the server stops, or if it cannot
//! reach Redis for [10 seconds](RedisBuilder::run_ttl), the run is lost. Another server then ends
//! the run within 5 more seconds. The run's clients receive the events that were published,
//! followed by a `close` event with the reason `producer_lost`. If the run was started by
//! [`Hub::spawn_or_resume`](sse_runtime::Hub::spawn_or_resume), another server continues it
//! instead, and the clients' streams stay open.
//!
//! A run cannot publish anything after another server has ended or continued it, because the script
//! that stores an event also checks the owner of the run. For example, if a server was suspended, its
//! next call to `publish` returns [`Fenced`](sse_runtime::topic::PublishError::Fenced) or
//! [`Finished`](sse_runtime::topic::PublishError::Finished), and its run is stopped.
//!
//! During an outage of Redis, runs continue, but they cannot publish. After the outage, all servers
//! have time to renew their leases before any run is considered lost, so an outage does not end any
//! runs.
//!
//! # Presences
//!
//! Each server renews its lease for a presence every 3 seconds. The lease is valid for 10 seconds
//! according to the clock of the Redis server. After an outage of Redis, the servers wait for 10
//! seconds before they remove the members of servers that have not renewed their leases.
//!
//! The events of a presence are published without waiting for [replicas](RedisBuilder::replicas).
//! If Redis loses the members of a presence, the servers report them again within about 3 seconds.
//!
//! # Errors
//!
//! If there is no connection, [`publish`](sse_runtime::Topic::publish) waits for up to
//! [`publish_timeout`](RedisBuilder::publish_timeout) and then returns
//! [`Unavailable`](sse_runtime::topic::PublishError::Unavailable). It also returns this error if
//! Redis rejects the event, for example because Redis is out of memory. The event is then neither
//! stored nor queued. If Redis does not reply in time, or if the connection is lost before the
//! reply arrives, `publish` returns [`Unknown`](sse_runtime::topic::PublishError::Unknown). In that
//! case, publish the event again with the key from the error.
//!
//! Call [`Redis::is_healthy`] in your readiness probe, so that the load balancer sends new clients to
//! another server if this one cannot reach Redis.
//!
//! # Permissions
//!
//! With the default [prefix](RedisBuilder::key_prefix), the following rule grants all permissions
//! that the crate needs:
//!
//! ```text
//! ACL SETUSER app on >secret ~sse:* resetchannels &sse:* -@all
//!     +eval +evalsha +time +xadd +xrange +xrevrange +xlen +xtrim
//!     +hset +hget +hmget +hdel +hkeys +hlen +hscan +rename +del
//!     +zadd +zrem +zscore +zrangebyscore +pttl +pexpire +persist
//!     +publish +subscribe +unsubscribe +ping +info
//! ```
//!
//! Add `+select` if the URL contains a database other than 0, and `+wait` if
//! [`replicas`](RedisBuilder::replicas) is used. If a permission is missing, [`Redis::open`] returns
//! an error that names the command.
//!
//! # Sentinel
//!
//! To follow failovers, pass the addresses of the sentinels and the name of the master, as
//! configured by `sentinel monitor`:
//!
//! ```no_run
//! # use sse_redis::Redis;
//! # async fn open() -> Result<(), sse_redis::RedisError> {
//! let url = "redis+sentinel://app:secret@s1.internal,s2.internal,s3.internal/mymaster";
//! let redis = Redis::open(url).await?;
//! # Ok(()) }
//! ```
//!
//! The user and the password are those of the master. If the sentinels require a user or a password
//! as well, call [`RedisBuilder::sentinel_auth`]. A database may follow the name, as in
//! `/mymaster/2`. The default port is 26379. With `rediss+sentinel://`, the connections to the
//! sentinels and to the master use TLS. The certificates must then be valid for the addresses that
//! the sentinels announce.
//!
//! Whenever the crate connects, it asks all sentinels for the master's address, and connects to the
//! server that most of them name. Every machine that runs this crate must be able to reach the
//! addresses that the sentinels announce. The following rule grants all permissions that the crate
//! needs on the sentinels:
//!
//! ```text
//! ACL SETUSER app on >sentinel-secret -@all +sentinel|get-master-addr-by-name
//! ```
//!
//! During a failover, the streams stay open. Until a replica has been promoted, `publish` fails as
//! described under [Errors](#errors). Once the crate has connected to the new master, the clients
//! receive the events that were published in the meantime. The crate polls the sentinels once per
//! second. If more than half of the sentinels in the URL name a different master, the crate
//! disconnects from the old master, even if the old master still responds. If sentinels cannot be
//! reached, the crate stays connected to the master.
//!
//! Replication is asynchronous, so a failover may lose events, even if `publish` has returned `Ok`.
//! Clients that received a lost event get a gap with the reason `rolled_back`. The other clients
//! get no gap. To lose fewer events, set `min-replicas-to-write 1` on the master and on the
//! replicas. A master that has been cut off from its replicas then rejects events after about ten
//! seconds (`min-replicas-max-lag`), and `publish` returns
//! [`Unavailable`](sse_runtime::topic::PublishError::Unavailable). Without this setting, such a
//! master continues to accept events, which are lost when it becomes a replica. With
//! [`replicas(1)`](RedisBuilder::replicas), `publish` returns `Ok` only after a replica has
//! received the event.
//!
//! # Keys
//!
//! | name | type | content |
//! | --- | --- | --- |
//! | `sse:log:prices` | stream | the events of the topic `prices` |
//! | `sse:keys:prices` | hash | an index of these events, which is used to recognize events that are published again. If it is missing, it is recreated from the stream |
//! | `sse:feed:0:prices` | channel | new events of the topic `prices` in database 0. Servers read events larger than 16 KiB from the stream instead |
//! | `sse:run:prices` | hash | the owner of the [run](#runs) that publishes to the topic `prices`. It is deleted when the run ends |
//! | `sse:leases` | sorted set | the time at which the lease of each run expires |
//! | `sse:members:presence:lobby` | hash | the members of the presence `lobby`, each with the servers at which it is present, and the servers' leases. The changes are stored in the topic `presence:lobby` |
//!
//! To delete a topic, delete the first two keys. If the topic is open, its clients get a gap. To
//! delete a presence, delete `sse:members:presence:lobby` and the two keys of the topic
//! `presence:lobby`. Servers that have the presence open report their members again.
//!
//! Other programs must not write to these keys. If another program adds entries to a stream, they
//! are skipped with a warning, and the next event that is published removes those that are newer
//! than the last event. If the key of a stream contains another type of value, or a stream that
//! belongs entirely to another program, opening the topic fails, and the key is not changed.
//!
//! # Eviction and expiry
//!
//! Set `maxmemory-policy` to `noeviction` or to one of the `volatile` policies. Any `allkeys` policy
//! may evict topics, and [`Redis::open`] logs a warning if one is set together with `maxmemory`.
//!
//! A topic keeps the events within its [limits](sse_runtime::topic::TopicBuilder), plus the event
//! before them. Older events are removed whenever an event is published. If
//! [`keep_for`](sse_runtime::topic::TopicBuilder::keep_for) is set, Redis removes the entire topic
//! one hour after its newest event has become too old, unless a server has the topic open. Without
//! `keep_for`, a topic is never removed, so set `keep_for` for topics whose names do not recur,
//! such as those of runs.
//!
//! # TLS
//!
//! With the `tls` feature, connections to `rediss://` and `rediss+sentinel://` URLs are encrypted
//! with rustls. The certificates are verified with the operating system's root certificates, or
//! with
#![cfg_attr(feature = "tls", doc = "[`RedisBuilder::root_certificate`].")]
#![cfg_attr(not(feature = "tls"), doc = "`RedisBuilder::root_certificate`.")]
//! If the application has not installed a default `CryptoProvider`, this crate installs the one
//! that uses `ring`.
//!
//! # Limits
//!
//! A server reads all members of a presence in one request when it opens the presence, and whenever
//! it may have missed one of the presence's events. While Redis executes this request, it does not
//! process any other commands. For 100,000 members, the request takes between 0.1 and 0.2 seconds.
//!
//! The crate supports a single master (Redis 6.2 or later, or Valkey 7.2 or later) with any number
//! of replicas, with or without Sentinel. It does not support Redis Cluster. Without Sentinel, the
//! host in the URL must refer to the new master after a failover, for example through DNS or a
//! proxy. If the master becomes a replica, the crate disconnects from it within about a second and
//! reconnects.
//!

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/several_machines.md")]
pub mod several_machines {}

mod builder;
mod config;
mod connect;
mod engine;
mod error;
mod failure;
mod members;
mod redis;
mod run_leases;
mod scripts;
mod sentinel;
mod server;
mod session;
mod shared;
mod url;
mod wire;

pub use self::redis::Redis;
pub use builder::RedisBuilder;
pub use error::RedisError;
