//! Connections: looked up, checked, and made to the very address that was checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hearth_ports::{BoxFuture, OutError};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::names::{Names, lookup};
use crate::policy::Policy;
use crate::target::Target;
use crate::tls::Trust;

/// Connections at once, those that wait to be used again included.
const CONNECTIONS_MAX: usize = 1_024;
/// Time to connect to one of the addresses of a name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes connections for hyper's pool.
#[derive(Clone)]
pub(crate) struct Connector {
    names: Arc<dyn Names>,
    policy: Arc<Policy>,
    trust: Trust,
    permits: Arc<Semaphore>,
}

impl Connector {
    pub(crate) fn new(names: Arc<dyn Names>, policy: Policy, trust: Trust) -> Self {
        Self {
            names,
            policy: Arc::new(policy),
            trust,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    async fn connect(self, target: Target) -> Result<Stream, OutError> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(failed)?;
        let found = lookup(&*self.names, &target.at).await?;
        let stream = self.dial(&found).await?;
        let io: Box<dyn Io> = match &target.tls_name {
            None => Box::new(stream),
            Some(name) => {
                let name = ServerName::try_from(name.clone())
                    .map_err(|error| OutError::Invalid(error.to_string()))?;
                let tls = self.trust.connector().map_err(failed)?;
                Box::new(tls.connect(name, stream).await.map_err(failed)?)
            }
        };
        Ok(Stream {
            io: TokioIo::new(io),
            _permit: permit,
        })
    }

    /// Connects to the first address that answers, among those that may be spoken to.
    async fn dial(&self, found: &[SocketAddr]) -> Result<TcpStream, OutError> {
        let allowed = found.iter().filter(|at| self.policy.allows(at.ip()));
        let mut failure = OutError::Refused {
            address: found[0].ip(),
        };
        for at in allowed {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => {
                    stream
                        .set_nodelay(true)
                        .map_err(|error| OutError::Connect(Box::new(error)))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = OutError::Connect(Box::new(error)),
                Err(elapsed) => failure = OutError::Connect(Box::new(elapsed)),
            }
        }
        Err(failure)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = OutError;
    type Future = BoxFuture<'static, Result<Stream, OutError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let target = uri.host().and_then(Target::from_authority);
            let target = target.ok_or_else(|| OutError::Invalid("no target".to_owned()))?;
            connector.connect(target).await
        })
    }
}

/// What is written to and read from.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection with its place among those that there may be.
pub(crate) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(context)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> OutError {
    OutError::Connect(Box::new(error))
}
