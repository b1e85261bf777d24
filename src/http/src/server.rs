//! Listening, accepting, and ending in order.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hearth_config::Config;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::tls::{Certificate, TlsError};
use crate::{Metrics, Peer};

/// Connections that the kernel keeps ready to be accepted.
const BACKLOG: u32 = 1024;
/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the head of a request, and how long a connection may idle between two (HTTP/1.1).
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the first request of a connection to begin.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Request line and headers of HTTP/1.1 together, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Headers of an HTTP/2 request, in bytes.
const H2_HEADER_BYTES_MAX: u32 = 32 << 10;
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 100;
/// Streams that a client opened and reset before they were looked at (CVE-2023-44487), and that we reset for its
/// mistakes; beyond, the connection is closed.
const H2_RESET_STREAMS_MAX: usize = 50;
/// Bytes in flight to us on one HTTP/2 stream, and on the connection.
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes waiting to be sent on one HTTP/2 stream.
const H2_SEND_BUFFER_MAX: usize = 256 << 10;
/// Pings that find dead HTTP/2 connections.
const H2_PING_INTERVAL: Duration = Duration::from_secs(60);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Silence after which the kernel looks whether the other end is alive.
const TCP_KEEPALIVE: Duration = Duration::from_secs(90);
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is in use, or not one of this machine.
    #[error("could not listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// HTTPS is set, but cannot be.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Listeners, bound and ready, all of which serve the same routes.
pub struct Server {
    listeners: Vec<(TcpListener, Option<TlsAcceptor>)>,
    certificate: Option<Certificate>,
    connections: Arc<Semaphore>,
    shutdown_max: Duration,
    metrics: Metrics,
}

impl Server {
    /// Binds all addresses of the settings. Needs a tokio runtime.
    pub fn bind(config: &Config, metrics: Metrics) -> Result<Self, ServeError> {
        let mut server = Self::bind_plain(&config.listen, config, metrics)?;
        if let (false, Some(certificate), Some(key)) = (
            config.tls.listen.is_empty(),
            &config.tls.certificate,
            &config.tls.key,
        ) {
            let certificate = Certificate::open(certificate, key)?;
            let acceptor = certificate.acceptor()?;
            server.certificate = Some(certificate);
            for address in &config.tls.listen {
                let listener = listen(*address)?;
                server.listeners.push((listener, Some(acceptor.clone())));
            }
        }
        Ok(server)
    }

    /// Binds these addresses for plain HTTP, with the limits of the settings.
    pub fn bind_plain(
        addresses: &[SocketAddr],
        config: &Config,
        metrics: Metrics,
    ) -> Result<Self, ServeError> {
        let listeners = addresses
            .iter()
            .map(|address| Ok((listen(*address)?, None)))
            .collect::<Result<_, ServeError>>()?;
        let connections = config.limits.connections.min(Semaphore::MAX_PERMITS);
        Ok(Self {
            listeners,
            certificate: None,
            connections: Arc::new(Semaphore::new(connections)),
            shutdown_max: Duration::from_secs(config.limits.shutdown_seconds_max),
            metrics,
        })
    }

    /// Where it listens: port 0 of the settings has become a real one.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners
            .iter()
            .map(|(listener, _)| listener.local_addr())
            .collect()
    }

    /// Serves until `stop`. Then accepts nothing more, lets open requests end for a bounded time, and returns when all
    /// connections are closed.
    pub async fn run(self, routes: Router, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let kill = CancellationToken::new();
        let acceptors = TaskTracker::new();
        for (listener, tls) in self.listeners {
            let acceptor = Acceptor {
                tls,
                routes: routes.clone(),
                permits: self.connections.clone(),
                metrics: self.metrics.clone(),
                tasks: connections.clone(),
                stop: stop.clone(),
                kill: kill.clone(),
            };
            acceptors.spawn(acceptor.run(listener));
        }
        if let Some(certificate) = self.certificate {
            acceptors.spawn(certificate.follow(stop));
        }
        acceptors.close();
        acceptors.wait().await;
        connections.close();
        if tokio::time::timeout(self.shutdown_max, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "closing connections whose requests did not end in time"
            );
            kill.cancel();
            connections.wait().await;
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart need not wait for the connections of the last run to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|cause| ServeError::Bind { address, cause })
}

/// What one listener needs to serve a connection.
#[derive(Clone)]
struct Acceptor {
    tls: Option<TlsAcceptor>,
    routes: Router,
    permits: Arc<Semaphore>,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            // With all permits taken, new connections wait in the kernel.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = accept(&listener, &self.permits) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    self.tasks
                        .spawn(self.clone().connection(stream, peer, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
        self.metrics.connections().inc();
        match &self.tls {
            None => self.serve(stream, peer).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    stream = handshake => match stream {
                        Ok(Ok(stream)) => self.serve(stream, peer).await,
                        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                        Err(_) => tracing::debug!("TLS handshake took too long"),
                    }
                }
            }
        }
        self.metrics.connections().dec();
        drop(permit);
    }

    async fn serve<I>(&self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = Arc::new(AtomicBool::new(false));
        let routes = &self.routes;
        let service = hyper::service::service_fn(|mut request: http::Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(Peer(peer));
            routes.clone().oneshot(request.map(Body::new))
        });
        let builder = builder(self.tasks.clone());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut first_request = pin!(tokio::time::sleep(FIRST_REQUEST_TIMEOUT));
        let (mut is_stopping, mut is_checked) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %error, "connection broke");
                    }
                    return;
                }
                () = self.kill.cancelled() => return,
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = first_request.as_mut(), if !is_checked => {
                    is_checked = true;
                    if !begun.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))
}

fn builder(tasks: TaskTracker) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESET_STREAMS_MAX)
        .max_local_error_reset_streams(H2_RESET_STREAMS_MAX)
        .max_header_list_size(H2_HEADER_BYTES_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER_MAX)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

/// Runs the streams of HTTP/2 connections as tasks of the server.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests;
