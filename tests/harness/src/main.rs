//! `hearth-harness`: crash, full-disk and fuzz tests and the load generator, each against the real server binary.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use hearth_harness::{
    Result,
    bench::{self, Part, Sizes},
    crash::{self, DiskKind},
    disk_full, fuzz,
    report::Report,
};

/// Tests of the real server binary (HEARTH_BIN, else the one built beside this program).
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Test,
    /// Keep the data and the logs, in this (new or empty) folder.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// Seed of everything random; without it another one each time. It is printed.
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Kill -9 at random moments while senders run at full speed.
    Crash {
        /// How many kills.
        #[arg(long, default_value_t = 100)]
        rounds: usize,
        /// How many users send at once.
        #[arg(long, default_value_t = 8)]
        senders: usize,
        /// Into how many rooms.
        #[arg(long, default_value_t = 3)]
        rooms: usize,
        /// At each kill, cut every file back to its last synced length.
        #[arg(long)]
        lose_unsynced: bool,
        /// Tell the server not to sync; then this test passes only if it finds a loss.
        #[arg(long, requires = "lose_unsynced")]
        expect_loss: bool,
    },
    /// A disk that is full for a while.
    DiskFull,
    /// Nonsense for every route.
    Fuzz {
        /// Random bodies per route, beyond the fixed list.
        #[arg(long, default_value_t = 40)]
        random: usize,
        /// Only routes whose path contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// What each act of a client costs the server.
    Bench {
        /// Only these parts.
        #[arg(long, value_delimiter = ',')]
        parts: Vec<Part>,
        /// Small sizes and fewer runs, for a look while working.
        #[arg(long)]
        quick: bool,
        /// Runs per figure; the median counts.
        #[arg(long)]
        runs: Option<usize>,
        /// Measure this homeserver instead of Hearth.
        #[arg(long, requires = "peer_pid")]
        peer: Option<String>,
        /// Its process id.
        #[arg(long)]
        peer_pid: Option<u32>,
        /// Write the figures here as JSON, too.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    let temporary = tempfile::Builder::new()
        .prefix("hearth-harness-")
        .tempdir()?;
    let folder = arguments
        .folder
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut report = Report::default();
    match arguments.command {
        Test::Crash {
            rounds,
            senders,
            rooms,
            lose_unsynced,
            expect_loss,
        } => {
            let disk = match (lose_unsynced, expect_loss) {
                (false, _) => DiskKind::Keeps,
                (true, false) => DiskKind::Loses,
                (true, true) => DiskKind::LosesUnsynced,
            };
            println!("crash test, seed {seed}");
            let found = crash::run(
                crash::Options {
                    rounds,
                    senders,
                    rooms,
                    disk,
                    seed,
                },
                &folder,
            )
            .await;
            crash_report(&mut report, disk, found);
        }
        Test::DiskFull => report.check("full disk", disk_full::run(&folder).await),
        Test::Fuzz { random, only } => {
            println!("fuzz test, seed {seed}");
            report.check(
                "fuzz",
                fuzz::run(fuzz::Options { random, seed, only }, &folder).await,
            );
        }
        Test::Bench {
            parts,
            quick,
            runs,
            peer,
            peer_pid,
            json,
        } => {
            let sizes = if quick { Sizes::QUICK } else { Sizes::FULL };
            let runs = runs.unwrap_or(if quick { 3 } else { 5 });
            let parts = if parts.is_empty() { all_parts() } else { parts };
            let peer = peer.zip(peer_pid);
            println!(
                "{}",
                bench::run(
                    bench::Options {
                        parts,
                        sizes,
                        runs,
                        peer,
                        json
                    },
                    &folder
                )
                .await?
            );
            return Ok(true);
        }
    }
    Ok(report.close())
}

fn all_parts() -> Vec<Part> {
    use Part::{Idle, Joins, Members, Memory, Messages, Polls, Sends, Start, Sync};
    vec![
        Idle, Sends, Messages, Polls, Sync, Members, Joins, Memory, Start,
    ]
}

fn crash_report(report: &mut Report, disk: DiskKind, found: Result<crash::Summary>) {
    match (disk, found) {
        (DiskKind::Keeps, found) => {
            report.check("kill -9", found.map(|summary| summary.to_string()))
        }
        (DiskKind::Loses, found) => report.check(
            "kill -9 and loss of unsynced bytes",
            found.map(|s| s.to_string()),
        ),
        (DiskKind::LosesUnsynced, Ok(_)) => {
            report.check(
                "loss is found without syncing",
                Err("no loss was found: the test sees nothing".into()),
            );
        }
        // Only a lost message counts: a server that does not start, say, proves nothing about the test.
        (DiskKind::LosesUnsynced, Err(error)) => {
            let told = error.to_string();
            let verdict = if told.ends_with("lost") {
                Ok(told)
            } else {
                Err(error)
            };
            report.check("loss is found without syncing", verdict);
        }
    }
}
