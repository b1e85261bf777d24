//! In memory.
/// A store in memory.
#[derive(Debug)]
pub struct MemoryBackend;
