//! [`Config`]: the settings of a connection, and the names of the keys.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::ConnectionInfo;

use crate::{RedisError, sentinel::Sentinels, server::Server, url::Url};

/// The settings of a connection to Redis.
pub(crate) struct Config {
    location: Location,
    /// The address of the server to which the crate is connected, or to which it connects.
    address: Mutex<Arc<str>>,
    passwords: Vec<String>,
    prefix: Box<str>,
    database: i64,
    pub(crate) publish_timeout: Duration,
    pub(crate) unhealthy_after: Duration,
    pub(crate) max_event_bytes: usize,
    pub(crate) replicas: usize,
    pub(crate) run_ttl: Duration,
}

/// Determines the server to which the crate connects.
enum Location {
    Server(Server),
    Sentinels(Sentinels),
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
    pub(crate) sentinel_auth: Option<(Option<String>, String)>,
    pub(crate) root_certificate: Option<Vec<u8>>,
}

impl Config {
    pub(crate) fn new(url: &str, settings: Settings) -> Result<Self, RedisError> {
        let url = Url::parse(url)?;
        let (Url::Server(server) | Url::Sentinels { server, .. }) = &url;
        let redis = server.redis_settings().clone();
        let certificate = settings.root_certificate;
        let mut passwords = vec![redis.password().unwrap_or_default().to_owned()];
        let (location, address) = match url {
            Url::Server(server) => {
                let server = Server::new(&server, certificate.as_deref())?;
                let address = Arc::clone(&server.address);
                (Location::Server(server), address)
            }
            Url::Sentinels {
                mut sentinels,
                master,
                server,
            } => {
                if let Some((user, password)) = settings.sentinel_auth {
                    for sentinel in &mut sentinels {
                        *sentinel = authenticated(sentinel, user.as_deref(), &password);
                    }
                    passwords.push(password);
                }
                let sentinels = Sentinels::new(&sentinels, master, server, certificate)?;
                let address = sentinels.addresses().into();
                (Location::Sentinels(sentinels), address)
            }
        };
        passwords.retain(|password| !password.is_empty());
        Ok(Self {
            location,
            address: Mutex::new(address),
            passwords,
            database: redis.db(),
            prefix: settings.prefix.into(),
            publish_timeout: settings.publish_timeout,
            unhealthy_after: settings.unhealthy_after,
            max_event_bytes: settings.max_event_bytes,
            replicas: settings.replicas,
            run_ttl: settings.run_ttl,
        })
    }

    /// Returns the server to connect to.
    pub(crate) async fn find_server(&self) -> Result<Server, RedisError> {
        let server = match &self.location {
            Location::Server(server) => return Ok(server.clone()),
            Location::Sentinels(sentinels) => sentinels.find_master(self).await?,
        };
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        *address = Arc::clone(&server.address);
        Ok(server)
    }

    /// Waits until the sentinels name a server other than `address` as the master, and returns the
    /// reason why the connections to `address` must be closed. Never completes without sentinels.
    pub(crate) async fn replaced(&self, address: &str) -> String {
        match &self.location {
            Location::Server(_) => std::future::pending().await,
            Location::Sentinels(sentinels) => sentinels.replaced(address).await,
        }
    }

    /// Returns the address of the server to which the crate is connected, or to which it connects.
    /// The address contains neither the user nor the password.
    pub(crate) fn address(&self) -> Arc<str> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&address)
    }

    /// Returns the error for a server that is a replica.
    pub(crate) fn replica_error(&self) -> RedisError {
        let address = self.address();
        match &self.location {
            Location::Server(_) => RedisError::Replica {
                address: address.to_string(),
            },
            Location::Sentinels(sentinels) => sentinels.replica_error(&address),
        }
    }

    /// Returns the key of a topic's log.
    pub(crate) fn log(&self, topic: &str) -> String {
        format!("{}log:{topic}", self.prefix)
    }

    /// Returns the key of the index of a topic's record keys.
    pub(crate) fn index(&self, topic: &str) -> String {
        format!("{}keys:{topic}", self.prefix)
    }

    /// Returns the key that contains the owner of the run that publishes to a topic.
    pub(crate) fn run(&self, topic: &str) -> String {
        format!("{}run:{topic}", self.prefix)
    }

    /// Returns the key that contains the expiry times of all leases.
    pub(crate) fn leases(&self) -> String {
        format!("{}leases", self.prefix)
    }

    /// Returns the key that contains the members of a presence. `topic` is the topic that contains
    /// the presence's changes.
    pub(crate) fn members(&self, topic: &str) -> String {
        format!("{}members:{topic}", self.prefix)
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

    /// Returns the message, or a replacement for it if it contains a password.
    pub(crate) fn without_password(&self, message: String) -> String {
        let mut passwords = self.passwords.iter();
        match passwords.any(|password| message.contains(password)) {
            true => "the message is not shown, because it contains the password".to_owned(),
            false => message,
        }
    }
}

fn authenticated(info: &ConnectionInfo, user: Option<&str>, password: &str) -> ConnectionInfo {
    let mut redis = info.redis_settings().clone().set_password(password);
    if let Some(user) = user {
        redis = redis.set_username(user);
    }
    info.clone().set_redis_settings(redis)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
