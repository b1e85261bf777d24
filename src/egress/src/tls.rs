//! Whose certificates are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Why no requests can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not one of certificates in PEM.
    #[error("could not read the certificates of {}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: pem::Error,
    },
    /// A certificate of the file cannot be used, or TLS cannot.
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// TLS that believes the well-known authorities and those of these files.
pub(crate) fn connector(ca_files: &[PathBuf]) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for path in ca_files {
        for certificate in read(path)? {
            roots.add(certificate).map_err(TlsError::Unusable)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|cause| TlsError::Pem {
            path: path.to_owned(),
            cause,
        })
}
