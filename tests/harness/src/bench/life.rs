//! Memory, and how long a start takes.

use std::{path::Path, time::Duration};

use crate::{
    Result,
    server::{Server, Setup},
};

use super::{act::percentile, table::Row, target::Target};

const IDLE_MIB_MAX: f64 = 30.0;
const MEMORY_MIB_MAX: f64 = 100.0;
const START_MS_MAX: f64 = 500.0;
/// A server that nobody talks to for so long is idle.
const IDLE: Duration = Duration::from_secs(3);

/// Memory of a server that has done nothing yet.
pub(super) async fn idle(target: &Target) -> Result<Vec<Row>> {
    tokio::time::sleep(IDLE).await;
    Ok(vec![Row::at_most(
        "memory of an idle server",
        target.process.memory_mib()?,
        IDLE_MIB_MAX,
        "MiB",
    )])
}

/// Memory now, and the most that it ever was.
pub(super) fn memory(target: &Target) -> Result<Vec<Row>> {
    let peak = format!("{:.1} MiB", target.process.memory_peak_mib()?);
    Ok(vec![
        Row::at_most(
            "memory after all of this",
            target.process.memory_mib()?,
            MEMORY_MIB_MAX,
            "MiB",
        ),
        Row::plain("peak memory", peak),
    ])
}

/// Starts with an empty store, and with the one that the parts before have filled; stops our server, so it comes last.
pub(super) async fn starts(target: &mut Target, folder: &Path) -> Result<Vec<Row>> {
    let Some(server) = target.server.take() else {
        return Ok(Vec::new());
    };
    let runs = target.options.runs;
    let setup = server.stop().await?;
    let mut full = Vec::new();
    for _ in 0..runs {
        full.push(start(setup.clone()).await?);
    }
    let mut empty = Vec::new();
    for run in 0..runs {
        let fresh = folder.join(format!("empty-{run}"));
        std::fs::create_dir(&fresh)?;
        empty.push(start(Setup::new(&fresh)?).await?);
    }
    Ok(vec![
        Row::at_most(
            "start with an empty store",
            percentile(empty, 0.5),
            START_MS_MAX,
            "ms",
        ),
        Row::at_most(
            "start with the store that the parts before have filled",
            percentile(full, 0.5),
            START_MS_MAX,
            "ms",
        ),
    ])
}

async fn start(setup: Setup) -> Result<f64> {
    let server = Server::start(setup).await?;
    let time = server.start_time.as_secs_f64() * 1_000.0;
    server.stop().await?;
    Ok(time)
}
