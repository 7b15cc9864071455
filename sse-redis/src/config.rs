//! [`Config`]: the settings of a connection, and the names of the keys.

use std::{fmt, time::Duration};

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

use crate::RedisError;

/// The settings of a connection to Redis.
pub(crate) struct Config {
    /// Opens the connections for commands. They use RESP3, because only then does the client report
    /// a lost connection immediately.
    pub(crate) commands: Client,
    /// Opens the pub/sub connection.
    pub(crate) pubsub: Client,
    /// The server's address, without the user and the password.
    pub(crate) address: Box<str>,
    password: Option<Box<str>>,
    prefix: Box<str>,
    database: i64,
    pub(crate) publish_timeout: Duration,
    pub(crate) unhealthy_after: Duration,
    pub(crate) max_event_bytes: usize,
    pub(crate) replicas: usize,
    pub(crate) run_ttl: Duration,
}

/// The settings of a [`RedisBuilder`](crate::RedisBuilder).
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) publish_timeout: Duration,
    pub(crate) unhealthy_after: Duration,
    pub(crate) max_event_bytes: usize,
    pub(crate) replicas: usize,
    pub(crate) run_ttl: Duration,
    pub(crate) prefix: String,
    #[cfg(feature = "tls")]
    pub(crate) root_certificate: Option<Vec<u8>>,
}

impl Config {
    pub(crate) fn new(url: &str, settings: Settings) -> Result<Self, RedisError> {
        let is_tls = url.starts_with("rediss:") || url.starts_with("valkeys:");
        if is_tls && !cfg!(feature = "tls") {
            return Err(RedisError::TlsNotEnabled);
        }
        // The client's error may contain parts of the URL, and therefore the password.
        let info = url.into_connection_info();
        let info = info.map_err(|_| RedisError::InvalidUrl)?;
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        // The URL has been parsed, so only the certificate can be the cause if there is one.
        #[cfg(feature = "tls")]
        let invalid = || match settings.root_certificate {
            Some(_) => RedisError::InvalidCertificate,
            None => RedisError::InvalidUrl,
        };
        #[cfg(not(feature = "tls"))]
        let invalid = || RedisError::InvalidUrl;
        let client = |protocol| {
            let redis = redis.clone().set_protocol(protocol);
            let info = info.clone().set_redis_settings(redis);
            client(info, &settings).map_err(|_| invalid())
        };
        Ok(Self {
            commands: client(ProtocolVersion::RESP3)?,
            pubsub: client(ProtocolVersion::RESP2)?,
            address: info.addr().to_string().into(),
            password: redis.password().map(Into::into),
            database: redis.db(),
            prefix: settings.prefix.into(),
            publish_timeout: settings.publish_timeout,
            unhealthy_after: settings.unhealthy_after,
            max_event_bytes: settings.max_event_bytes,
            replicas: settings.replicas,
            run_ttl: settings.run_ttl,
        })
    }

    /// Returns the key of a topic's log.
    pub(crate) fn log(&self, topic: &str) -> String {
        format!("{}log:{topic}", self.prefix)
    }

    /// Returns the key of the index of a topic's record keys.
    pub(crate) fn index(&self, topic: &str) -> String {
        format!("{}keys:{topic}", self.prefix)
    }

    /// Returns the key of the run that publishes to a topic.
    pub(crate) fn run(&self, topic: &str) -> String {
        format!("{}run:{topic}", self.prefix)
    }

    /// Returns the key of the expiry times of all leases.
    pub(crate) fn leases(&self) -> String {
        format!("{}leases", self.prefix)
    }

    /// Returns the channel to which a topic's records are published. The channels of all databases
    /// share one namespace.
    pub(crate) fn channel(&self, topic: &str) -> String {
        format!("{}feed:{}:{topic}", self.prefix, self.database)
    }

    /// Returns the topic of a channel.
    pub(crate) fn topic_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let rest = channel.strip_prefix(&*self.prefix)?;
        let (database, topic) = rest.strip_prefix("feed:")?.split_once(':')?;
        (database.parse() == Ok(self.database)).then_some(topic)
    }

    /// Returns a key and a channel that no topic uses.
    pub(crate) fn probes(&self) -> (String, String) {
        (
            format!("{}allowed", self.prefix),
            format!("{}allowed", self.prefix),
        )
    }

    /// Returns the message, or a replacement for it if it contains the password.
    pub(crate) fn without_password(&self, message: String) -> String {
        match &self.password {
            Some(password) if !password.is_empty() && message.contains(&**password) => {
                "the message is not shown, because it contains the password".to_owned()
            }
            _ => message,
        }
    }
}

#[cfg(not(feature = "tls"))]
fn client(info: ConnectionInfo, _: &Settings) -> redis::RedisResult<Client> {
    Client::open(info)
}

#[cfg(feature = "tls")]
fn client(info: ConnectionInfo, settings: &Settings) -> redis::RedisResult<Client> {
    if !matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
        return Client::open(info);
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: settings.root_certificate.clone(),
    };
    Client::build_with_tls(info, certificates)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
