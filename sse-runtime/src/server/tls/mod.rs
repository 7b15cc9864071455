//! [`Tls`]: performs the TLS handshake with a certificate that can be replaced while the server
//! runs.

pub(super) mod error;
mod pem_files;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io,
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
        ServerConfig,
        crypto::{CryptoProvider, ring},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

use crate::server::socket::Transport;
use error::TlsError;
use pem_files::{read, reason};

/// How often the files are checked. A minute is short enough because certificates are renewed days
/// before they expire. Checks are cheap because they only read two small files.
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
    /// Like [`load`](Self::load), but does not block the current thread.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the files cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the thread that reads the files.
    pub(crate) async fn load_on_thread(cert: PathBuf, key: PathBuf) -> io::Result<Self> {
        let loading = on_thread(move || Self::load(&cert, &key));
        // If the thread panicked, the panic hook has already printed the message.
        let loaded = loading.await.map_err(io::Error::other)?;
        Ok(loaded?)
    }

    /// Reads the certificate chain and the key, each from a PEM file. A single file may contain
    /// both.
    ///
    /// Blocks the thread until the file system responds.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] that names the unusable file and gives the reason.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Use the provider installed for the process, if any, because it may have been chosen for
        // its certification. Otherwise, choose a default here. If the choice were left to rustls,
        // it would panic as soon as another dependency enabled a second provider.
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
        // Early data can be replayed, so leave it disabled, as rustls does by default.
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

    /// Performs the handshake without a timeout.
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

    /// Checks the files every minute and uses a new certificate for later handshakes. Open
    /// connections keep the certificate they started with. If the files cannot be used, a warning
    /// is logged, and the old certificate stays in use.
    ///
    /// Requires a runtime with time enabled.
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
                    "reading the certificate has been blocked for a minute; still using the old one"
                );
                reading.await
            }
        };
        // If the thread panicked, the panic hook has already printed the message.
        let Ok(found) = found else { return };
        match found {
            Ok(found) => {
                if self.pair.replace(found) {
                    tracing::info!(
                        cert = %self.pair.cert.display(),
                        "reloaded the certificate; new connections use it"
                    );
                }
            }
            Err(error) => tracing::warn!(
                %error,
                "failed to reload the certificate; still using the old one, and retrying in a minute"
            ),
        }
    }
}

/// Returns whether the handshake selected HTTP/2. If the client does not offer any protocols,
/// HTTP/1 is used.
#[cfg(feature = "http2")]
pub(crate) fn is_h2<S>(stream: &TlsStream<S>) -> bool {
    let (_, connection) = stream.get_ref();
    connection.alpn_protocol() == Some(H2)
}

/// Runs `read` on a separate thread.
///
/// A file system may never respond. With `spawn_blocking`, this could keep the process from ever
/// exiting, because a runtime that is shutting down waits for its blocking tasks.
fn on_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Sending fails if the server has stopped and dropped the receiver.
        let _ = sender.send(read());
    });
    receiver
}

impl<Io: Transport> Transport for TlsStream<Io> {
    fn forget_unsent(&self) {
        self.get_ref().0.forget_unsent();
    }

    /// rustls buffers up to 64 KiB if the kernel's buffer is full, so data may still be unsent
    /// after a write has completed. Therefore, the bytes are counted below TLS.
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
    // Modification times are unreliable. If a symlink is redirected, the new file may have an older
    // modification time than the previous one. If a file is written twice within one tick, its
    // modification time does not change. Therefore, each check reads the files, which is cheap
    // because they are small.
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        read(&self.cert, &self.key, &self.provider)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Replaces the current pair if `found` is different, and returns whether it was replaced.
    /// Comparing the chains is enough, because a certificate belongs to exactly one key.
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
