//! [`RedisError`]: the error returned if a connection to Redis cannot be opened.

use std::error::Error;

/// The error returned if a connection to [`Redis`](crate::Redis) cannot be opened. Its message never
/// contains the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is not valid.
    #[error(
        "the URL is not valid; use redis://user:password@host:port/database, or, with Sentinel, \
         redis+sentinel://user:password@host:port,host:port/master-name/database; all parts except \
         the hosts and the master's name are optional, and the password must be percent-encoded"
    )]
    InvalidUrl,
    /// The certificate passed to `RedisBuilder::root_certificate` is not valid.
    #[error("the root certificate is not valid; pass one or more certificates in the PEM format")]
    InvalidCertificate,
    /// The URL begins with `rediss://`, `rediss+sentinel://` or `valkeys://`, but the `tls` feature
    /// is not enabled.
    #[error("the URL requires TLS; enable the `tls` feature of sse-redis")]
    TlsNotEnabled,
    /// The server could not be reached, did not respond in time, or has a certificate that is not
    /// trusted.
    #[error(
        "failed to connect to Redis at {address}: {source}; check that the server is running and \
         that the host and the port are correct"
    )]
    #[non_exhaustive]
    Unreachable {
        /// The server's address.
        address: String,
        /// The cause, such as an error of the operating system or a timeout.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server rejected the user or the password, or it requires a password and the URL contains
    /// none.
    #[error(
        "Redis at {address} rejected the user or the password; check both in the URL, and \
         percent-encode special characters"
    )]
    #[non_exhaustive]
    Authentication {
        /// The server's address.
        address: String,
    },
    /// The server's access control list does not allow the user to call a command, or to use it
    /// with the keys or channels of the [prefix](crate::RedisBuilder::key_prefix).
    #[error(
        "Redis at {address} does not allow the user to call {command}: {message}; extend the \
         user's ACL rule as documented at https://docs.rs/sse-redis"
    )]
    #[non_exhaustive]
    NotAllowed {
        /// The server's address.
        address: String,
        /// The command, in upper or lower case, or `a command` if the server did not name it.
        command: String,
        /// The server's message.
        message: String,
    },
    /// The server's version is too old.
    #[error(
        "Redis at {address} has version {version}, but version 6.2 or later is required; update the \
         server"
    )]
    #[non_exhaustive]
    TooOld {
        /// The server's address.
        address: String,
        /// The server's version.
        version: String,
    },
    /// The server belongs to a cluster.
    #[error(
        "Redis at {address} belongs to a cluster, which is not supported; use a server with \
         `cluster-enabled no`"
    )]
    #[non_exhaustive]
    Cluster {
        /// The server's address.
        address: String,
    },
    /// The server is a replica, which accepts no writes.
    #[error("Redis at {address} is a read-only replica; connect to its master")]
    #[non_exhaustive]
    Replica {
        /// The server's address.
        address: String,
    },
    /// None of the sentinels could be reached, or none of them responded in time.
    #[error(
        "failed to reach any sentinel ({message}); check that the sentinels are running and that \
         their hosts and ports are correct"
    )]
    #[non_exhaustive]
    SentinelsUnreachable {
        /// The address of each sentinel, followed by the cause.
        message: String,
    },
    /// A sentinel returned an error, and no other sentinel named a master. The sentinel may require
    /// a user and a password, or the server at this address may not be a sentinel.
    #[error(
        "the sentinel at {address} returned an error: {message}; check that it is a sentinel, and \
         pass its user and password to `RedisBuilder::sentinel_auth` if it requires them"
    )]
    #[non_exhaustive]
    Sentinel {
        /// The sentinel's address.
        address: String,
        /// The sentinel's message.
        message: String,
    },
    /// The sentinels do not monitor a master with this name.
    #[error(
        "the sentinels at {sentinels} do not monitor a master named {name}; check the name in \
         the URL, and `sentinel monitor` in the sentinels' configuration"
    )]
    #[non_exhaustive]
    UnknownMaster {
        /// The name of the master.
        name: String,
        /// The addresses of the sentinels.
        sentinels: String,
    },
    /// The sentinels name different servers as the master, or they name a server that is a replica.
    /// Both can happen briefly during a failover.
    #[error(
        "failed to find the master named {name}: {message}; try again after the failover, and if \
         the error persists, check the sentinels' logs"
    )]
    #[non_exhaustive]
    NoMaster {
        /// The name of the master.
        name: String,
        /// The cause.
        message: String,
    },
    /// The server returned an error.
    #[error("Redis at {address} returned an error: {message}")]
    #[non_exhaustive]
    Server {
        /// The server's address.
        address: String,
        /// The server's message.
        message: String,
    },
}
