//! [`TlsError`]: explains why a certificate or a private key cannot be used.

use std::{fmt, io, path::PathBuf};

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
        "`{file}` should contain the private key but contains a certificate; are the two files swapped?"
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
        "the rustls provider installed by this process cannot be used: {reason}; install a different one, or none"
    )]
    #[non_exhaustive]
    Provider {
        /// The error returned by rustls.
        reason: String,
    },
}

// If `main` returns this error, Rust prints its `Debug` output, so that output must be readable.
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
