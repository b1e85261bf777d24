//! A full disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hearth_store::{Backend, Batch, Error};

use crate::{key, numbers, open, put};

/// How long the engine may take to notice that there is space again; it looks every five seconds.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// A small file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where we may not mount.
    fn mount(path: &Path) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(path)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "still mounted");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_service_resumes_with_space() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 24 << 20]).unwrap();
    let path = disk.0.join("store");
    let store = open(&path);
    let batch = |number: u64| {
        let mut batch = Batch::new();
        put(&mut batch, key(4, number), vec![number as u8; 200_000]);
        put(&mut batch, key(0, number), number.to_string());
        batch
    };
    let mut acknowledged = Vec::new();
    let mut refused = Vec::new();
    for number in 0..300 {
        match store.commit(batch(number)).await {
            Ok(_) => acknowledged.push(number),
            Err(Error::NoSpace) => refused.push(number),
            Err(error) => panic!("not what a full disk should answer: {error:?}"),
        }
        if refused.len() == 5 {
            break;
        }
    }
    assert_eq!(refused.len(), 5, "the disk did not fill up");
    assert_eq!(numbers(&store, 0).await, acknowledged, "reading goes on");

    std::fs::remove_file(ballast).unwrap();
    let resumed = tokio::time::timeout(RECOVERY_MAX, async {
        let mut retry = tokio::time::interval(Duration::from_millis(100));
        loop {
            retry.tick().await;
            match store.commit(batch(1_000)).await {
                Ok(_) => return,
                Err(Error::NoSpace) => {}
                Err(error) => panic!("not what a full disk should answer: {error:?}"),
            }
        }
    });
    resumed.await.expect("service resumes without a restart");
    acknowledged.push(1_000);
    assert_eq!(numbers(&store, 0).await, acknowledged);
    drop(store);
    let store = open(&path);
    assert_eq!(numbers(&store, 0).await, acknowledged);
    store.verify().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    drop(disk);
}
