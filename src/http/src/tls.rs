//! Certificates. They are short-lived: whoever renews them puts new files in the place of the old ones, and new
//! connections get what is there now.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain or the key is not readable PEM.
    #[error("could not read {}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: pem::Error,
    },
    /// They do not fit each other, or are of an unsupported kind.
    #[error("the certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// The certificate chain and the key of this server, as their files have them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Certificate(Arc<Inner>);

struct Inner {
    chain: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    // Held for a moment, never over an await.
    current: RwLock<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    /// What the files held when they were last looked at, whether it was any good or not.
    files: Files,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads both files.
    pub(crate) fn open(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let in_file = |path: &Path| {
            let path = path.to_owned();
            move |cause| TlsError::Pem {
                path,
                cause: pem::Error::Io(cause),
            }
        };
        let files = Files {
            chain: std::fs::read(chain).map_err(in_file(chain))?,
            key: std::fs::read(key).map_err(in_file(key))?,
        };
        let certified = certified(&provider, (chain, key), &files)?;
        Ok(Self(Arc::new(Inner {
            chain: chain.to_owned(),
            key: key.to_owned(),
            provider,
            current: RwLock::new(Current {
                certified: Arc::new(certified),
                files,
            }),
        })))
    }

    /// An acceptor for HTTP/2 and HTTP/1.1, each of whose connections gets the certificate of now.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Follows the files until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => self.look().await,
            }
        }
    }

    /// Takes what the files hold now, if that is another certificate. One that is no good leaves the old one in use: the
    /// files may be in the middle of being replaced.
    async fn look(&self) {
        let files = match (read(&self.0.chain).await, read(&self.0.key).await) {
            (Ok(chain), Ok(key)) => Files { chain, key },
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "could not look at the certificate or its key");
                return;
            }
        };
        if self.0.read().files == files {
            return;
        }
        let paths = (&*self.0.chain, &*self.0.key);
        match certified(&self.0.provider, paths, &files) {
            Ok(certified) => {
                let certified = Arc::new(certified);
                self.0.write(certified, files);
                tracing::info!("took a new certificate");
            }
            Err(error) => {
                let old = self.0.read().certified.clone();
                self.0.write(old, files);
                tracing::error!(%error, "the new certificate is no good; the old one stays in use");
            }
        }
    }
}

impl Inner {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, certified: Arc<CertifiedKey>, files: Files) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current { certified, files };
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.read().certified.clone())
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if tokio::fs::metadata(path).await?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large"));
    }
    tokio::fs::read(path).await
}

fn certified(
    provider: &CryptoProvider,
    (chain, key): (&Path, &Path),
    files: &Files,
) -> Result<CertifiedKey, TlsError> {
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::Pem { path, cause }
    };
    let certificates = CertificateDer::pem_slice_iter(&files.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(in_file(chain))?;
    let secret = PrivateKeyDer::from_pem_slice(&files.key).map_err(in_file(key))?;
    CertifiedKey::from_der(certificates, secret, provider).map_err(TlsError::Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a certificate with its key. Answers the certificate.
    fn put(folder: &Path, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.0.read().certified.cert[0].to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_is_renewed_is_taken_and_one_that_is_no_good_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = put(folder, "a.example");
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        let certificate = Certificate::open(&chain, &key).unwrap();
        certificate.look().await;
        assert_eq!(shown(&certificate), first);
        let second = put(folder, "b.example");
        assert_ne!(first, second);
        certificate.look().await;
        assert_eq!(shown(&certificate), second);
        // Another's key, no PEM, no file: what was good stays.
        let fitting = std::fs::read(&key).unwrap();
        for bad in [
            rcgen::KeyPair::generate().unwrap().serialize_pem(),
            "no key".to_owned(),
        ] {
            std::fs::write(&key, bad).unwrap();
            certificate.look().await;
            assert_eq!(shown(&certificate), second);
        }
        std::fs::remove_file(&key).unwrap();
        certificate.look().await;
        std::fs::write(&key, fitting).unwrap();
        let stop = CancellationToken::new();
        let follower = tokio_util::task::TaskTracker::new();
        follower.spawn(certificate.clone().follow(stop.clone()));
        follower.close();
        let third = put(folder, "c.example");
        tokio::time::sleep(LOOK_EVERY * 2).await;
        // Reading a file takes another thread, for which paused time does not wait.
        while shown(&certificate) != third {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        follower.wait().await;
    }
}
