//! `hearth-harness`: crash, full-disk and fuzz tests and the load generator, each against the real server binary.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum as _};
use hearth_harness::{
    Result,
    bench::{self, Part, Sizes},
    coverage::{self, Keep},
    crash::{self, DiskKind},
    disk_full, fuzz, media,
    report::Report,
    retention,
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
    Crash(CrashTest),
    /// A disk that is full for a while.
    DiskFull,
    /// Kill -9 while messages that have come to their end are removed.
    Retention {
        /// How many kills.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Large files, many downloads, kills in the middle of uploads, commands and backups.
    Media {
        /// Length of the large file, in MiB.
        #[arg(long, default_value_t = 2048)]
        large: u64,
        /// How many downloads at once.
        #[arg(long, default_value_t = 64)]
        downloads: u64,
        /// How many kills.
        #[arg(long, default_value_t = 30)]
        rounds: usize,
    },
    /// Nonsense for every route.
    Fuzz {
        /// Random bodies per route, beyond the fixed list.
        #[arg(long, default_value_t = 40)]
        random: usize,
        /// Only routes whose path contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Which endpoints of the specification the server has.
    Coverage {
        /// Write the table instead of comparing with it.
        #[arg(long)]
        write: bool,
        /// Where the table is.
        #[arg(long, default_value = "spec/coverage.md")]
        file: PathBuf,
    },
    /// What each act of a client costs the server.
    Bench(Bench),
}

#[derive(Debug, Args)]
struct CrashTest {
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
}

#[derive(Debug, Args)]
struct Bench {
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
    /// Measure these two homeservers, which federate, in the part `federation`: URL=PID,URL=PID.
    #[arg(long, value_delimiter = ',', value_parser = peer)]
    peers: Vec<(String, u32)>,
    /// Write the figures here as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
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
    let folder = folder.canonicalize()?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut report = Report::default();
    match arguments.command {
        Test::Crash(test) => {
            println!("crash test, seed {seed}");
            let disk = test.disk();
            let found = crash::run(test.options(seed), &folder).await;
            crash_report(&mut report, disk, found);
        }
        Test::DiskFull => report.check("full disk", disk_full::run(&folder).await),
        Test::Retention { rounds } => {
            println!("retention test, seed {seed}");
            let found = retention::run(retention::Options { rounds, seed }, &folder).await;
            report.check("kill -9 in the middle of a removal", found);
        }
        Test::Media {
            large,
            downloads,
            rounds,
        } => {
            println!("media test, seed {seed}");
            let options = media::Options {
                large_mib: large,
                downloads,
                rounds,
                seed,
            };
            media::run(options, &folder, &mut report).await?;
        }
        Test::Fuzz { random, only } => {
            println!("fuzz test, seed {seed}");
            let options = fuzz::Options { random, seed, only };
            report.check("fuzz", fuzz::run(options, &folder).await);
        }
        Test::Coverage { write, file } => {
            let keep = if write { Keep::Write } else { Keep::Compare };
            report.check("coverage", coverage::run(&folder, &file, keep).await);
        }
        Test::Bench(bench) => {
            println!("{}", bench::run(bench.options(), &folder).await?);
            return Ok(true);
        }
    }
    Ok(report.close())
}

/// `http://127.0.0.1:8008=4711`.
fn peer(written: &str) -> std::result::Result<(String, u32), String> {
    let (url, pid) = written
        .rsplit_once('=')
        .ok_or("a peer is written as URL=PID")?;
    let pid = pid
        .parse()
        .map_err(|error| format!("`{pid}` is no process id: {error}"))?;
    Ok((url.to_owned(), pid))
}

impl CrashTest {
    fn disk(&self) -> DiskKind {
        match (self.lose_unsynced, self.expect_loss) {
            (false, _) => DiskKind::Keeps,
            (true, false) => DiskKind::Loses,
            (true, true) => DiskKind::LosesUnsynced,
        }
    }

    fn options(&self, seed: u64) -> crash::Options {
        crash::Options {
            rounds: self.rounds,
            senders: self.senders,
            rooms: self.rooms,
            disk: self.disk(),
            seed,
        }
    }
}

impl Bench {
    fn options(self) -> bench::Options {
        let everything = || Part::value_variants().to_vec();
        bench::Options {
            parts: if self.parts.is_empty() {
                everything()
            } else {
                self.parts
            },
            sizes: if self.quick {
                Sizes::QUICK
            } else {
                Sizes::FULL
            },
            runs: self.runs.unwrap_or(if self.quick { 3 } else { 5 }),
            peer: self.peer.zip(self.peer_pid),
            peers: self.peers,
            json: self.json,
        }
    }
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
