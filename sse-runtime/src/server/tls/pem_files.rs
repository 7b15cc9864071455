//! Reads the certificate chain and the private key from PEM files.

use std::{fs, path::Path};

use tokio_rustls::rustls::{
    self, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};

use super::error::TlsError;

/// Reads both files. Returns an error if the key does not match the certificate, because one file
/// may be new and the other still old while they are being replaced.
pub(super) fn read(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
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
        // Some providers do not expose the public half of a key. The pair is then accepted without
        // checking that the key matches.
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

/// Returns a rustls error's message without its prefix. The prefix would be misleading, because it
/// describes the error as "unexpected" or the server's own certificate as a "peer certificate".
pub(super) fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(inner) => inner.to_string(),
        rustls::Error::General(inner) => inner.clone(),
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
    // Both formats of encrypted keys contain this word in plain text: one format in
    // `BEGIN ENCRYPTED PRIVATE KEY`, the other in `Proc-Type: 4,ENCRYPTED`.
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
        // The error itself must not be logged, because it quotes a line of the file. If a key has
        // lost its line breaks, that line is the entire key.
        reason: match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no end line",
            pem::Error::IllegalSectionStart { .. } => "the first line of a section is malformed",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be parsed",
        },
    }
}
