//! Whose certificates are believed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, TrustAnchor};
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
    /// A certificate of the file cannot be used.
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// The authorities that are believed: the well-known ones, and those of files. A handle, to be cloned.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Inner>);

struct Inner {
    /// Of the files.
    further: Vec<TrustAnchor<'static>>,
    /// Made with the first connection that needs it: a server that speaks to no other has no use for it.
    connector: OnceLock<TlsConnector>,
}

impl Trust {
    /// Reads the files: what is wrong in them is said before anything is sent.
    pub(crate) fn with_files(ca_files: &[PathBuf]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for path in ca_files {
            for certificate in read(path)? {
                store.add(certificate).map_err(TlsError::Unusable)?;
            }
        }
        Ok(Self(Arc::new(Inner {
            further: store.roots,
            connector: OnceLock::new(),
        })))
    }

    pub(crate) fn connector(&self) -> Result<&TlsConnector, rustls::Error> {
        if let Some(known) = self.0.connector.get() {
            return Ok(known);
        }
        let made = self.config()?;
        Ok(self.0.connector.get_or_init(|| Arc::new(made).into()))
    }

    fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let known = webpki_roots::TLS_SERVER_ROOTS.iter();
        let roots = RootCertStore {
            roots: known.chain(&self.0.further).cloned().collect(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|cause| TlsError::Pem {
            path: path.to_owned(),
            cause,
        })
}
