//! [`Tls`]: the handshake, and a certificate that is replaced while the server runs.

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

/// How often the files are looked at: certificates are renewed days before they end, and a look reads two small files.
const LOOK: Duration = Duration::from_secs(60);

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes TLS connections of sockets. Clones share one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    pair: Arc<Pair>,
}

impl Tls {
    /// Loads the files as [`load`](Self::load) does, without blocking the caller's thread.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the files cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves a thread behind that ends when the files have been read.
    pub(crate) async fn load_on_thread(cert: PathBuf, key: PathBuf) -> io::Result<Self> {
        let loading = on_thread(move || Self::load(&cert, &key));
        // A thread that panicked has printed that.
        let loaded = loading.await.map_err(io::Error::other)?;
        Ok(loaded?)
    }

    /// Reads the certificate chain and the key, each from a PEM file; one file may hold both.
    ///
    /// It blocks for as long as the file system does.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file cannot be used, and why.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Whoever installs a provider for the process, a certified one perhaps, means this one too. And rustls' own
        // choice would panic where another dependency enables a second provider.
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
        // Early data stays off, as rustls has it: it can be replayed.
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

    /// Shakes hands, with no limit of its own to the time that the client takes.
    ///
    /// # Errors
    ///
    /// Where the client leaves, does not speak TLS, or agrees on no version, cipher or protocol.
    pub(crate) async fn accept<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.config))
            .accept(socket)
            .await
    }

    /// Looks at the files every minute, and gives a new certificate to the handshakes that come after; connections that
    /// are open keep theirs. Files that cannot be used are logged, and the old certificate stays in use.
    ///
    /// It wants the runtime's timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the looking, and loses nothing.
    pub(crate) async fn reload(self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let pair = Arc::clone(&self.pair);
        let mut reading = on_thread(move || pair.read());
        let found = match timeout(LOOK, &mut reading).await {
            Ok(found) => found,
            Err(_) => {
                tracing::warn!(
                    cert = %self.pair.cert.display(),
                    key = %self.pair.key.display(),
                    "the certificate has not been read for a minute, since its file system does not answer: the old one stays in use"
                );
                reading.await
            }
        };
        // A thread that panicked has printed that.
        let Ok(found) = found else { return };
        match found {
            Ok(found) => {
                if self.pair.replace(found) {
                    tracing::info!(
                        cert = %self.pair.cert.display(),
                        "the certificate has changed, and new connections get the new one"
                    );
                }
            }
            Err(error) => tracing::warn!(
                %error,
                "the certificate could not be loaded anew: the old one stays in use, and the next try is in a minute"
            ),
        }
    }
}

/// Whether the two agreed on HTTP/2 in the handshake; a client that did not say gets HTTP/1.
#[cfg(feature = "http2")]
pub(crate) fn is_h2<S>(stream: &TlsStream<S>) -> bool {
    let (_, connection) = stream.get_ref();
    connection.alpn_protocol() == Some(H2)
}

/// Runs `read` on a thread of its own.
///
/// A file system may never answer, and the end of a runtime waits for `spawn_blocking`: the process would never exit.
fn on_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Nobody waits for it once the server has stopped.
        let _ = sender.send(read());
    });
    receiver
}

impl<Io: Transport> Transport for TlsStream<Io> {
    fn forget_unsent(&self) {
        self.get_ref().0.forget_unsent();
    }

    /// rustls takes 64 KiB that the system has no room for, so a write that has finished may have sent nothing.
    fn sent(&self) -> Option<u64> {
        self.get_ref().0.sent()
    }
}

/// The files, and what was read from them last.
#[derive(Debug)]
struct Pair {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Pair {
    // The times of the files say less than what is in them: they can be older than the ones before (a symlink that
    // points elsewhere), or the same (two writes within a tick). So every look reads all of it, which is little.
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        read(&self.cert, &self.key, &self.provider)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Whether it is another one than before. The chain says it all: a certificate belongs to one key.
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

/// Files that are being replaced may be read half old and half new: what does not belong together is an error.
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
        // A provider may not say what the public half of a key is.
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

/// What rustls says, without the words before it: they call it unexpected, or the certificate that of a peer.
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
    // Both forms of encryption say so in plain text: `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
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
        // The error itself quotes the file, and the whole of a key that lost its line breaks: it is for no log.
        reason: match error {
            pem::Error::MissingSectionEnd { .. } => "a section does not end",
            pem::Error::IllegalSectionStart { .. } => "the first line of a section is broken",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be parsed",
        },
    }
}

/// Why the files of a certificate and its key cannot be used.
///
/// As an [`io::Error`] it is of the kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{file}` cannot be read: {reason}; is the path right, and may this process read it?")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The parts that a PEM file is made of are broken.
    #[error("`{file}` is broken PEM: {reason}; was it cut off, or did it lose its line breaks?")]
    BadPem {
        /// The file.
        file: PathBuf,
        /// What is broken, with nothing of what stands there.
        reason: &'static str,
    },
    /// No certificate is in the file of the certificate.
    #[error(
        "no certificate in `{file}`: it wants PEM, the server's own certificate first, then its chain"
    )]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The server's own certificate, the first in its file, does not parse.
    #[error(
        "the first certificate in `{file}` cannot be used: {reason}; it wants X.509, version 3"
    )]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// No private key is in the file of the key.
    #[error("no private key in `{file}`: it wants PEM, with a section `PRIVATE KEY`")]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A certificate is in the file of the key, and no key.
    #[error(
        "`{file}` is to hold the private key, and holds a certificate; are the two files swapped?"
    )]
    CertificateAsKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is encrypted with a passphrase.
    #[error(
        "the private key in `{file}` is encrypted, and a server has nobody to ask for the passphrase; decrypt it with \
         `openssl pkey`"
    )]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// The key does not parse, or is of a kind that cannot be used.
    #[error(
        "the private key in `{file}` cannot be used: {reason}; take ECDSA P-256, Ed25519, or RSA of 2048 bits"
    )]
    BadKey {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The key is not that of the server's own certificate, the first in its file.
    #[error(
        "the private key in `{key}` is not that of the first certificate in `{cert}`; put the server's own certificate \
         first, and the key that it was made for in `{key}`"
    )]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The process has a rustls provider of its own, which offers neither TLS 1.2 nor 1.3.
    #[error(
        "the rustls provider that this process installed cannot be used: {reason}; install another, or none"
    )]
    Provider {
        /// What rustls says.
        reason: String,
    },
}

// A `main` that returns it shows its `Debug`, which is to be read by whoever started the program.
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
