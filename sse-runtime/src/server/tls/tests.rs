#[cfg(unix)]
use std::sync::mpsc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{
    TlsConnector, client,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};

use super::*;

/// A certificate for `localhost` that signs itself, and its key.
struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make() -> Made {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Made {
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

/// A directory of the two files.
struct Files(TempDir);

impl Files {
    fn of(made: &Made) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(made);
        files
    }

    fn write(&self, made: &Made) {
        fs::write(self.cert(), &made.cert).unwrap();
        fs::write(self.key(), &made.key).unwrap();
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

/// Both ends of a connection to `localhost`, of a client that trusts this one certificate.
async fn connect(tls: &Tls, trusted: &Made, alpn: &[&[u8]]) -> io::Result<(Client, Served)> {
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

/// Whether new handshakes see this certificate.
async fn shows(tls: &Tls, made: &Made) -> bool {
    connect(tls, made, &[]).await.is_ok()
}

async fn passes_through(client: &mut Client, served: &mut Served) {
    let mut buf = [0; 5];
    served.write_all(b"event").await.unwrap();
    served.flush().await.unwrap();
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"event");
}

/// What is logged on this thread, in a file.
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
async fn the_protocol_is_agreed_on() {
    let made = make();
    let tls = Files::of(&made).load().unwrap();
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
        let (mut client, mut served) = connect(&tls, &made, offered).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        assert_eq!(is_h2(&served), agreed == Some(H2), "{offered:?}");
        passes_through(&mut client, &mut served).await;
    }
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let made = make();
    let tls = Files::of(&made).load().unwrap();
    assert!(connect(&tls, &made, &[b"spdy/3"]).await.is_err());

    let (mut near, far) = duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(tls.accept(far).await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_handshake() {
    let (near, far) = duplex(1024);
    drop(near);
    let tls = Files::of(&make()).load().unwrap();
    assert!(tls.accept(far).await.is_err());
}

#[tokio::test]
async fn one_file_may_hold_both() {
    let made = make();
    let files = Files::of(&made);
    fs::write(files.key(), format!("{}{}", made.key, made.cert)).unwrap();
    let tls = Tls::load(&files.key(), &files.key()).unwrap();
    assert!(shows(&tls, &made).await);
}

/// Lets the paused clock run on, second by second, until new handshakes see this certificate.
async fn until_shown(tls: &Tls, made: &Made) {
    while !shows(tls, made).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_taken_up_within_a_minute() {
    let log = Log::capture();
    let (old, new) = (make(), make());
    let files = Files::of(&old);
    let tls = files.load().unwrap();
    let (mut client, mut served) = connect(&tls, &old, &[]).await.unwrap();
    let reloading = tokio::spawn(tls.clone().reload());

    files.write(&new);
    assert!(shows(&tls, &old).await);
    until_shown(&tls, &new).await;
    assert!(!shows(&tls, &old).await);
    // The connection from before goes on.
    passes_through(&mut client, &mut served).await;

    assert_eq!(log.text().matches("the certificate has changed").count(), 1);
    reloading.abort();
}

#[tokio::test]
async fn unchanged_certificate_is_not_logged() {
    let log = Log::capture();
    let (old, new) = (make(), make());
    let files = Files::of(&old);
    let tls = files.load().unwrap();
    tls.look().await;
    assert_eq!(log.text(), "");
    for made in [&new, &old] {
        files.write(made);
        tls.look().await;
        assert!(shows(&tls, made).await);
    }
    tls.look().await;
    let log = log.text();
    assert_eq!(log.matches("the certificate has changed").count(), 2);
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test]
async fn a_pair_that_is_half_written_waits_for_its_other_half() {
    let log = Log::capture();
    let (old, new) = (make(), make());
    let files = Files::of(&old);
    let tls = files.load().unwrap();

    fs::write(files.cert(), &new.cert).unwrap();
    tls.look().await;
    assert!(shows(&tls, &old).await);
    let text = log.text();
    assert!(text.contains("WARN"), "{text}");
    for file in [files.cert(), files.key()] {
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }

    fs::write(files.key(), &new.key).unwrap();
    tls.look().await;
    assert!(shows(&tls, &new).await);

    // A file that is cut off, or gone, is no other case.
    fs::write(files.cert(), &old.cert[..100]).unwrap();
    tls.look().await;
    fs::remove_file(files.key()).unwrap();
    tls.look().await;
    assert!(shows(&tls, &new).await);
    assert_eq!(log.text().matches("WARN").count(), 3);
}

#[tokio::test]
async fn a_chain_that_grows_is_a_change() {
    let (own, issuer) = (make(), make());
    let files = Files::of(&own);
    let tls = files.load().unwrap();
    fs::write(files.cert(), format!("{}{}", own.cert, issuer.cert)).unwrap();
    tls.look().await;
    let (client, _served) = connect(&tls, &own, &[]).await.unwrap();
    let chain = client.get_ref().1.peer_certificates().unwrap();
    assert_eq!(chain, [own.der, issuer.der]);
}

/// As Kubernetes mounts a secret: the files are links through `..data`, which is renamed over.
#[cfg(unix)]
#[tokio::test]
async fn links_may_point_elsewhere() {
    use std::os::unix::fs::symlink;

    let (old, new) = (make(), make());
    let (first, second) = (Files::of(&old), Files::of(&new));
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    symlink(first.0.path(), at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let tls = Tls::load(&at("tls.crt"), &at("tls.key")).unwrap();
    assert!(shows(&tls, &old).await);

    symlink(second.0.path(), at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    tls.look().await;
    assert!(shows(&tls, &new).await);
}

/// Loads the pair with one file replaced; the error must name the file.
#[track_caller]
fn refused(which: fn(&Files) -> PathBuf, contents: impl AsRef<[u8]>) -> TlsError {
    let files = Files::of(&make());
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
fn a_file_that_is_missing_is_named() {
    for which in [Files::cert, Files::key] {
        let files = Files::of(&make());
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
fn a_file_without_a_certificate_is_refused() {
    let made = make();
    for contents in [&b""[..], made.key.as_bytes(), &made.der] {
        let error = refused(Files::cert, contents);
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{error:?}");
    }
    for contents in [
        section("CERTIFICATE", "%"),
        made.cert.replace("-----END", ""),
        made.cert.replace("ATE-----\n", "ATE\n"),
    ] {
        let error = refused(Files::cert, contents);
        assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
    }
    let error = refused(Files::cert, section("CERTIFICATE", "AAAA"));
    assert!(
        matches!(error, TlsError::BadCertificate { .. }),
        "{error:?}"
    );
}

#[test]
fn a_file_without_a_key_is_refused() {
    let error = refused(Files::key, "");
    assert!(matches!(error, TlsError::NoKey { .. }), "{error:?}");
    let error = refused(Files::key, make().cert);
    assert!(
        matches!(error, TlsError::CertificateAsKey { .. }),
        "{error:?}"
    );
    let error = refused(Files::key, section("PRIVATE KEY", "%"));
    assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
    let error = refused(Files::key, section("PRIVATE KEY", "AAAA"));
    assert!(matches!(error, TlsError::BadKey { .. }), "{error:?}");
}

#[test]
fn an_encrypted_key_is_told_from_a_broken_one() {
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
    for contents in [
        section("ENCRYPTED PRIVATE KEY", "AAAA"),
        section("RSA PRIVATE KEY", headers),
    ] {
        let error = refused(Files::key, contents);
        assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error:?}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let error = refused(Files::key, make().key);
    let TlsError::Mismatch { cert, key } = &error else {
        panic!("{error:?}");
    };
    let message = error.to_string();
    for file in [cert, key] {
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    }
}

#[test]
fn no_error_quotes_the_key() {
    let made = make();
    let body = made.key.lines().nth(1).unwrap();
    // As it comes out of an environment variable.
    let joined = made.key.replace('\n', "");
    for error in [
        refused(Files::key, &joined),
        refused(Files::cert, &joined),
        refused(Files::key, made.key.replace("KEY-----\n", "KEY ")),
    ] {
        assert!(matches!(error, TlsError::BadPem { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains(body), "{said}");
        let bytes = format!("{:?}", &body.as_bytes()[..8]);
        assert!(!said.contains(bytes.trim_matches(['[', ']'])), "{said}");
    }
}

#[test]
fn a_provider_that_offers_nothing_is_an_error() {
    let files = Files::of(&make());
    let provider = CryptoProvider {
        cipher_suites: Vec::new(),
        ..ring::default_provider()
    };
    let error = Tls::load_with(Arc::new(provider), &files.cert(), &files.key()).unwrap_err();
    assert!(matches!(error, TlsError::Provider { .. }), "{error:?}");
}

/// A FIFO that nobody writes to, as a network file system that does not answer, blocks whoever reads it.
#[cfg(unix)]
fn block(file: &Path) {
    let _ = fs::remove_file(file);
    let made = std::process::Command::new("mkfifo").arg(file).status();
    assert!(made.unwrap().success());
}

#[cfg(unix)]
#[test]
fn blocked_file_does_not_delay_exit() {
    let files = Files::of(&make());
    let tls = files.load().unwrap();
    block(&files.cert());
    let (ended, is_ended) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let looked = timeout(Duration::from_millis(100), tls.look()).await;
            assert!(looked.is_err(), "the file was read");
        });
        drop(runtime);
        ended.send(()).unwrap();
    });
    // A blocked thread of the runtime would be waited for without an end.
    is_ended.recv_timeout(Duration::from_secs(10)).unwrap();
}
