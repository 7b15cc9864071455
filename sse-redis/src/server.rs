//! [`Server`]: the clients that open the connections to a server.

use std::sync::Arc;

use redis::{Client, ConnectionAddr, ConnectionInfo, ProtocolVersion};

use crate::RedisError;

/// The clients that open the connections to a server.
#[derive(Clone)]
pub(crate) struct Server {
    /// Opens the connections for commands. They use RESP3, because only then does the client report
    /// a lost connection immediately.
    pub(crate) commands: Client,
    /// Opens the pub/sub connection.
    pub(crate) pubsub: Client,
    /// The server's address, without the user and the password.
    pub(crate) address: Arc<str>,
}

impl Server {
    pub(crate) fn new(
        info: &ConnectionInfo,
        root_certificate: Option<&[u8]>,
    ) -> Result<Self, RedisError> {
        let client = |protocol| client(info, protocol, root_certificate);
        Ok(Self {
            commands: client(ProtocolVersion::RESP3)?,
            pubsub: client(ProtocolVersion::RESP2)?,
            address: address(info.addr()).into(),
        })
    }
}

/// Returns a client that sends no command other than those that the access control list must allow
/// anyway.
pub(crate) fn client(
    info: &ConnectionInfo,
    protocol: ProtocolVersion,
    root_certificate: Option<&[u8]>,
) -> Result<Client, RedisError> {
    let redis = info.redis_settings().clone();
    let redis = redis.set_skip_set_lib_name().set_protocol(protocol);
    let info = info.clone().set_redis_settings(redis);
    // The URL has been parsed, so only the certificate can be the cause if there is one.
    create(info, root_certificate).map_err(|_| match root_certificate {
        Some(_) => RedisError::InvalidCertificate,
        None => RedisError::InvalidUrl,
    })
}

#[cfg(not(feature = "tls"))]
fn create(info: ConnectionInfo, _: Option<&[u8]>) -> redis::RedisResult<Client> {
    Client::open(info)
}

#[cfg(feature = "tls")]
fn create(info: ConnectionInfo, root_certificate: Option<&[u8]>) -> redis::RedisResult<Client> {
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info);
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: root_certificate.map(<[u8]>::to_vec),
    };
    Client::build_with_tls(info, certificates)
}

/// Returns the address as it is written in a URL.
pub(crate) fn address(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }
            if host.contains(':') =>
        {
            format!("[{host}]:{port}")
        }
        _ => address.to_string(),
    }
}
