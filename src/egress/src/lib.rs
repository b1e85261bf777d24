//! The one client for all HTTP that leaves the server.
//!
//! Main types: [`Egress`], which implements [`hearth_ports::HttpOut`]; [`Settings`], which addresses it may speak to;
//! [`Names`], where it looks names up.
//!
//! Each connection is looked up, checked and made to the address that was checked, redirects included: a name that
//! has one address when it is looked at and another when it is used leads nowhere. Headers, bodies (decompressed),
//! time and redirects have limits, which the request sets. Connections are kept and used again; HTTP/1.1 only.
//!
//! Knows nothing of Matrix: which server a name stands for is the business of `federation`.

mod body;
mod connect;
mod names;
mod policy;
mod redirect;
mod target;
mod tls;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_ports::{
    BoxError, BoxFuture, HttpOut, OutBody, OutError, OutOptions, OutRequest, OutResponse, Service,
    no_body,
};
use http::request::Parts;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::connect::Connector;
use crate::policy::Policy;
use crate::target::Target;

pub use crate::names::{Names, SystemNames};
pub use crate::tls::TlsError;
use crate::tls::Trust;

/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Unused connections that are kept for one target.
const IDLE_PER_TARGET_MAX: usize = 4;
/// Time to look up the SRV records of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// Status line and headers of an answer together, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of an answer.
const HEADERS_MAX: usize = 100;

/// Which addresses requests may go to, and whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Blocks that are refused in addition to all that are not on the public internet.
    pub deny: Vec<IpNet>,
    /// Exceptions from what is refused.
    pub allow: Vec<IpNet>,
    /// PEM files of certificate authorities in addition to the well-known ones.
    pub ca_files: Vec<PathBuf>,
    /// The `User-Agent` of requests that have none.
    pub user_agent: Option<HeaderValue>,
}

/// The client. A handle, to be cloned.
#[derive(Clone)]
pub struct Egress {
    client: Client<Connector, OutBody>,
    names: Arc<dyn Names>,
    user_agent: Option<HeaderValue>,
}

impl Egress {
    /// A client whose connections are tasks of `tasks` and end with `shutdown`.
    pub fn new(
        settings: &Settings,
        names: Arc<dyn Names>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, TlsError> {
        let policy = Policy::new(&settings.deny, &settings.allow);
        let connector = Connector::new(
            names.clone(),
            policy,
            Trust::with_files(&settings.ca_files)?,
        );
        let client = Client::builder(Tracked { tasks, shutdown })
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_TARGET_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .set_host(false)
            .build(connector);
        Ok(Self {
            client,
            names,
            user_agent: settings.user_agent.clone(),
        })
    }

    /// Sends, and follows redirects as far as the options say.
    async fn follow(
        &self,
        request: Request<OutBody>,
        options: &OutOptions,
    ) -> Result<OutResponse, OutError> {
        let (mut parts, body) = request.into_parts();
        let mut hop = Hop::first(&parts.uri, options)?;
        let mut redirects_left = match body.is_end_stream() {
            true => options.redirects_max,
            false => 0,
        };
        let mut response = self.exchange(&parts, &hop, body).await?;
        if redirects_left == 0 {
            return answer(&hop, response, options);
        }
        loop {
            let (status, headers) = (response.status(), response.headers());
            let Some(to) = redirect::next(&hop.url, &parts.method, status, headers)? else {
                return answer(&hop, response, options);
            };
            redirects_left = redirects_left
                .checked_sub(1)
                .ok_or(OutError::Redirect("there are too many"))?;
            redirect::strip(&mut parts.headers, &hop.url, &to);
            hop = Hop::redirected(to)?;
            response = self.exchange(&parts, &hop, no_body()).await?;
        }
    }

    /// One request and the head of its answer.
    async fn exchange(
        &self,
        parts: &Parts,
        hop: &Hop,
        body: OutBody,
    ) -> Result<Response<Incoming>, OutError> {
        let invalid = |error: http::Error| OutError::Invalid(error.to_string());
        let uri = Uri::builder()
            .scheme("http")
            .authority(hop.target.to_authority())
            .path_and_query(hop.path.as_str())
            .build()
            .map_err(invalid)?;
        let mut request = Request::new(body);
        *request.uri_mut() = uri;
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        let headers = request.headers_mut();
        if !headers.contains_key(header::HOST) {
            let host = HeaderValue::from_str(
                &hop.url[url::Position::BeforeHost..url::Position::AfterPort],
            )
            .map_err(|error| invalid(error.into()))?;
            headers.insert(header::HOST, host);
        }
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let (false, Some(agent)) = (headers.contains_key(header::USER_AGENT), &self.user_agent) {
            headers.insert(header::USER_AGENT, agent.clone());
        }
        self.client.request(request).await.map_err(failure)
    }
}

impl HttpOut for Egress {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let OutRequest { request, options } = request;
            let answer = self.follow(request, &options);
            tokio::time::timeout(options.head_time_max, answer)
                .await
                .unwrap_or(Err(OutError::Timeout))
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async move {
            let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.names.services(name)).await;
            let mut services =
                found
                    .map_err(|_| OutError::Timeout)?
                    .map_err(|cause| OutError::Unresolved {
                        name: name.to_owned(),
                        cause: Some(cause),
                    })?;
            services.sort_by_key(|service| service.priority);
            Ok(services)
        })
    }
}

/// One of the requests that a request becomes by redirects.
struct Hop {
    url: Url,
    /// Path and query, as they are sent: those of the first request exactly as the caller wrote them, who may have
    /// signed them.
    path: String,
    target: Target,
}

impl Hop {
    fn first(uri: &Uri, options: &OutOptions) -> Result<Self, OutError> {
        let url = target::parse(uri)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            target: Target::of(&url, options)?,
            path: path.to_owned(),
            url,
        })
    }

    fn redirected(url: Url) -> Result<Self, OutError> {
        Ok(Self {
            target: Target::of(&url, &OutOptions::default())?,
            path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            url,
        })
    }
}

fn answer(
    hop: &Hop,
    response: Response<Incoming>,
    options: &OutOptions,
) -> Result<OutResponse, OutError> {
    let uri = hop.url[..url::Position::AfterQuery].parse();
    let (mut head, body) = response.into_parts();
    let body = body::bounded(body, &mut head.headers, options)?;
    Ok(OutResponse {
        uri: uri.map_err(|error: http::uri::InvalidUri| OutError::Invalid(error.to_string()))?,
        response: Response::from_parts(head, body),
    })
}

/// Our own error, if the connector made it; hyper's otherwise.
fn failure(error: hyper_util::client::legacy::Error) -> OutError {
    if !error.is_connect() {
        return OutError::Exchange(Box::new(error));
    }
    match own(&error) {
        Some(OutError::Refused { address }) => OutError::Refused { address: *address },
        Some(OutError::Unresolved { name, cause }) => OutError::Unresolved {
            name: name.clone(),
            cause: cause
                .as_ref()
                .map(|cause| BoxError::from(cause.to_string())),
        },
        Some(OutError::Invalid(why)) => OutError::Invalid(why.clone()),
        _ => OutError::Connect(Box::new(error)),
    }
}

fn own<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a OutError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<OutError>() {
            return Some(own);
        }
        cause = error.source();
    }
    None
}

/// Runs connections as tasks that end with the server.
#[derive(Clone)]
struct Tracked {
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let shutdown = self.shutdown.clone();
        self.tasks
            .spawn(async move { shutdown.run_until_cancelled(task).await.is_some() });
    }
}
