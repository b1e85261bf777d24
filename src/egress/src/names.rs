//! From names to addresses.

use std::net::{IpAddr, SocketAddr};

use hearth_ports::{BoxError, BoxFuture, HostPort, OutError, Service};
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::OnceCell;

/// Answers of the DNS that are remembered, as long as they say.
const CACHE_ANSWERS_MAX: u64 = 1_024;
/// SRV records of one name that are looked at.
const SERVICES_MAX: usize = 32;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where names are looked up. The machine's way in production; a table in tests.
pub trait Names: Send + Sync {
    /// The addresses of a name; none is no error.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, BoxError>>;

    /// The SRV records of a name; none is no error.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, BoxError>>;
}

/// `/etc/hosts`, then the servers of `/etc/resolv.conf`. Both are read for the first name that is looked up.
#[derive(Default)]
pub struct SystemNames(OnceCell<TokioResolver>);

impl SystemNames {
    async fn resolver(&self) -> Result<&TokioResolver, BoxError> {
        self.0.get_or_try_init(|| async { load() }).await
    }
}

fn load() -> Result<TokioResolver, BoxError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "no name servers are known: only the names of the hosts file are");
            let none = ResolverConfig::from_name_servers(Vec::new());
            Resolver::builder_with_config(none, provider)
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.cache_size = CACHE_ANSWERS_MAX;
    Ok(builder.build()?)
}

impl Names for SystemNames {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, BoxError>> {
        Box::pin(async move {
            match self.resolver().await?.lookup_ip(name).await {
                Ok(found) => Ok(found.iter().take(ADDRESSES_MAX).collect()),
                Err(error) if error.is_no_records_found() => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, BoxError>> {
        Box::pin(async move {
            let found = match self.resolver().await?.srv_lookup(name).await {
                Ok(found) => found,
                Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let services = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(record) => Some(Service {
                        priority: record.priority,
                        weight: record.weight,
                        target: HostPort {
                            host: record.target.to_ascii(),
                            port: record.port,
                        },
                    }),
                    _ => None,
                });
            Ok(services.take(SERVICES_MAX).collect())
        })
    }
}

/// The socket addresses behind a host: itself, if it is an address.
pub(crate) async fn lookup(names: &dyn Names, at: &HostPort) -> Result<Vec<SocketAddr>, OutError> {
    let addresses = match at.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => names
            .addresses(&at.host)
            .await
            .map_err(|cause| OutError::Unresolved {
                name: at.host.clone(),
                cause: Some(cause),
            })?,
    };
    if addresses.is_empty() {
        return Err(OutError::Unresolved {
            name: at.host.clone(),
            cause: None,
        });
    }
    let with_port = |address| SocketAddr::new(address, at.port);
    Ok(addresses.into_iter().map(with_port).collect())
}
