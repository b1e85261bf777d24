//! Counters for Prometheus.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the latency buckets, in seconds. Long-polls end up in the last ones.
const LATENCY_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// All that is counted, shared by who counts and who shows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<PathLabels, Histogram>,
    connections: Gauge<i64, AtomicI64>,
}

// Labels take few values: paths are the patterns of routes, methods those of the routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    method: &'static str,
    path: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters of HTTP, at zero.
    pub fn new() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("hearth")),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            connections: Gauge::default(),
        };
        let metrics = Self(Arc::new(inner));
        let Inner {
            requests,
            latency,
            connections,
            ..
        } = &*metrics.0;
        let (requests, latency, connections) =
            (requests.clone(), latency.clone(), connections.clone());
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered", requests);
            registry.register("http_seconds", "Time to the answer's head", latency);
            registry.register("http_connections", "Connections open now", connections);
        });
        metrics
    }

    /// For other parts to add what they count.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self
            .0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything in the text format of Prometheus.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let registry = self
            .0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = encode(&mut text, &registry) {
            tracing::error!(%error, "could not write the metrics");
        }
        text
    }

    pub(crate) fn count(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        let (method, path) = (method_label(method), path.to_owned());
        let labels = PathLabels { method, path };
        let latency = self.0.latency.get_or_create_owned(&labels);
        latency.observe(took.as_secs_f64());
        let labels = RequestLabels {
            method,
            path: labels.path,
            status: status.as_u16(),
        };
        self.0.requests.get_or_create_owned(&labels).inc();
    }

    pub(crate) fn connections(&self) -> &Gauge<i64, AtomicI64> {
        &self.0.connections
    }
}

/// Clients can invent methods; the label cannot.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
