//! One act of clients, many times: what it cost.

use tokio::time::Instant;

use crate::{Result, process::Process};

/// What a number of equal acts cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// CPU seconds of the server.
    pub(super) cpu_seconds: f64,
    /// Seconds from the first to the last.
    pub(super) wall_seconds: f64,
    /// How many.
    pub(super) times: usize,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^52"
)]
impl Cost {
    pub(super) fn cpu_ms_each(&self) -> f64 {
        self.cpu_seconds * 1_000.0 / self.times as f64
    }

    pub(super) fn wall_ms_each(&self) -> f64 {
        self.wall_seconds * 1_000.0 / self.times as f64
    }

    pub(super) fn per_second(&self) -> f64 {
        self.times as f64 / self.wall_seconds
    }

    /// What is left of this when the other's share, each for each, is taken out.
    pub(super) fn without(&self, other: &Self) -> Self {
        let share = self.times as f64 / other.times as f64;
        Self {
            cpu_seconds: other.cpu_seconds.mul_add(-share, self.cpu_seconds).max(0.0),
            ..*self
        }
    }
}

/// Measures an act that counts its own times.
pub(super) async fn measured<F>(process: Process, act: F) -> Result<Cost>
where
    F: Future<Output = Result<usize>>,
{
    let (cpu, began) = (process.cpu_seconds()?, Instant::now());
    let times = act.await?;
    Ok(Cost {
        cpu_seconds: process.cpu_seconds()? - cpu,
        wall_seconds: began.elapsed().as_secs_f64(),
        times,
    })
}

/// The cost in the middle, by CPU.
pub(super) fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.cpu_ms_each().total_cmp(&b.cpu_ms_each()));
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

/// The value below which `share` of all lie.
pub(super) fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = ((values.len() as f64 * share).ceil() as usize).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let cost = |cpu_seconds| Cost {
            cpu_seconds,
            wall_seconds: 1.0,
            times: 1,
        };
        assert_eq!(median(vec![cost(3.0), cost(1.0), cost(2.0)]), cost(2.0));
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 0.99), 99.0);
        assert_eq!(percentile(values, 0.5), 50.0);
        assert_eq!(percentile(vec![7.0], 0.99), 7.0);
    }

    #[test]
    fn a_share_is_taken_out_each_for_each() {
        let both = Cost {
            cpu_seconds: 3.0,
            wall_seconds: 1.0,
            times: 10,
        };
        let one = Cost {
            cpu_seconds: 2.0,
            wall_seconds: 1.0,
            times: 20,
        };
        assert_eq!(both.without(&one).cpu_seconds, 2.0);
    }
}
