//! What is measured: our own server, or another one that already runs.

use std::{fs::File, io::Write as _, path::Path};

use tokio::time::Instant;

use crate::{Result, client::Http, process::Process, server::Server};

use super::{Options, act::percentile};

/// So many syncs of the disk are timed.
const DISK_SYNCS: usize = 200;

/// A server under load.
#[derive(Debug)]
pub(super) struct Target {
    /// Connections to it.
    pub(super) http: Http,
    /// Its CPU and memory.
    pub(super) process: Process,
    /// What to measure.
    pub(super) options: Options,
    /// Our own server, none for a peer.
    pub(super) server: Option<Server>,
    names: usize,
    /// Makes the names of this run its own: a peer may remember earlier ones.
    run: u32,
}

impl Target {
    pub(super) fn own(server: Server, options: Options) -> Self {
        Self {
            http: server.http.clone(),
            process: server.process(),
            options,
            server: Some(server),
            names: 0,
            run: 0,
        }
    }

    pub(super) fn peer(url: &str, pid: u32, options: Options) -> Self {
        let process = Process::new(pid);
        Self {
            http: Http::new(url),
            process,
            options,
            server: None,
            names: 0,
            run: std::process::id(),
        }
    }

    /// A name that no user has yet.
    pub(super) fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("user{}x{}", self.run, self.names)
    }
}

/// The median time in ms of appending 4 KiB to a file in `folder` and syncing it.
pub(super) fn sync_time(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("sync-time"))?;
    let mut times = Vec::new();
    for _ in 0..DISK_SYNCS {
        let began = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(percentile(times, 0.5))
}
