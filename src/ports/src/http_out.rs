//! Requests that leave the server.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::{BoxError, BoxFuture};

/// A body on its way out or in. Streams; an error is mostly an [`OutError`] in a box.
pub type OutBody = UnsyncBoxBody<Bytes, BoxError>;

/// HTTP to others. Asked by everybody who speaks to other servers, answered by `egress`.
///
/// Whatever address a name has, the answering side decides whether it may be spoken to, and speaks to that very
/// address.
pub trait HttpOut: Send + Sync {
    /// Sends a request and answers when the head of the answer is there. Its body is read as it is consumed.
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>>;

    /// The SRV records of a name such as `_matrix-fed._tcp.example.org`, lowest priority first; none is no error.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>>;
}

/// A request with how it is to be sent.
#[derive(Debug)]
pub struct OutRequest {
    /// The request. Its URI is absolute: `http` or `https`, no user information. A `Host` header is sent as it is,
    /// otherwise it is made from the URI.
    pub request: http::Request<OutBody>,
    /// How.
    pub options: OutOptions,
}

/// How a request is sent, and how much its answer may cost.
#[derive(Clone, Debug)]
pub struct OutOptions {
    /// Connect there, and not to host and port of the URI.
    pub connect: Option<HostPort>,
    /// The name that the other end has to prove by its certificate, if it is not the host of the URI. Also its SNI.
    pub tls_name: Option<String>,
    /// Redirects to follow, for requests without a body (GET, HEAD); beyond, the redirect itself is the answer if
    /// this is 0, and an error otherwise. `connect`, `tls_name` and `Host` are for the first request only.
    pub redirects_max: u8,
    /// Time until the head of the answer is there: looking up, connecting, sending, redirects.
    pub head_time_max: Duration,
    /// Time from there to the end of the body.
    pub body_time_max: Duration,
    /// Longest pause between two pieces of the body.
    pub idle_time_max: Duration,
    /// Largest body, decompressed, in bytes.
    pub body_bytes_max: u64,
}

impl Default for OutOptions {
    /// For a short JSON answer: no redirects, 30 seconds, 1 MiB.
    fn default() -> Self {
        Self {
            connect: None,
            tls_name: None,
            redirects_max: 0,
            head_time_max: Duration::from_secs(30),
            body_time_max: Duration::from_secs(30),
            idle_time_max: Duration::from_secs(30),
            body_bytes_max: 1 << 20,
        }
    }
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address (IPv6 with or without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What came back.
#[derive(Debug)]
pub struct OutResponse {
    /// The URI that answered, after redirects.
    pub uri: http::Uri,
    /// Status, headers and body. A body that came compressed is decompressed, and the headers say so.
    pub response: http::Response<OutBody>,
}

impl OutResponse {
    /// The whole body: no larger than the request allowed.
    pub async fn bytes(self) -> Result<Bytes, OutError> {
        let mut body = self.response.into_body();
        // What `collect` gives is the parts, and they and the whole take twice the memory of a large body.
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
        let mut whole = BytesMut::with_capacity(expected);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(OutError::from_body)?;
            if let Ok(data) = frame.into_data() {
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
    }
}

/// One target of a service, from an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
    /// Where it is.
    pub target: HostPort,
}

/// Why there is no answer, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// The request cannot be sent to anyone: its URI or a name in it makes no sense.
    #[error("the request is not one that can be sent: {0}")]
    Invalid(String),
    /// The name has no address, or nobody knows.
    #[error("could not look up `{name}`")]
    Unresolved {
        /// Which name.
        name: String,
        /// Why; none when the name is known to have no address.
        #[source]
        cause: Option<BoxError>,
    },
    /// The address is not one that this server speaks to.
    #[error("{address} is not an address that requests may go to")]
    Refused {
        /// The (first) address of the name.
        address: IpAddr,
    },
    /// Nobody answers there, or TLS fails: the request has not been sent.
    #[error("could not connect")]
    Connect(#[source] BoxError),
    /// The connection broke, or what came was not HTTP. The request may have been received.
    #[error("the exchange failed")]
    Exchange(#[source] BoxError),
    /// It took longer than allowed.
    #[error("it took too long")]
    Timeout,
    /// The body is larger than allowed.
    #[error("the answer is larger than allowed")]
    TooLarge,
    /// Redirected more often than allowed, in a loop, or to where it must not lead.
    #[error("the redirect was not followed: {0}")]
    Redirect(&'static str),
}

impl OutError {
    /// The error of a response's body.
    pub fn from_body(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(error) => Self::Exchange(error),
        }
    }
}

impl OutRequest {
    /// A request with default options.
    pub fn new(request: http::Request<OutBody>) -> Self {
        Self {
            request,
            options: OutOptions::default(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// No body.
pub fn no_body() -> OutBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is there already.
pub fn full_body(bytes: impl Into<Bytes>) -> OutBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
