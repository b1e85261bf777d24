//! The client for requests that leave the server.

use std::path::PathBuf;
use std::sync::Arc;

use hearth_config::Config;
use hearth_egress::{Egress, Settings, SystemNames};
use hearth_ports::HttpOut;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing, Result};

/// Where requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Where the settings allow it: for what users and other servers name.
    ByPolicy,
    /// Anywhere: for what the administrator names.
    Anywhere,
}

/// The client for what users and other servers name.
pub(crate) fn http(
    config: &Config,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Arc<dyn HttpOut>> {
    let egress = egress(config, Reach::ByPolicy, tasks, shutdown)?;
    Ok(Arc::new(egress))
}

/// A client whose connections are tasks of `tasks`.
pub(crate) fn egress(
    config: &Config,
    reach: Reach,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Egress> {
    let names = SystemNames::default();
    let environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let ca_files = config.egress.ca_file.clone().into_iter();
    let agent = concat!("Hearth/", env!("CARGO_PKG_VERSION"));
    let mut settings = Settings {
        deny: config.egress.deny.clone(),
        allow: config.egress.allow.clone(),
        ca_files: ca_files.chain(environment).collect(),
        user_agent: Some(HeaderValue::from_static(agent)),
    };
    if reach == Reach::Anywhere {
        settings.allow = ["0.0.0.0/0", "::/0"]
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .doing("could not prepare requests to others")?;
    }
    Egress::new(&settings, Arc::new(names), tasks.clone(), shutdown.clone())
        .doing("could not prepare requests to others")
}
