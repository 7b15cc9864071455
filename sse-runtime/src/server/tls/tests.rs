use std::fs;
#[cfg(unix)]
use std::sync::mpsc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::*;

/// A self-signed certificate for `localhost`, and its key.
struct SelfSigned {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn self_signed() -> SelfSigned {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    SelfSigned {
        cert: pair.cert.pem(),
        key: pair.signing_key.serialize_pem(),
        der: pair.cert.der().clone(),
    }
}

/// A directory that contains the certificate file and the key file.
struct Files(TempDir);

impl Files {
    fn of(pair: &SelfSigned) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(pair);
        files
    }

    fn write(&self, pair: &SelfSigned) {
        fs::write(self.cert(), &pair.cert).unwrap();
        fs::write(self.key(), &pair.key).unwrap();
    }

    fn cert(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("tls.key")
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(&self.cert(), &self.key())
    }
}

type Client = client::TlsStream<DuplexStream>;
type Served = TlsStream<DuplexStream>;

/// Returns both ends of a connection to `localhost`. The client trusts only the `trusted`
/// certificate.
async fn connect(tls: &Tls, trusted: &SelfSigned, alpn: &[&[u8]]) -> io::Result<(Client, Served)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|&protocol| protocol.to_owned()).collect();
    let (near, far) = duplex(16 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let client = TlsConnector::from(Arc::new(config)).connect(name, near);
    tokio::try_join!(client, tls.accept(far))
}

/// Returns whether new handshakes use the certificate from `pair`.
async fn serves(tls: &Tls, pair: &SelfSigned) -> bool {
    connect(tls, pair, &[]).await.is_ok()
}

async fn passes_through(client: &mut Client, served: &mut Served) {
    let mut buf = [0; 5];
    served.write_all(b"event").await.unwrap();
    served.flush().await.unwrap();
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"event");
}

/// The current thread's log output, captured in a file.
struct Log {
    file: PathBuf,
    _dir: TempDir,
    _default: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn capture() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(Arc::new(fs::File::create(&file).unwrap()))
            .finish();
        Self {
            file,
            _dir: dir,
            _default: tracing::subscriber::set_default(subscriber),
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

#[tokio::test]
async fn handshake_selects_a_protocol() {
    let pair = self_signed();
    let tls = Files::of(&pair).load().unwrap();
    let best = if cfg!(feature = "http2") {
        H2
    } else {
        HTTP_1_1
    };
    for (offered, agreed) in [
        (&[H2, HTTP_1_1][..], Some(best)),
        (&[HTTP_1_1, H2], Some(best)),
        (&[HTTP_1_1], Some(HTTP_1_1)),
        (&[], None),
    ] {
        let (mut client, mut served) = connect(&tls, &pair, offered).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        assert_eq!(is_h2(&served), agreed == Some(H2), "{offered:?}");
        passes_through(&mut client, &mut served).await;
    }
}

#[tokio::test]
async fn client_with_another_protocol_is_rejected() {
    let pair = self_signed();
    let tls = Files::of(&pair).load().unwrap();
    assert!(connect(&tls, &pair, &[b"spdy/3"]).await.is_err());

    let (mut near, far) = duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(tls.accept(far).await.is_err());
}

#[tokio::test]
async fn handshake_fails_when_client_disconnects() {
    let (near, far) = duplex(1024);
    drop(near);
    let tls = Files::of(&self_signed()).load().unwrap();
    assert!(tls.accept(far).await.is_err());
}

#[tokio::test]
async fn one_file_may_hold_certificate_and_key() {
    let pair = self_signed();
    let files = Files::of(&pair);
    fs::write(files.key(), format!("{}{}", pair.key, pair.cert)).unwrap();
    let tls = Tls::load(&files.key(), &files.key()).unwrap();
    assert!(serves(&tls, &pair).await);
}

/// Advances the paused clock, second by second, until new handshakes use the certificate from
/// `pair`.
async fn until_served(tls: &Tls, pair: &SelfSigned) {
    while !serves(tls, pair).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_certificate_is_used_within_a_minute() {
    let log = Log::capture();
    let (old, new) = (self_signed(), self_signed());
    let files = Files::of(&old);
    let tls = files.load().unwrap();
    let (mut client, mut served) = connect(&tls, &old, &[]).await.unwrap();
    let reloading = tokio::spawn(tls.clone().reload());

    files.write(&new);
    assert!(serves(&tls, &old).await);
    until_served(&tls, &new).await;
    assert!(!serves(&tls, &old).await);
    // The existing connection is not affected.
    passes_through(&mut client, &mut served).await;

    assert_eq!(log.text().matches("reloaded the certificate").count(), 1);
    reloading.abort();
}

#[tokio::test]
async fn unchanged_certificate_is_not_logged() {
    let log = Log::capture();
    let (old, new) = (self_signed(), self_signed());
    let files = Files::of(&old);
    let tls = files.load().unwrap();
    tls.check_files().await;
    assert_eq!(log.text(), "");
    for pair in [&new, &old] {
        files.write(pair);
        tls.check_files().await;
        assert!(serves(&tls, pair).await);
    }
    tls.check_files().await;
    let log = log.text();
    assert_eq!(log.matches("reloaded the certificate").count(), 2);
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test]
async fn half_replaced_pair_keeps_the_old_one() {
    let log = Log::capture();
    let (old, new) = (self_signed(), self_signed());
    let files = Files::of(&old);
    let tls = files.load().unwrap();

    fs::write(files.cert(), &new.cert).unwrap();
    tls.check_files().await;
    assert!(serves(&tls, &old).await);
    let text = log.text();
    assert!(text.contains("WARN"), "{text}");
    for file in [files.cert(), files.key()] {
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }

    fs::write(files.key(), &new.key).unwrap();
    tls.check_files().await;
    assert!(serves(&tls, &new).await);

    // A truncated or missing file also leaves the current certificate in use.
    fs::write(files.cert(), &old.cert[..100]).unwrap();
    tls.check_files().await;
    fs::remove_file(files.key()).unwrap();
    tls.check_files().await;
    assert!(serves(&tls, &new).await);
    assert_eq!(log.text().matches("WARN").count(), 3);
}

#[tokio::test]
async fn longer_chain_replaces_certificate() {
    let (own, issuer) = (self_signed(), self_signed());
    let files = Files::of(&own);
    let tls = files.load().unwrap();
    fs::write(files.cert(), format!("{}{}", own.cert, issuer.cert)).unwrap();
    tls.check_files().await;
    let (client, _served) = connect(&tls, &own, &[]).await.unwrap();
    let chain = client.get_ref().1.peer_certificates().unwrap();
    assert_eq!(chain, [own.der, issuer.der]);
}

/// Kubernetes mounts secrets this way. The files are symlinks through `..data`, which Kubernetes
/// replaces with a rename.
#[cfg(unix)]
#[tokio::test]
async fn changed_symlink_replaces_certificate() {
    use std::os::unix::fs::symlink;

    let (old, new) = (self_signed(), self_signed());
    let (first, second) = (Files::of(&old), Files::of(&new));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    symlink(first.0.path(), at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let tls = Tls::load(&at("tls.crt"), &at("tls.key")).unwrap();
    assert!(serves(&tls, &old).await);

    symlink(second.0.path(), at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    tls.check_files().await;
    assert!(serves(&tls, &new).await);
}

/// Loads the pair with one file replaced, and checks that the error names the file.
#[track_caller]
fn load_error(which: fn(&Files) -> PathBuf, contents: impl AsRef<[u8]>) -> TlsError {
    let files = Files::of(&self_signed());
    let file = which(&files);
    fs::write(&file, contents).unwrap();
    let error = files.load().unwrap_err();
    let message = error.to_string();
    assert!(message.contains(file.to_str().unwrap()), "{message}");
    error
}

fn section(label: &str, contents: &str) -> String {
    format!("-----BEGIN {label}-----\n{contents}\n-----END {label}-----\n")
}

#[test]
fn missing_file_is_named_in_error() {
    for which in [Files::cert, Files::key] {
        let files = Files::of(&self_signed());
        fs::remove_file(which(&files)).unwrap();
        let error = files.load().unwrap_err();
        assert!(
            matches!(&error, TlsError::Unreadable { file, .. } if *file == which(&files)),
            "{error:?}"
        );
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let name = which(&files);
        assert!(error.to_string().contains(name.to_str().unwrap()));
    }
}

#[test]
fn file_without_certificate_is_rejected() {
    let pair = self_signed();
    for contents in [&b""[..], pair.key.as_bytes(), &pair.der] {
        let error = load_error(Files::cert, contents);
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{error:?}");
    }
    for contents in [
        section("CERTIFICATE", "%"),
        pair.cert.replace("-----END", ""),
        pair.cert.replace("ATE-----\n", "ATE\n"),
    ] {
        let error = load_error(Files::cert, contents);
        assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
    }
    let error = load_error(Files::cert, section("CERTIFICATE", "AAAA"));
    assert!(
        matches!(error, TlsError::BadCertificate { .. }),
        "{error:?}"
    );
}

#[test]
fn file_without_key_is_rejected() {
    let error = load_error(Files::key, "");
    assert!(matches!(error, TlsError::NoKey { .. }), "{error:?}");
    let error = load_error(Files::key, self_signed().cert);
    assert!(
        matches!(error, TlsError::CertificateAsKey { .. }),
        "{error:?}"
    );
    let error = load_error(Files::key, section("PRIVATE KEY", "%"));
    assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
    let error = load_error(Files::key, section("PRIVATE KEY", "AAAA"));
    assert!(matches!(error, TlsError::BadKey { .. }), "{error:?}");
}

#[test]
fn encrypted_key_has_its_own_error() {
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
    for contents in [
        section("ENCRYPTED PRIVATE KEY", "AAAA"),
        section("RSA PRIVATE KEY", headers),
    ] {
        let error = load_error(Files::key, contents);
        assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error:?}");
    }
}

#[test]
fn key_of_another_certificate_is_rejected() {
    let error = load_error(Files::key, self_signed().key);
    let TlsError::Mismatch { cert, key } = &error else {
        panic!("{error:?}");
    };
    let message = error.to_string();
    for file in [cert, key] {
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    }
}

#[test]
fn errors_do_not_quote_the_key() {
    let pair = self_signed();
    let body = pair.key.lines().nth(1).unwrap();
    // Keys often lose their line breaks in environment variables.
    let joined = pair.key.replace('\n', "");
    for error in [
        load_error(Files::key, &joined),
        load_error(Files::cert, &joined),
        load_error(Files::key, pair.key.replace("KEY-----\n", "KEY ")),
    ] {
        assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
        let message = format!("{error} {error:?}");
        assert!(!message.contains(body), "{message}");
        let bytes = format!("{:?}", &body.as_bytes()[..8]);
        assert!(
            !message.contains(bytes.trim_matches(['[', ']'])),
            "{message}"
        );
    }
}

#[test]
fn provider_without_cipher_suites_is_rejected() {
    let files = Files::of(&self_signed());
    let provider = CryptoProvider {
        cipher_suites: Vec::new(),
        ..ring::default_provider()
    };
    let error = Tls::load_with(Arc::new(provider), &files.cert(), &files.key()).unwrap_err();
    assert!(matches!(error, TlsError::Provider { .. }), "{error:?}");
}

/// Replaces `file` with a FIFO that has no writer. Reading it blocks, just as reading from an
/// unresponsive network file system does.
#[cfg(unix)]
fn block(file: &Path) {
    let _ = fs::remove_file(file);
    let created = std::process::Command::new("mkfifo").arg(file).status();
    assert!(created.unwrap().success());
}

#[cfg(unix)]
#[test]
fn blocked_file_does_not_delay_exit() {
    let files = Files::of(&self_signed());
    let tls = files.load().unwrap();
    block(&files.cert());
    let (ended, is_ended) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let checked = timeout(Duration::from_millis(100), tls.check_files()).await;
            assert!(checked.is_err(), "the file was read");
        });
        drop(runtime);
        ended.send(()).unwrap();
    });
    // If this blocked one of the runtime's own threads, the runtime would never finish shutting
    // down.
    is_ended.recv_timeout(Duration::from_secs(10)).unwrap();
}
