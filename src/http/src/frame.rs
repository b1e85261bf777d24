//! What surrounds every route: CORS, panics, request ids, metrics, client addresses, and the routes of operators.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, Method, header};
use ipnet::IpNet;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any as AnyOrigin, CorsLayer};
use tracing::Instrument;

use crate::address::client_address;
use crate::{ApiError, ClientAddress, Metrics, Peer, RawJson, fallbacks};

/// How long browsers may remember that a cross-origin request is allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The path in logs and metrics of a request that no route matches.
const UNMATCHED: &str = "unmatched";

/// The surroundings of the routes.
#[derive(Clone, Debug)]
pub struct Frame {
    metrics: Metrics,
    trusted_proxies: Arc<[IpNet]>,
    requests: Arc<AtomicU64>,
}

impl Frame {
    /// Counts into `metrics`; believes `X-Forwarded-For` of these proxies.
    pub fn new(metrics: Metrics, trusted_proxies: &[IpNet]) -> Self {
        Self {
            metrics,
            trusted_proxies: trusted_proxies.into(),
            requests: Arc::default(),
        }
    }

    /// Puts the complete routes of the server into the frame, with `/health` and, for this machine only, `/metrics`.
    pub fn around(&self, routes: Router) -> Router {
        let routes = routes.merge(self.operator_routes(local_metrics));
        self.layers(routes)
    }

    /// `/health` and `/metrics` alone, for a listener that only operators reach.
    pub fn operators_only(&self) -> Router {
        self.layers(self.operator_routes(metrics))
    }

    fn operator_routes<H, T>(&self, metrics: H) -> Router
    where
        H: axum::handler::Handler<T, Metrics>,
        T: 'static,
    {
        Router::new()
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(self.metrics.clone())
    }

    fn layers(&self, routes: Router) -> Router {
        // The first one is the outermost: CORS headers are on the answers of all others. Together, as every route gets a
        // service of its own from each call.
        let layers = ServiceBuilder::new()
            .layer(cors())
            .layer(from_fn_with_state(self.clone(), observe))
            .layer(CatchPanicLayer::custom(panicked));
        fallbacks(routes).layer(layers)
    }
}

/// Client-server API, "Web Browser Clients". Answers OPTIONS itself, so that neither endpoint nor token is asked for.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            HeaderName::from_static("x-requested-with"),
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
        ])
        .max_age(CORS_MAX_AGE)
}

/// A panic is a mistake in the server, whoever caused it.
fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    tracing::error!(message, "a handler panicked: this is a bug");
    ApiError::internal_unlogged().into_response()
}

async fn observe(State(frame): State<Frame>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let client = client_address(peer, request.headers(), &frame.trusted_proxies);
    request.extensions_mut().insert(ClientAddress(client));

    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let method = request.method().clone();
    let id = frame.requests.fetch_add(1, Ordering::Relaxed);
    let span = tracing::info_span!("request", id, %method, path);
    // For the latency only.
    let started = tokio::time::Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = started.elapsed();
    let status = response.status();
    frame.metrics.count(&method, path, status, took);
    tracing::debug!(parent: &span, status = status.as_u16(), ms = took.as_millis(), "answered");
    response.headers_mut().insert(
        HeaderName::from_static("x-request-id"),
        HeaderValue::from(id),
    );
    response
}

/// GET /health
async fn health() -> RawJson {
    RawJson(bytes::Bytes::from_static(br#"{"status":"ok"}"#))
}

/// GET /metrics, on a listener of its own
async fn metrics(State(metrics): State<Metrics>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.to_text()).into_response()
}

/// GET /metrics, on the main listeners: for this machine, and not through a proxy on this machine
async fn local_metrics(state: State<Metrics>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>();
    let is_local = peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    let is_forwarded = ["x-forwarded-for", "forwarded", "via"]
        .iter()
        .any(|header| request.headers().contains_key(*header));
    if is_local && !is_forwarded {
        metrics(state).await
    } else {
        ApiError::unrecognized().into_response()
    }
}

#[cfg(test)]
mod tests;
