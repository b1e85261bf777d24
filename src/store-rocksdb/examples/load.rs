//! Figures of the store alone: `cargo run --release -p hearth-store-rocksdb --example load -- <directory>`.

use std::path::Path;

use bytes::Bytes;
use futures_util::future::join_all;
use hearth_store::conformance::TABLES;
use hearth_store::{Backend, Batch, Durability, KeyRange, Op};
use hearth_store_rocksdb::{RocksBackend, Settings};
use tokio::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// CPU time and resident memory of this process.
struct Usage {
    cpu_us: u64,
    resident_kib: u64,
}

fn usage() -> Result<Usage, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    // utime and stime, in hundredths of a second.
    let ticks = fields[12].parse::<u64>()? + fields[13].parse::<u64>()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.split_whitespace().next());
    Ok(Usage {
        cpu_us: ticks * 10_000,
        resident_kib: resident.unwrap_or("0").parse()?,
    })
}

fn key(table: usize, number: u64) -> Bytes {
    [&[TABLES[table].id], &number.to_be_bytes()[..]]
        .concat()
        .into()
}

/// About what a message writes: the event, some index rows, the room's head under a guard.
fn message(number: u64, durability: Durability) -> Batch {
    let mut batch = match durability {
        Durability::Synced => Batch::new(),
        Durability::Buffered => Batch::buffered(),
    };
    let event = format!(
        r#"{{"type":"m.room.message","sender":"@user{}:localhost","content":{{"body":"message {number}","msgtype":"m.text"}},"origin_server_ts":17000{number},"room_id":"!room:localhost","auth_events":["$a{}","$b","$c"],"hashes":{{"sha256":"{:016x}{:016x}"}}}}"#,
        number % 50,
        number / 1_000,
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f),
    );
    let mut put = |table, value: Bytes| {
        let key = key(table, number);
        batch.push(Op::Put { key, value });
    };
    put(4, event.into());
    put(0, Bytes::from_static(&[7; 40]));
    put(1, Bytes::from_static(&[7; 12]));
    put(2, Bytes::from_static(&[7; 60]));
    batch.push(Op::Expect {
        key: key(3, number),
        value: None,
    });
    batch.push(Op::Add {
        key: key(0, 1 << 40),
        delta: 1,
    });
    batch
}

async fn writes(store: &RocksBackend, writers: u64, each: u64, durability: Durability) -> Outcome {
    let first = store.snapshot().await?.position().0 * 1_000;
    let (before, start, counted) = (usage()?, Instant::now(), store.statistics()?);
    let writer = async |writer: u64| {
        for step in 0..each {
            let number = first + step * writers + writer;
            store.commit(message(number, durability)).await?;
        }
        Ok::<_, hearth_store::Error>(())
    };
    for done in join_all((0..writers).map(writer)).await {
        done?;
    }
    let (after, time, total) = (usage()?, start.elapsed(), writers * each);
    let now = store.statistics()?;
    println!(
        "{durability:?} {writers:3} writers: {:8.0}/s, {:5.1} us CPU each, {:5.1} batches per group, {:4} us per sync, RSS {} MiB",
        total as f64 / time.as_secs_f64(),
        (after.cpu_us - before.cpu_us) as f64 / total as f64,
        total as f64 / (now.groups - counted.groups) as f64,
        (now.synced_write.sum_us - counted.synced_write.sum_us)
            / (now.synced_groups - counted.synced_groups).max(1),
        after.resident_kib / 1024,
    );
    Ok(())
}

async fn reads(store: &RocksBackend, name: &str) -> Outcome {
    let snapshot = store.snapshot().await?;
    let range = KeyRange {
        from: key(4, 0),
        to: key(4, u64::MAX),
    };
    let keys = snapshot.range(range.clone(), false, 1_000).await?;
    let (start, before) = (Instant::now(), store.statistics()?);
    for round in 0..100 {
        for (key, _) in keys.iter().skip(round % 7).step_by(7) {
            snapshot.get(key).await?;
        }
    }
    let gets = 100 * keys.len() / 7;
    let get_us = start.elapsed().as_micros() as f64 / gets.max(1) as f64;
    let start = Instant::now();
    for _ in 0..1_000 {
        snapshot.range(range.clone(), true, 50).await?;
    }
    let pooled = store.statistics()?.reads_pooled - before.reads_pooled;
    let page_us = start.elapsed().as_micros() / 1_000;
    println!("{name}: get {get_us:.1} us, newest 50 rows {page_us} us, {pooled} from the pool");
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome {
    let path = std::env::args().nth(1).ok_or("which directory?")?;
    let start = Instant::now();
    let store = RocksBackend::open(Path::new(&path), &TABLES, &Settings::default())?;
    println!(
        "open {:?}, RSS {} MiB",
        start.elapsed(),
        usage()?.resident_kib / 1024
    );
    for writers in [1, 8, 32, 128] {
        writes(&store, writers, 4_000 / writers, Durability::Synced).await?;
    }
    writes(&store, 32, 10_000, Durability::Buffered).await?;
    reads(&store, "fresh").await?;
    let start = Instant::now();
    store.compact_all().await?;
    println!(
        "compaction {:?}, RSS {} MiB",
        start.elapsed(),
        usage()?.resident_kib / 1024
    );
    reads(&store, "compacted").await?;
    for size in store.verify().await? {
        println!(
            "table {:#x}: {} rows, {} bytes",
            size.table,
            size.rows,
            size.bytes()
        );
    }
    println!("{:#?}", store.statistics()?);
    store.close().await?;
    let start = Instant::now();
    let store = RocksBackend::open(Path::new(&path), &TABLES, &Settings::default())?;
    println!(
        "open again {:?}, RSS {} MiB",
        start.elapsed(),
        usage()?.resident_kib / 1024
    );
    reads(&store, "reopened").await?;
    store.close().await?;
    Ok(())
}
