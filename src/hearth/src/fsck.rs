//! `hearth fsck`: reads everything back and checks it.

use std::fmt::Write;

use hearth_config::Config;
use hearth_data::fsck::{Progress, fsck};
use hearth_data::tables::CATALOGUE;
use hearth_store::Backend;
use hearth_store_rocksdb::RocksBackend;

use crate::admin;
use crate::error::{Doing, Error, Result};
use crate::house::{open_store, store_path};
use crate::media::{self, Depth, blobs_path};

/// Checks the store of the data folder, which no server may have open.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let path = store_path(&config.data_dir);
    if !path.exists() {
        return Err(Error::refused(format!(
            "there is no store in {}",
            path.display()
        )));
    }
    admin::must_be_stopped(config).await?;
    let store = open_store(config)?;
    if config.media.s3.is_none() {
        let blobs = blobs_path(&config.data_dir);
        print!("{}", media::check(&store, &blobs, Depth::Lengths).await?);
    }
    print!("{}", check(store).await?);
    println!("the store is clean");
    Ok(())
}

/// Reads all rows with their checksums, then checks what holds between them, and closes the store. A text about its
/// size, or the problems as an error.
pub(crate) async fn check(store: RocksBackend) -> Result<String> {
    let sizes = store.verify().await.doing("the store is damaged")?;
    let mut text = String::new();
    for size in sizes.iter().filter(|size| size.rows > 0) {
        let table = CATALOGUE.iter().find(|info| info.id == size.table);
        let name = table.map_or("?", |info| info.name);
        let bytes = size.key_bytes + size.value_bytes;
        writeln!(text, "{name}: {} rows, {bytes} bytes", size.rows).doing("text")?;
    }
    let snapshot = store.snapshot().await.doing("could not read the store")?;
    let report = fsck(&*snapshot, &mut |_: Progress| {}).await;
    // A store cannot close while it is read.
    drop(snapshot);
    store.close().await.doing("could not close the store")?;
    let report = report.doing("could not check the store")?;
    if report.is_clean() {
        writeln!(text, "{} rows, {} bytes in all", report.rows, report.bytes).doing("text")?;
        return Ok(text);
    }
    let mut problems = format!("the store has {} problems", report.problem_count);
    for problem in &report.problems {
        write!(problems, "\n{problem}").doing("text")?;
    }
    Err(Error::Refused(problems))
}
