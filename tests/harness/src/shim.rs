//! A disk that loses what was not synced: builds the preloaded shim, reads its log, cuts the files after a kill.
//!
//! The rules, the harsher one wherever a file system may choose:
//! - a file keeps only the length that it had before its last successful fsync or fdatasync; `sync_file_range` does not count;
//! - a file that was created or got a new name is gone, unless its folder was synced afterwards; a rename over an existing
//!   durable name leaves the new content under it (the old content is no longer there to be brought back);
//! - a truncation is kept at once; a removal too.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, server::Setup};

/// The shim's variables: what it watches, its log, and the flag file that makes the disk full.
#[derive(Clone, Debug)]
pub struct Shim {
    library: PathBuf,
    log: PathBuf,
    full_flag: PathBuf,
    data: PathBuf,
}

/// What the power cut did, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Files that lost bytes.
    pub shortened: usize,
    /// Files that vanished.
    pub vanished: usize,
    /// Bytes lost, those of vanished files included.
    pub bytes: u64,
}

impl Shim {
    /// Compiles the shim with the C compiler and prepares it for the data folder of `setup`.
    pub fn build(setup: &Setup) -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/loss.c");
        let folder = setup.folder.canonicalize()?;
        let library = folder.join("loss.so");
        let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl");
        let status = compiler.status()?;
        if !status.success() {
            return Err(format!("could not compile the shim: {status}").into());
        }
        std::fs::create_dir_all(setup.data())?;
        Ok(Self {
            library,
            log: folder.join("shim.log"),
            full_flag: folder.join("disk-is-full"),
            data: setup.data().canonicalize()?,
        })
    }

    /// The server's setup with the shim loaded.
    #[must_use]
    pub fn preload(&self, setup: Setup) -> Setup {
        self.variables()
            .into_iter()
            .fold(setup, |setup, (name, value)| {
                setup.with(name, value.display().to_string())
            })
    }

    /// The variables that load the shim into any program.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("SHIM_DIR", &self.data),
            ("SHIM_LOG", &self.log),
            ("SHIM_FULL", &self.full_flag),
        ]
    }

    /// From now on writes fail with ENOSPC.
    pub fn fill_disk(&self) -> Result<()> {
        File::create(&self.full_flag)?;
        Ok(())
    }

    /// There is space again.
    pub fn free_disk(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.full_flag)?)
    }

    /// Remembers the files as they are: all of it counts as durable. Called while no server runs, before each start.
    pub fn begin(&self) -> Result<Disk> {
        File::create(&self.log)?;
        let mut disk = Disk::default();
        for (path, length) in files(&self.data)? {
            disk.files.insert(
                path,
                Entry {
                    synced: length,
                    named: true,
                },
            );
        }
        Ok(disk)
    }

    /// The power cut: applies the shim's log to `disk` and cuts the files. The server must be dead.
    pub fn cut(&self, mut disk: Disk) -> Result<Cut> {
        let log = std::fs::read_to_string(&self.log)?;
        if !log.lines().any(|line| line.starts_with('S')) {
            return Err(
                "the shim saw no sync at all: is it loaded, and does the server sync?".into(),
            );
        }
        for line in log.lines() {
            disk.apply(line)?;
        }
        disk.cut(&self.data)
    }

    /// As [`Shim::cut`], for a server that was told not to sync: a log without any sync is then what we expect.
    pub fn cut_unsynced(&self, mut disk: Disk) -> Result<Cut> {
        for line in std::fs::read_to_string(&self.log)?.lines() {
            disk.apply(line)?;
        }
        disk.cut(&self.data)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The length that is safe.
    synced: u64,
    /// Whether the name itself is safe.
    named: bool,
}

/// What is durable, by path.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: HashMap<PathBuf, Entry>,
}

impl Disk {
    fn apply(&mut self, line: &str) -> Result<()> {
        let mut fields = line.split('\t');
        let mut next = || {
            fields
                .next()
                .ok_or_else(|| format!("strange line in the shim's log: {line}"))
        };
        let (kind, length, path, other) = (
            next()?,
            next()?.parse::<u64>()?,
            PathBuf::from(next()?),
            next()?,
        );
        match kind {
            "C" => drop(self.files.insert(
                path,
                Entry {
                    synced: 0,
                    named: false,
                },
            )),
            "S" => self.entry(path).synced = length,
            "T" => {
                let entry = self.entry(path);
                entry.synced = entry.synced.min(length);
            }
            // A hard link shares the bytes of a file that is followed under its first name.
            "L" => drop(self.files.insert(
                path,
                Entry {
                    synced: u64::MAX,
                    named: false,
                },
            )),
            "R" => self.rename(&path, PathBuf::from(other)),
            "U" => drop(self.files.remove(&path)),
            "D" => self.sync_folder(&path),
            "M" => {
                return Err(format!(
                    "{} is mapped writable, which the shim cannot follow",
                    path.display()
                )
                .into());
            }
            _ => return Err(format!("strange line in the shim's log: {line}").into()),
        }
        Ok(())
    }

    /// A file that the log does not know was opened before the log began, with nothing safe but what `begin` saw.
    fn entry(&mut self, path: PathBuf) -> &mut Entry {
        self.files.entry(path).or_insert(Entry {
            synced: 0,
            named: false,
        })
    }

    fn rename(&mut self, from: &Path, to: PathBuf) {
        let moved = self.files.remove(from).unwrap_or(Entry {
            synced: 0,
            named: false,
        });
        let replaces_durable = self.files.get(&to).is_some_and(|old| old.named);
        self.files.insert(
            to,
            Entry {
                synced: moved.synced,
                named: replaces_durable,
            },
        );
    }

    fn sync_folder(&mut self, folder: &Path) {
        for (path, entry) in &mut self.files {
            entry.named |= path.parent() == Some(folder);
        }
    }

    fn cut(&self, data: &Path) -> Result<Cut> {
        let mut cut = Cut::default();
        for (path, length) in files(data)? {
            let entry = self.files.get(&path).copied().unwrap_or(Entry {
                synced: 0,
                named: false,
            });
            if !entry.named {
                std::fs::remove_file(&path)?;
                cut.vanished += 1;
                cut.bytes += length;
            } else if entry.synced < length {
                File::options()
                    .write(true)
                    .open(&path)?
                    .set_len(entry.synced)?;
                cut.shortened += 1;
                cut.bytes += length - entry.synced;
            }
        }
        Ok(cut)
    }
}

/// Every regular file below a folder, with its length.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path(), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
