//! Goals, figures, and whether they were reached.

use serde::Serialize;

use super::act::Cost;

/// CPU within this factor is "the same".
pub(super) const SAME: f64 = 1.2;
/// CPU within this factor is "little more".
pub(super) const LITTLE_MORE: f64 = 1.5;

/// One line: a goal and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The goal in words; empty if there is none.
    pub goal: String,
    /// The figure in words.
    pub figure: String,
    /// Whether the goal was reached; none where there is no goal.
    pub reached: Option<bool>,
}

impl Row {
    /// A figure against a limit that it must not pass.
    pub(super) fn at_most(what: impl Into<String>, figure: f64, limit: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            goal: format!("≤ {limit} {unit}"),
            figure: format!("{figure:.3} {unit}"),
            reached: Some(figure <= limit),
        }
    }

    /// Two costs, the second of which may be at most `factor` times the first in server CPU.
    pub(super) fn compared(what: impl Into<String>, costs: [&Cost; 2], factor: f64) -> Self {
        let [small, large] = costs.map(Cost::cpu_ms_each);
        Self {
            what: what.into(),
            goal: format!("≤ {factor} ×"),
            figure: format!(
                "{:.2} × ({small:.3} → {large:.3} ms CPU, {:.2} → {:.2} ms)",
                large / small,
                costs[0].wall_ms_each(),
                costs[1].wall_ms_each()
            ),
            reached: Some(large <= small * factor),
        }
    }

    /// A figure without a goal.
    pub(super) fn plain(what: impl Into<String>, figure: String) -> Self {
        Self {
            what: what.into(),
            goal: String::new(),
            figure,
            reached: None,
        }
    }

    pub(super) fn of_disk(sync_ms: f64) -> Self {
        Self::plain(
            "the disk: append 4 KiB and fdatasync",
            format!("{sync_ms:.3} ms, {:.0} per second", 1_000.0 / sync_ms),
        )
    }

    fn verdict(&self) -> &'static str {
        match self.reached {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}: {} (goal {}, reached: {})",
            self.what,
            self.figure,
            self.goal,
            self.verdict()
        )
    }
}

/// All lines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// In the order measured.
    pub rows: Vec<Row>,
}

impl Table {
    /// Appends a line.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            formatter,
            "| measured | goal | figure | reached |\n| --- | --- | --- | --- |"
        )?;
        for row in &self.rows {
            writeln!(
                formatter,
                "| {} | {} | {} | {} |",
                row.what,
                row.goal,
                row.figure,
                row.verdict()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_up_to_its_limit() {
        assert_eq!(Row::at_most("x", 0.6, 0.6, "ms").reached, Some(true));
        assert_eq!(Row::at_most("x", 0.61, 0.6, "ms").reached, Some(false));
    }

    #[test]
    fn costs_are_compared_by_cpu_each() {
        let cost = |cpu_seconds, times| Cost {
            cpu_seconds,
            wall_seconds: 1.0,
            times,
        };
        assert_eq!(
            Row::compared("x", [&cost(1.0, 10), &cost(11.0, 100)], SAME).reached,
            Some(true)
        );
        assert_eq!(
            Row::compared("x", [&cost(1.0, 10), &cost(13.0, 100)], SAME).reached,
            Some(false)
        );
    }
}
