//! Media: files of any length in little memory, many downloads at once, kill -9 in the middle of uploads, and what
//! administrators do with files: commands, backups, checks.

mod commands;
mod kills;
pub mod wire;

use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use crate::{
    Result,
    process::Process,
    report::Report,
    server::{Server, Setup},
};
use wire::{Content, Wire};

/// By so much may resident memory grow, in MiB, whatever the length of a file.
const GROWTH_MIB_MAX: f64 = 32.0;
/// Length of the files that many fetch at once.
const CROWD_BYTES: u64 = 16 << 20;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length of the large file, in MiB.
    pub large_mib: u64,
    /// Downloads at once.
    pub downloads: u64,
    /// Kills.
    pub rounds: usize,
    /// Of everything random.
    pub seed: u64,
}

/// Runs all parts, each in a folder of its own.
pub async fn run(options: Options, folder: &Path, report: &mut Report) -> Result<()> {
    let part = |name: &str| -> Result<PathBuf> {
        let part = folder.join(name);
        std::fs::create_dir_all(&part)?;
        Ok(part)
    };
    report.check("a large file", large(options, &part("large")?).await);
    let kills = kills::run(options.rounds, options.seed, &part("kills")?).await;
    report.check("kill -9 in the middle of uploads", kills);
    report.check("`hearth media`", commands::media(&part("commands")?).await);
    report.check(
        "backup, restore and fsck",
        commands::backup(&part("backup")?).await,
    );
    Ok(())
}

/// A large file goes in and out, and many fetch at once; memory must not notice.
async fn large(options: Options, folder: &Path) -> Result<String> {
    let setup = Setup::new(folder)?.with("HEARTH_MEDIA__UPLOAD", "1024 GiB");
    let server = Server::start(setup).await?;
    let user = server.http.register("anna").await?;
    let wire = Wire::new(server.setup.port, &user);
    let mut memory = Memory::new(server.process());
    // What a first file takes once and for all.
    let first = Content {
        seed: 1,
        length: CROWD_BYTES,
    };
    let shared = wire.upload(first).await?;
    wire.compare(&shared, first, None).await?;
    memory.begin()?;

    let large = Content {
        seed: 2,
        length: options.large_mib << 20,
    };
    let uri = wire.upload(large).await?;
    memory.part("upload")?;
    wire.compare(&uri, large, None).await?;
    memory.part("download")?;
    let middle = large.length / 2 + 12_345;
    wire.compare(&uri, large, Some(middle..middle + 1_000_000))
        .await?;
    let mut downloads = JoinSet::new();
    for _ in 0..options.downloads {
        let (wire, shared) = (wire.clone(), shared.clone());
        downloads.spawn(async move { wire.compare(&shared, first, None).await });
    }
    while let Some(done) = downloads.join_next().await {
        done??;
    }
    memory.part("downloads at once")?;
    let setup = server.stop().await?;
    setup.fsck()?;
    no_panics(&setup)?;
    Ok(format!(
        "{} MiB in and out whole, {} downloads at once; resident memory from {:.1} MiB by at most {}",
        options.large_mib,
        options.downloads,
        memory.before,
        memory.told.join(", ")
    ))
}

/// How resident memory grows.
struct Memory {
    process: Process,
    before: f64,
    told: Vec<String>,
}

impl Memory {
    fn new(process: Process) -> Self {
        Self {
            process,
            before: 0.0,
            told: Vec::new(),
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.process.forget_peak()?;
        self.before = self.process.memory_mib()?;
        Ok(())
    }

    /// The most since the last part, against the beginning.
    fn part(&mut self, name: &str) -> Result<()> {
        let growth = self.process.memory_peak_mib()? - self.before;
        self.told.push(format!("{growth:.1} MiB ({name})"));
        self.process.forget_peak()?;
        match growth < GROWTH_MIB_MAX {
            true => Ok(()),
            false => Err(format!(
                "{name}: resident memory grew by {growth:.1} MiB, from {:.1}",
                self.before
            )
            .into()),
        }
    }
}

fn no_panics(setup: &Setup) -> Result<()> {
    match setup.panics()? {
        panics if panics.is_empty() => Ok(()),
        panics => Err(format!("the server panicked: {panics:?}").into()),
    }
}

/// The folders of files in a data folder or a backup.
fn blobs(data: &Path) -> PathBuf {
    data.join("media").join("blobs")
}

/// All files in a folder and those within.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => left.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    Ok(found)
}
