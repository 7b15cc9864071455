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

#[tokio::test]
async fn tls_server_needs_a_trusted_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let files = [path("root.pem"), path("cert.pem"), path("key.pem")];
    let contents = [&root, &certificate.pem(), &key.serialize_pem()];
    for (path, content) in files.iter().zip(contents) {
        fs::write(path, content).unwrap();
    }
    let port = free_port().to_string();
    let [root_file, certificate_file, key_file] = &files;
    let server = Server::start(
        &[
            IN_MEMORY,
            &["--tls-port", &port, "--tls-auth-clients", "no"],
            &["--tls-ca-cert-file", root_file],
            &["--tls-cert-file", certificate_file],
            &["--tls-key-file", key_file],
        ]
        .concat(),
    )
    .await;
    let url = format!("rediss://localhost:{port}");
    let opening = Redis::builder().root_certificate(root).open(&url);
    let redis = opening.await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    publish_all(&numbers, 0..3).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);

    let error = Redis::open(&url).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    drop(server);
}
