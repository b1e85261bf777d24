//! Where log lines go.

use std::io::IsTerminal;

use hearth_config::{Log, LogFormat};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Doing, Result};

/// Sends log lines to standard error, and panics among them: each is a bug that a person must look at.
pub(crate) fn start(settings: &Log) -> Result<()> {
    let filter: Targets = settings
        .level
        .parse()
        .doing(format!("log.level `{}` is not valid", settings.level))?;
    let log = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        // Colours are for a terminal.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => log.with(lines).try_init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    started.doing("could not start the log")?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            at = place.unwrap_or_default(),
            message = panic.payload_as_str().unwrap_or("(no message)"),
            "a task panicked: this is a bug"
        );
    }));
    Ok(())
}
