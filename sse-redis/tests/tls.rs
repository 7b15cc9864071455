//! Tests connections that are encrypted with TLS.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sse_redis::{Redis, RedisError};
use support::{
    open_topic, publish_all, read_all,
    server::{IN_MEMORY, Server, free_port},
    values,
};
use tempfile::TempDir;

/// Certificates that an authority has signed, and their files.
struct Certificates {
    root: String,
    /// The files of the authority's certificate, of the server's certificate, and of its key.
    files: [String; 3],
    _directory: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let files = [path("root.pem"), path("cert.pem"), path("key.pem")];
        let contents = [&root, &certificate.pem(), &key.serialize_pem()];
        for (path, content) in files.iter().zip(contents) {
            fs::write(path, content).unwrap();
        }
        Self {
            root,
            files,
            _directory: directory,
        }
    }

    /// Returns the arguments of a server that uses the certificates.
    fn arguments<'a>(&'a self, port: &'a str) -> Vec<&'a str> {
        let [root, certificate, key] = &self.files;
        [
            ["--tls-port", port],
            ["--tls-auth-clients", "no"],
            ["--tls-replication", "yes"],
            ["--tls-ca-cert-file", root],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
        ]
        .concat()
    }
}

#[tokio::test]
async fn tls_server_needs_a_trusted_certificate() {
    let certificates = Certificates::new();
    let port = free_port().to_string();
    let arguments = [IN_MEMORY, &certificates.arguments(&port)].concat();
    let server = Server::start(&arguments).await;
    let url = format!("rediss://localhost:{port}");
    let opening = Redis::builder().root_certificate(certificates.root.clone());
    let redis = opening.open(&url).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    publish_all(&numbers, 0..3).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);

    let error = Redis::open(&url).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    drop(server);
}

#[tokio::test]
async fn sentinels_and_their_master_can_use_tls() {
    let certificates = Certificates::new();
    let [port, sentinel_port] = [free_port(), free_port()].map(|port| port.to_string());
    let arguments = [IN_MEMORY, &certificates.arguments(&port)].concat();
    let server = Server::start(&arguments).await;
    let configuration = format!("sentinel monitor mymaster 127.0.0.1 {port} 1\n");
    let arguments = certificates.arguments(&sentinel_port);
    let sentinel = Server::sentinel(&configuration, &arguments).await;
    let url = format!("rediss+sentinel://localhost:{sentinel_port}/mymaster");
    let opening = Redis::builder().root_certificate(certificates.root.clone());
    let redis = opening.open(&url).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    publish_all(&numbers, 0..3).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);

    let error = Redis::open(&url).await.unwrap_err();
    assert!(
        matches!(error, RedisError::SentinelsUnreachable { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
    drop((server, sentinel));
}
