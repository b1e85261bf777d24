//! Wall-clock time that follows tokio's.

use std::time::Duration;

use hearth_types::{Clock, UnixMs};
use tokio::time::Instant;

/// When all simulations begin.
const BEGINNING: UnixMs = UnixMs(1_700_000_000_000);

/// Shows the time since it was made, by tokio's clock: paused where that is.
#[derive(Clone, Copy, Debug)]
pub struct SimClock(Instant);

impl Default for SimClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixMs {
        let passed: Duration = Instant::now() - self.0;
        BEGINNING.after(passed)
    }
}
