//! The shim is loaded into a small Python program that writes, syncs, renames; then the cut is judged.

use std::process::Command;

use super::*;

struct Machine {
    _folder: tempfile::TempDir,
    shim: Shim,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup {
            binary: PathBuf::new(),
            folder: folder.path().to_owned(),
            port: 0,
            environment: Vec::new(),
        };
        let shim = Shim::build(&setup).unwrap();
        Self {
            _folder: folder,
            shim,
        }
    }

    /// Runs a Python program in the data folder with the shim loaded.
    fn python(&self, program: &str) {
        let mut command = Command::new("python3");
        command
            .arg("-c")
            .arg(format!("import os\n{program}"))
            .current_dir(&self.shim.data);
        let status = command.envs(self.shim.variables()).status().unwrap();
        assert!(status.success(), "{program}");
    }

    fn content(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.shim.data.join(name)).ok()
    }
}

const SYNC_FOLDER: &str = "os.fsync(os.open('.', os.O_RDONLY))";

#[test]
fn bytes_after_the_last_sync_are_lost() {
    let machine = Machine::new();
    let disk = machine.shim.begin().unwrap();
    machine.python(&format!(
        "f = os.open('a', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'kept')\nos.fdatasync(f)\nos.write(f, b'lost')\n{SYNC_FOLDER}"
    ));
    assert_eq!(machine.content("a").unwrap(), "keptlost");
    let cut = machine.shim.cut(disk).unwrap();
    assert_eq!(
        cut,
        Cut {
            shortened: 1,
            vanished: 0,
            bytes: 4
        }
    );
    assert_eq!(machine.content("a").unwrap(), "kept");
}

#[test]
fn a_synced_file_in_an_unsynced_folder_is_lost() {
    let machine = Machine::new();
    let disk = machine.shim.begin().unwrap();
    machine.python("f = os.open('a', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'x')\nos.fsync(f)");
    assert_eq!(machine.shim.cut(disk).unwrap().vanished, 1);
    assert_eq!(machine.content("a"), None);
}

#[test]
fn a_synced_replacement_by_rename_is_kept() {
    let machine = Machine::new();
    std::fs::write(machine.shim.data.join("current"), "old").unwrap();
    let disk = machine.shim.begin().unwrap();
    machine.python(&format!(
        "f = os.open('new', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'newer')\nos.fsync(f)\nos.rename('new', 'current')\n{SYNC_FOLDER}"
    ));
    assert_eq!(machine.shim.cut(disk).unwrap(), Cut::default());
    assert_eq!(machine.content("current").unwrap(), "newer");
}

#[test]
fn what_was_there_before_stays() {
    let machine = Machine::new();
    std::fs::write(machine.shim.data.join("old"), "old").unwrap();
    let disk = machine.shim.begin().unwrap();
    machine.python("f = os.open('old', os.O_WRONLY | os.O_APPEND)\nos.write(f, b' and new')");
    let cut = machine.shim.cut_unsynced(disk).unwrap();
    assert_eq!(cut.bytes, 8);
    assert_eq!(machine.content("old").unwrap(), "old");
}

#[test]
fn a_run_without_any_sync_is_not_taken_for_a_good_one() {
    let machine = Machine::new();
    let disk = machine.shim.begin().unwrap();
    machine.python("os.write(os.open('a', os.O_CREAT | os.O_WRONLY), b'x')");
    assert!(machine.shim.cut(disk).is_err());
}

#[test]
fn a_writable_shared_mapping_is_refused() {
    let machine = Machine::new();
    let disk = machine.shim.begin().unwrap();
    machine.python(
        "import mmap\nf = os.open('a', os.O_CREAT | os.O_RDWR)\nos.write(f, b'xxxx')\nos.fsync(f)\nmmap.mmap(f, 4)[0] = 65",
    );
    let told = machine.shim.cut(disk).unwrap_err().to_string();
    assert!(told.contains("mapped writable"), "{told}");
}

#[test]
fn a_full_disk_takes_half_of_one_write_and_then_nothing() {
    let machine = Machine::new();
    machine.shim.fill_disk().unwrap();
    machine.python(
        "f = os.open('a', os.O_CREAT | os.O_WRONLY)\nassert os.write(f, b'1234') == 2\ntry:\n  os.write(f, b'x')\nexcept OSError as e:\n  assert e.errno == 28\nelse:\n  raise SystemExit(1)",
    );
    machine.shim.free_disk().unwrap();
    machine.python("assert os.write(os.open('a', os.O_WRONLY | os.O_APPEND), b'567') == 3");
    assert_eq!(machine.content("a").unwrap(), "12567");
}
