//! Where log lines go.

use std::io::IsTerminal;

use hearth_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::error::{Doing, Result};

/// Sends log lines to standard error, and panics among them: each is a bug that a person must look at.
pub(crate) fn start(settings: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.level)
        .doing(format!("log.level `{}` is not valid", settings.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for a terminal.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
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
