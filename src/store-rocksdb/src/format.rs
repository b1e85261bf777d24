//! Which store this is: a marker file beside RocksDB's own, checked before RocksDB may touch anything.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use hearth_store::Error;

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// Holds `hearth-store <format>`. RocksDB leaves files alone whose names it does not know.
const MARKER: &str = "HEARTH";

/// Checks the directory of a store and marks a new one.
pub(crate) fn check_or_mark(path: &Path) -> Result<(), Error> {
    create_synced(path).map_err(engine)?;
    match fs::read_to_string(path.join(MARKER)) {
        Ok(text) => check(found(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // RocksDB's own marker of a finished store: somebody else's, as ours is marked first.
            if path.join("CURRENT").exists() {
                return check(0);
            }
            mark(path)
        }
        Err(error) => Err(engine(error)),
    }
}

/// Marks a directory as a store of this format, durably.
pub(crate) fn mark(path: &Path) -> Result<(), Error> {
    write_synced(path).map_err(engine)
}

/// Fails for a format that this program does not read.
pub(crate) fn check(found: u32) -> Result<(), Error> {
    if (1..=FORMAT).contains(&found) {
        Ok(())
    } else {
        Err(Error::Format {
            found,
            known: FORMAT,
        })
    }
}

fn found(marker: &str) -> u32 {
    marker
        .trim_end()
        .strip_prefix("hearth-store ")
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Makes a directory whose name survives a power loss, and those above it.
fn create_synced(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        .collect();
    fs::create_dir_all(path)?;
    for directory in missing {
        // The name stands in the directory above.
        let above = directory.parent().filter(|above| *above != Path::new(""));
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn write_synced(path: &Path) -> io::Result<()> {
    // Under another name first: a crash in between must not leave an empty marker, which would be refused.
    let draft = path.join("HEARTH.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "hearth-store {FORMAT}")?;
    file.sync_all()?;
    fs::rename(&draft, path.join(MARKER))?;
    File::open(path)?.sync_all()
}

/// An input or output error in the store's words.
pub(crate) fn engine(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        Error::NoSpace
    } else {
        Error::Engine(Box::new(error))
    }
}
