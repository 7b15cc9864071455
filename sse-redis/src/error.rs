//! [`RedisError`]: the error returned if a connection to Redis cannot be opened.

use std::error::Error;

/// The error returned if a connection to [`Redis`](crate::Redis) cannot be opened. Its message never
/// contains the password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is not valid.
    #[error(
        "the URL is not valid; use redis://user:password@host:port/database, where all parts except \
         the host are optional, and percent-encode the password"
    )]
    InvalidUrl,
    /// The certificate passed to `RedisBuilder::root_certificate` is not valid.
    #[error("the root certificate is not valid; pass one or more certificates in the PEM format")]
    InvalidCertificate,
    /// The URL begins with `rediss://` or `valkeys://`, but the `tls` feature is not enabled.
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
