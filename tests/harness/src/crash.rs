//! kill -9 at random moments, with or without the loss of unsynced bytes; nothing acknowledged may be lost or doubled.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    Result,
    senders::{self, Cast},
    server::{Server, Setup},
    shim::{Cut, Shim},
};

/// So many acknowledged events between two kills, at least.
const ACKNOWLEDGED_MIN: u64 = 50;
/// And at random up to as many more.
const ACKNOWLEDGED_MORE: u64 = 400;
/// A round that has not brought them by then has failed.
const ROUND_SECONDS_MAX: u64 = 120;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many kills.
    pub rounds: usize,
    /// How many users send at once.
    pub senders: usize,
    /// Into how many rooms.
    pub rooms: usize,
    /// What the disk does at a kill.
    pub disk: DiskKind,
    /// Of the random moments.
    pub seed: u64,
}

/// What the disk does at a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// Keeps what was written, as after the death of a process.
    Keeps,
    /// Loses what was not synced, as after a power cut.
    Loses,
    /// Loses, and the server is told not to sync: this run must fail.
    LosesUnsynced,
}

/// What happened, for the report.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    rounds: usize,
    acknowledged: usize,
    lost_bytes: u64,
    vanished: usize,
    start_ms_max: u128,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} kills, {} acknowledged events, each there once and in order, fsck clean; slowest start {} ms",
            self.rounds, self.acknowledged, self.start_ms_max
        )?;
        if self.lost_bytes > 0 || self.vanished > 0 {
            write!(
                formatter,
                "; {} unsynced bytes cut off, {} files gone",
                self.lost_bytes, self.vanished
            )?;
        }
        Ok(())
    }
}

struct Run {
    options: Options,
    shim: Option<Shim>,
    random: StdRng,
    summary: Summary,
}

/// Runs all rounds; an error is a finding.
pub async fn run(options: Options, folder: &Path) -> Result<Summary> {
    let mut setup = Setup::new(folder)?;
    let mut shim = None;
    if options.disk != DiskKind::Keeps {
        let built = Shim::build(&setup)?;
        setup = built.preload(setup);
        shim = Some(built);
    }
    if options.disk == DiskKind::LosesUnsynced {
        setup = setup.with("HEARTH_STORE__SYNC_WRITES", "false");
    }
    let random = StdRng::seed_from_u64(options.seed);
    let run = Run {
        options,
        shim,
        random,
        summary: Summary::default(),
    };
    let server = Server::start(setup).await?;
    let cast = Cast::gather(&server.http, run.options.senders, run.options.rooms).await?;
    // Registration and rooms are acknowledged too: they come through the first kill or nothing else works.
    let setup = server.stop().await?;
    run.rounds(setup, cast).await
}

impl Run {
    async fn rounds(mut self, mut setup: Setup, mut cast: Cast) -> Result<Summary> {
        for round in 0..self.options.rounds {
            let outcome = self.round(setup, &mut cast).await;
            setup = outcome
                .map_err(|error| format!("round {round}, seed {}: {error}", self.options.seed))?;
            if round % 10 == 9 {
                println!(
                    "        {} rounds, {} events acknowledged",
                    round + 1,
                    cast.ledger.len()
                );
            }
        }
        let mut server = Server::start(setup).await?;
        cast.judge_history().await?;
        cast.follower.catch_up().await?;
        cast.judge_follower()?;
        if let Some(status) = server.ended()? {
            return Err(format!("the server ended by itself: {status}").into());
        }
        let setup = server.stop().await?;
        setup.fsck()?;
        let panics = setup.panics()?;
        if !panics.is_empty() {
            return Err(format!("the server panicked: {panics:?}").into());
        }
        self.summary.rounds = self.options.rounds;
        self.summary.acknowledged = cast.ledger.len();
        Ok(self.summary)
    }

    /// One start, much sending, one kill, one check of the files.
    async fn round(&mut self, setup: Setup, cast: &mut Cast) -> Result<Setup> {
        let disk = self.shim.as_ref().map(Shim::begin).transpose()?;
        let server = Server::start(setup).await?;
        self.summary.start_ms_max = self.summary.start_ms_max.max(server.start_time.as_millis());
        cast.judge_history().await?;
        let count = Arc::new(AtomicU64::new(0));
        let running = senders::start(&cast.senders, &count);
        let mut following = tokio::task::JoinSet::new();
        following.spawn(cast.follower.clone().follow_until_gone());
        let enough = ACKNOWLEDGED_MIN + self.random.random_range(0..ACKNOWLEDGED_MORE);
        let reached = until(&count, enough).await;
        let setup = server.kill()?;
        cast.settle(senders::finish(running).await?)?;
        if let Some(followed) = following.join_next().await {
            cast.follower = followed??;
        }
        reached?;
        if let (Some(shim), Some(disk)) = (&self.shim, disk) {
            let cut = if self.options.disk == DiskKind::Loses {
                shim.cut(disk)?
            } else {
                shim.cut_unsynced(disk)?
            };
            self.count(cut);
        }
        setup.fsck()?;
        Ok(setup)
    }

    fn count(&mut self, cut: Cut) {
        self.summary.lost_bytes += cut.bytes;
        self.summary.vanished += cut.vanished;
    }
}

async fn until(count: &AtomicU64, enough: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(ROUND_SECONDS_MAX);
    while count.load(Ordering::Relaxed) < enough {
        if Instant::now() > deadline {
            let there = count.load(Ordering::Relaxed);
            return Err(format!(
                "{there} of {enough} messages acknowledged within {ROUND_SECONDS_MAX} s"
            )
            .into());
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(())
}
