//! [`RedisBuilder`]: configures and opens a connection to Redis.

use std::{fmt, time::Duration};

use crate::{
    Redis, RedisError,
    config::{Config, Settings},
};

/// Connects to [`Redis`] with custom settings. See [`Redis::builder`].
///
/// ```no_run
/// use std::time::Duration;
/// use sse_redis::Redis;
///
/// # async fn open() -> Result<(), sse_redis::RedisError> {
/// let redis = Redis::builder()
///     .publish_timeout(Duration::from_secs(5))
///     .max_event_bytes(64 * 1024)
///     .key_prefix("shop:")
///     .open("redis://app:secret@redis.internal:6379")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct RedisBuilder {
    settings: Settings,
}

impl RedisBuilder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings {
                publish_timeout: Duration::from_secs(2),
                unhealthy_after: Duration::from_secs(10),
                max_event_bytes: 1024 * 1024,
                replicas: 0,
                run_ttl: Duration::from_secs(10),
                prefix: "sse:".to_owned(),
                sentinel_auth: None,
                root_certificate: None,
            },
        }
    }

    /// Sets how long publishing an event waits for a connection, and then how long it waits for the
    /// reply. The default is 2 seconds for each. If no connection is open in time, publishing
    /// returns [`Unavailable`](sse_runtime::topic::PublishError::Unavailable). If no reply arrives
    /// in time, it returns [`Unknown`](sse_runtime::topic::PublishError::Unknown).
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.settings.publish_timeout = timeout;
        self
    }

    /// Sets the number of replicas that must confirm an event (`WAIT`). The default is 0. If fewer
    /// replicas confirm the event within [`publish_timeout`](Self::publish_timeout), publishing
    /// returns [`Unknown`](sse_runtime::topic::PublishError::Unknown).
    ///
    /// If this number is not 0, the events that a process publishes are stored one after the other,
    /// so publishing takes longer. If an event's turn does not come within `publish_timeout`, the
    /// event is not stored, and publishing returns
    /// [`Unavailable`](sse_runtime::topic::PublishError::Unavailable). Clients may receive an event
    /// before the replicas have confirmed it.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.settings.replicas = replicas;
        self
    }

    /// Sets the time after which a [run](sse_runtime::Hub::spawn) is lost if the server that is
    /// executing it does not renew its lease. The default is 10 seconds. Another server then ends
    /// the run or, with [`spawn_or_resume`](sse_runtime::Hub::spawn_or_resume), continues it. All
    /// servers that share topics must use the same value.
    ///
    /// A value below 5 seconds may end the runs of healthy servers that are briefly busy. While
    /// Redis is unavailable, servers try to reconnect at least every 2 seconds, and more often if
    /// `ttl` is below 10 seconds. Each server checks for lost runs at intervals of at most a
    /// quarter of `ttl`. It considers a run lost only if, for at least `ttl`, the server itself has
    /// been connected to Redis and Redis has accepted writes. Runs therefore survive an outage of
    /// Redis.
    ///
    /// # Panics
    ///
    /// Panics if `ttl` is shorter than 100 milliseconds.
    #[track_caller]
    pub fn run_ttl(mut self, ttl: Duration) -> Self {
        assert!(
            ttl >= Duration::from_millis(100),
            "a run's lease must last for at least 100 milliseconds"
        );
        self.settings.run_ttl = ttl;
        self
    }

    /// Sets the maximum size of an event, in bytes. The default is 1 MiB. Publishing a larger event
    /// returns [`PublishError::TooLarge`](sse_runtime::topic::PublishError::TooLarge).
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// Sets the prefix of all keys and channels. The default is `sse:`. All servers that share
    /// topics must use the same prefix.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Sets the user and the password for the sentinels. By default, the crate does not
    /// authenticate with the sentinels, because the user and the password in the URL are those of
    /// the master. If `user` is `None`, the password is the one that the sentinels set with
    /// `requirepass`. This setting has no effect unless the URL contains sentinels.
    ///
    /// ```no_run
    /// # async fn open() -> Result<(), sse_redis::RedisError> {
    /// let redis = sse_redis::Redis::builder()
    ///     .sentinel_auth(Some("app"), "sentinel-secret")
    ///     .open("redis+sentinel://app:secret@s1.internal,s2.internal,s3.internal/mymaster")
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn sentinel_auth(mut self, user: Option<&str>, password: impl Into<String>) -> Self {
        self.settings.sentinel_auth = Some((user.map(str::to_owned), password.into()));
        self
    }

    /// Sets the root certificate, in PEM format, used to verify the certificates of the server and
    /// of the sentinels. By default, the operating system's root certificates are used. If the
    /// certificate is not valid, [`open`](Self::open) returns [`RedisError::InvalidCertificate`].
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.root_certificate = Some(pem.into());
        self
    }

    /// Sets how long Redis may fail to respond before [`Redis::is_healthy`] returns `false`. The
    /// default is 10 seconds.
    #[doc(hidden)]
    pub fn unhealthy_after(mut self, time: Duration) -> Self {
        self.settings.unhealthy_after = time;
        self
    }

    /// Connects to the server at `url`.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Redis::open`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn open(self, url: impl AsRef<str>) -> Result<Redis, RedisError> {
        Redis::start(Config::new(url.as_ref(), self.settings)?).await
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("publish_timeout", &self.settings.publish_timeout)
            .field("max_event_bytes", &self.settings.max_event_bytes)
            .field("replicas", &self.settings.replicas)
            .field("key_prefix", &self.settings.prefix)
            .finish_non_exhaustive()
    }
}
