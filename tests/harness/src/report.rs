//! Named checks with a closing line that counts them.

use crate::Result;

/// Counts what passed and what failed, and prints each.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Enters one check.
    pub fn check(&mut self, name: &str, result: Result<String>) {
        match result {
            Ok(note) => {
                self.passed += 1;
                println!("ok      {name}: {note}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name}: {error}");
            }
        }
    }

    /// Prints the closing line; whether all is well.
    #[must_use]
    pub fn close(&self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_checked_is_not_all_well() {
        assert!(!Report::default().close());
    }

    #[test]
    fn one_failure_is_not_all_well() {
        let mut report = Report::default();
        report.check("a", Ok("fine".to_owned()));
        assert!(report.close());
        report.check("b", Err("broken".into()));
        assert!(!report.close());
    }
}
