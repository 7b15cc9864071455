//! [`Server`]: the clients that open the connections to a server.

use std::sync::Arc;

use redis::{Client, ConnectionAddr, ConnectionInfo, ProtocolVersion};

use crate::RedisError;

/// The clients that open the connections to a server.
#[derive(Clone)]
pub(crate) struct Server {
    /// Opens the connections for commands. They use RESP3, because the client reports a lost
    /// connection immediately only with this protocol.
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

/// Returns a client that does not send `CLIENT SETINFO`, so that the access control list need not
/// allow this command.
pub(crate) fn client(
    info: &ConnectionInfo,
    protocol: ProtocolVersion,
    root_certificate: Option<&[u8]>,
) -> Result<Client, RedisError> {
    let redis = info.redis_settings().clone();
    let redis = redis.set_skip_set_lib_name().set_protocol(protocol);
    // With Nagle's algorithm, a request would wait until Redis has acknowledged the previous one.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let info = info.clone().set_redis_settings(redis).set_tcp_settings(tcp);
    // The URL has already been parsed. If a certificate was passed, only the certificate can be the
    // cause.
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
