//! [`Tls`]: performs the TLS handshake with a certificate that can be replaced while the server
//! runs.

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, InconsistentKeys, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

use crate::server::socket::Transport;

/// How often the files are checked. Certificates are renewed days before they expire, and a check
/// only reads two small files.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Accepts TLS connections on sockets. Clones share one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    pair: Arc<Pair>,
}

impl Tls {
    /// Loads the files as [`load`](Self::load) does, but without blocking the current thread.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the files cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not end the thread that reads the files.
    pub(crate) async fn load_on_thread(cert: PathBuf, key: PathBuf) -> io::Result<Self> {
        let loading = on_thread(move || Self::load(&cert, &key));
        // A thread that panics has already printed the message.
        let loaded = loading.await.map_err(io::Error::other)?;
        Ok(loaded?)
    }

    /// Reads the certificate chain and the key, each from a PEM file. The same file may contain
    /// both.
    ///
    /// Blocks the thread until the file system responds.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] that names the file that cannot be used and gives the reason.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Use the provider that was installed for the process, if any; it may be a certified one.
        // rustls can choose a default by itself, but it panics if another dependency enables a
        // second provider.
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(ring::default_provider()));
        Self::load_with(provider, cert, key)
    }

    fn load_with(provider: Arc<CryptoProvider>, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = read(cert, key, &provider)?;
        let pair = Arc::new(Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            provider: Arc::clone(&provider),
            current: RwLock::new(Arc::new(current)),
        });
        // Early data can be replayed, so it stays off, as is the default in rustls.
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider {
                reason: reason(&error),
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&pair) as Arc<dyn ResolvesServerCert>);
        if cfg!(feature = "http2") {
            config.alpn_protocols.push(H2.to_owned());
        }
        config.alpn_protocols.push(HTTP_1_1.to_owned());
        Ok(Self {
            config: Arc::new(config),
            pair,
        })
    }

    /// Performs the handshake, without a timeout.
    ///
    /// # Errors
    ///
    /// Returns an error if the client disconnects, does not speak TLS, or supports none of the
    /// server's TLS versions, cipher suites or protocols.
    pub(crate) async fn accept<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.config))
            .accept(socket)
            .await
    }

    /// Checks the files every minute, and uses a new certificate for later handshakes. Open
    /// connections keep the certificate they started with. If the files cannot be used, an error is
    /// logged, and the old certificate stays in use.
    ///
    /// Requires a runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the checks. The current certificate stays in use.
    pub(crate) async fn reload(self) -> Infallible {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            self.check_files().await;
        }
    }

    async fn check_files(&self) {
        let pair = Arc::clone(&self.pair);
        let mut reading = on_thread(move || pair.read());
        let found = match timeout(CHECK_INTERVAL, &mut reading).await {
            Ok(found) => found,
            Err(_) => {
                tracing::warn!(
                    cert = %self.pair.cert.display(),
                    key = %self.pair.key.display(),
                    "the file system has not returned the certificate for a minute; the old one stays in use"
                );
                reading.await
            }
        };
        // A thread that panics has already printed the message.
        let Ok(found) = found else { return };
        match found {
            Ok(found) => {
                if self.pair.replace(found) {
                    tracing::info!(
                        cert = %self.pair.cert.display(),
                        "the certificate has changed; new connections use it"
                    );
                }
            }
            Err(error) => tracing::warn!(
                %error,
                "failed to reload the certificate; the old one stays in use, and the next attempt is in a minute"
            ),
        }
    }
}

/// Returns whether the handshake selected HTTP/2. For a client that does not offer a protocol,
/// HTTP/1 is used.
#[cfg(feature = "http2")]
pub(crate) fn is_h2<S>(stream: &TlsStream<S>) -> bool {
    let (_, connection) = stream.get_ref();
    connection.alpn_protocol() == Some(H2)
}

/// Runs `read` on its own thread.
///
/// A file system may never respond, and a runtime that is shutting down waits for its
/// `spawn_blocking` tasks. With `spawn_blocking`, the process might never exit.
fn on_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // The receiver has been dropped if the server has stopped.
        let _ = sender.send(read());
    });
    receiver
}

impl<Io: Transport> Transport for TlsStream<Io> {
    fn forget_unsent(&self) {
        self.get_ref().0.forget_unsent();
    }

    /// rustls buffers up to 64 KiB if the kernel's buffer is full, so data may still be unsent
    /// after a write has completed.
    fn sent(&self) -> Option<u64> {
        self.get_ref().0.sent()
    }
}

/// The paths of the two files, and the certificate and key last read from them.
#[derive(Debug)]
struct Pair {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Pair {
    // Modification times are unreliable: a new file may have an older modification time than the
    // old file (if a symlink now points to a different file) or the same time (after two writes
    // within one tick). So each check reads the files, and this is cheap because they are small.
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        read(&self.cert, &self.key, &self.provider)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Replaces the current pair if `found` is different, and returns whether it was replaced.
    /// Comparing the chain is enough, because a certificate belongs to one key.
    fn replace(&self, found: CertifiedKey) -> bool {
        let changed = found.cert != self.current().cert;
        if changed {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        }
        changed
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Reads both files. While they are being replaced, one may be old and the other new, so a key that
/// does not match the certificate is an error.
fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(cert)?;
    let signing = provider
        .key_provider
        .load_private_key(read_key(key)?)
        .map_err(|error| TlsError::BadKey {
            file: key.to_owned(),
            reason: reason(&error),
        })?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        // Some providers do not expose the public half of a key.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        Err(error) => Err(TlsError::BadCertificate {
            file: cert.to_owned(),
            reason: reason(&error),
        }),
    }
}

/// Returns the message of a rustls error without its prefix, because the prefix calls the error
/// unexpected, or the certificate a peer certificate.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => why.to_string(),
        rustls::Error::General(why) => why.clone(),
        other => other.to_string(),
    }
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = contents(file)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_pem(file, &error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            file: file.to_owned(),
        });
    }
    Ok(chain)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = contents(file)?;
    let error = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let file = file.to_owned();
    // Both encrypted formats contain this word in plain text: `BEGIN ENCRYPTED PRIVATE KEY` and
    // `Proc-Type: 4,ENCRYPTED`.
    Err(if memchr::memmem::find(&pem, b"ENCRYPTED").is_some() {
        TlsError::EncryptedKey { file }
    } else if !matches!(error, pem::Error::NoItemsFound) {
        bad_pem(&file, &error)
    } else if CertificateDer::from_pem_slice(&pem).is_ok() {
        TlsError::CertificateAsKey { file }
    } else {
        TlsError::NoKey { file }
    })
}

fn contents(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|reason| TlsError::Unreadable {
        file: file.to_owned(),
        reason,
    })
}

fn bad_pem(file: &Path, error: &pem::Error) -> TlsError {
    TlsError::BadPem {
        file: file.to_owned(),
        // The error itself must not be logged: it quotes a line of the file, and if a key has lost
        // its line breaks, that line is the whole key.
        reason: match error {
            pem::Error::MissingSectionEnd { .. } => "a section does not end",
            pem::Error::IllegalSectionStart { .. } => "the first line of a section is malformed",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be parsed",
        },
    }
}

/// The error returned if a certificate or private key file cannot be used.
///
/// This error converts into an [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "failed to read `{file}`: {reason}; check the path and the permissions of this process"
    )]
    #[non_exhaustive]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error returned by the operating system.
        reason: io::Error,
    },
    /// A file is not valid PEM.
    #[error(
        "`{file}` is not valid PEM: {reason}; was it truncated, or did it lose its line breaks?"
    )]
    #[non_exhaustive]
    BadPem {
        /// The file.
        file: PathBuf,
        /// The reason, without any of the file's contents.
        reason: &'static str,
    },
    /// The certificate file does not contain a certificate.
    #[error(
        "no certificate in `{file}`: expected PEM, with the server's own certificate followed by its chain"
    )]
    #[non_exhaustive]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The server's own certificate, which is the first one in its file, cannot be parsed.
    #[error(
        "the first certificate in `{file}` cannot be used: {reason}; expected an X.509 version 3 certificate"
    )]
    #[non_exhaustive]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// The parser's error.
        reason: String,
    },
    /// The key file does not contain a private key.
    #[error("no private key in `{file}`: expected PEM, with a `PRIVATE KEY` section")]
    #[non_exhaustive]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key file contains a certificate but no key.
    #[error(
        "`{file}` should hold the private key, but holds a certificate; are the two files swapped?"
    )]
    #[non_exhaustive]
    CertificateAsKey {
        /// The file.
        file: PathBuf,
    },
    /// The private key is encrypted with a passphrase.
    #[error(
        "the private key in `{file}` is encrypted, and a server cannot prompt for the \
         passphrase; decrypt it with `openssl pkey`"
    )]
    #[non_exhaustive]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// The private key cannot be parsed, or its type is not supported.
    #[error(
        "the private key in `{file}` cannot be used: {reason}; use ECDSA P-256, Ed25519, or RSA with 2048 bits"
    )]
    #[non_exhaustive]
    BadKey {
        /// The file.
        file: PathBuf,
        /// The parser's error.
        reason: String,
    },
    /// The private key does not match the server's own certificate, which is the first one in its
    /// file.
    #[error(
        "the private key in `{key}` does not belong to the first certificate in `{cert}`; put \
         the server's own certificate first, and its private key in `{key}`"
    )]
    #[non_exhaustive]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The process has installed a rustls provider that supports neither TLS 1.2 nor 1.3.
    #[error(
        "the rustls provider that this process has installed cannot be used: {reason}; install another one, or none"
    )]
    #[non_exhaustive]
    Provider {
        /// The error returned by rustls.
        reason: String,
    },
}

// If `main` returns this error, its `Debug` form is printed, so that form has to be readable.
impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests;
