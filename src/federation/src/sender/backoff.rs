//! When a server that could not be reached is tried again.

use std::time::Duration;

use hearth_types::UnixMs;

/// The pause after the first failure, doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// A server that shows life is tried at once, but not more often than this: it may reach us and not the other way.
const LIFE_PAUSE: Duration = Duration::from_secs(3);

/// When to try again after so many failures in a row. `random` spreads servers that failed together over a fifth of
/// the pause.
pub(crate) fn retry_at(now: UnixMs, failures: u32, random: u32) -> UnixMs {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let pause = doubled.min(PAUSE_MAX);
    let fifth = u64::try_from(pause.as_millis() / 5).unwrap_or(u64::MAX);
    let spread = fifth.saturating_mul(u64::from(random)) / u64::from(u32::MAX);
    now.after(pause).after(Duration::from_millis(spread))
}

/// When to try again a server that shows life; `last` is when it was tried last.
pub(crate) fn on_life(now: UnixMs, last: UnixMs) -> UnixMs {
    now.max(last.after(LIFE_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_are_spread() {
        let pause = |failures, random| retry_at(UnixMs(1_000), failures, random).0 - 1_000;
        assert_eq!(pause(1, 0), 1_000);
        assert_eq!(pause(1, u32::MAX), 1_200);
        assert_eq!(pause(5, 0), 16_000);
        assert_eq!(pause(13, 0), 3_600_000);
        assert_eq!(pause(4_000, u32::MAX), 4_320_000);
    }

    #[test]
    fn life_is_answered_at_once_but_not_again_and_again() {
        assert_eq!(on_life(UnixMs(10_000), UnixMs(1_000)), UnixMs(10_000));
        assert_eq!(on_life(UnixMs(10_000), UnixMs(9_000)), UnixMs(12_000));
    }
}
