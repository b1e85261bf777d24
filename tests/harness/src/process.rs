//! What a process has used, read from `/proc`: CPU seconds and memory.

use std::path::PathBuf;

use crate::Result;

/// A process by its id; it need not be our child.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

/// Linux fixes `USER_HZ` at 100 on every architecture that Rust's std supports.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// User and system CPU seconds of all its threads, those that have ended included.
    pub fn cpu_seconds(self) -> Result<f64> {
        let stat = std::fs::read_to_string(self.file("stat"))?;
        parse_cpu_seconds(&stat)
            .ok_or_else(|| format!("strange /proc/{}/stat: {stat}", self.pid).into())
    }

    /// Resident memory in MiB, now.
    pub fn memory_mib(self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most resident memory that it ever had, in MiB.
    pub fn memory_peak_mib(self) -> Result<f64> {
        self.status("VmHWM:")
    }

    /// Lets [`Self::memory_peak_mib`] begin anew from what there is now.
    pub fn forget_peak(self) -> Result<()> {
        Ok(std::fs::write(self.file("clear_refs"), "5")?)
    }

    fn status(self, field: &str) -> Result<f64> {
        let status = std::fs::read_to_string(self.file("status"))?;
        parse_kib(&status, field)
            .map(|kib| kib / 1024.0)
            .ok_or_else(|| format!("no {field} in /proc/{}/status", self.pid).into())
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The command name stands in parentheses and may hold blanks and parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn parse_kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_command_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(parse_cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(
            parse_kib("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"),
            Some(2048.0)
        );
        assert_eq!(parse_kib("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let own = Process::new(std::process::id());
        assert!(own.memory_mib().unwrap() > 0.1);
        assert!(own.memory_peak_mib().unwrap() >= own.memory_mib().unwrap() * 0.5);
        own.forget_peak().unwrap();
        assert!(own.memory_peak_mib().unwrap() > 0.1);
    }
}
