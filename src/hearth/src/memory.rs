//! The allocator, and who may keep how much.

use hearth_config::ByteSize;

/// jemalloc gives memory back; its options are set when it is compiled (`.cargo/config.toml`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the process takes with empty caches, in bytes.
const BASE_BYTES: u64 = 40 << 20;

/// Bytes for each cache. Together with the process itself they stay under the limit; what is left over is for
/// requests at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Blocks and write buffers of the store.
    pub(crate) store: u64,
    /// Nodes of room states.
    pub(crate) states: u64,
    /// Rooms that were written to lately.
    pub(crate) rooms: u64,
    /// Events that were read lately.
    pub(crate) sync: u64,
}

impl Budget {
    /// Splits the `memory_limit`.
    pub(crate) fn of(limit: ByteSize) -> Self {
        let caches = limit.bytes().saturating_sub(BASE_BYTES);
        Self {
            store: caches / 2,
            states: caches / 8,
            rooms: caches / 8,
            sync: caches / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caches_and_the_process_stay_under_the_limit() {
        for mebibytes in [64, 104, 4096] {
            let limit = ByteSize::mebibytes(mebibytes);
            let budget = Budget::of(limit);
            let caches = budget.store + budget.states + budget.rooms + budget.sync;
            assert!(caches + BASE_BYTES < limit.bytes());
            assert!(budget.store >= 8 << 20, "what the store needs at least");
        }
    }
}
