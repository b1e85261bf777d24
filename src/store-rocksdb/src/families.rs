//! Column families: one per access profile, each with its options and the reason for them.

use hearth_store::Profile;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DataBlockIndexType,
    Options,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All profiles that have a family of their own.
pub(crate) const PROFILES: [Profile; 5] = [
    Profile::Point,
    Profile::Scan,
    Profile::Log,
    Profile::Queue,
    Profile::Blob,
];

/// The family of a profile.
pub(crate) fn family_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Point => "point",
        Profile::Scan => "scan",
        Profile::Log => "log",
        Profile::Queue => "queue",
        Profile::Blob => "blob",
    }
}

/// The byte under which a table's profile is recorded on disk.
pub(crate) fn profile_code(profile: Profile) -> u8 {
    match profile {
        Profile::Point => 1,
        Profile::Scan => 2,
        Profile::Log => 3,
        Profile::Queue => 4,
        Profile::Blob => 5,
    }
}

/// The families to open, `default` (the store's own rows) included.
pub(crate) fn descriptors(cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let mut all = vec![ColumnFamilyDescriptor::new(
        rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
        store_rows(cache),
    )];
    for profile in PROFILES {
        let options = match profile {
            Profile::Point => point(cache),
            Profile::Scan => scan(cache),
            Profile::Log => log(cache),
            Profile::Queue => queue(cache),
            Profile::Blob => blob(cache),
        };
        all.push(ColumnFamilyDescriptor::new(family_name(profile), options));
    }
    all
}

/// What all families have in common.
fn base(write_buffer: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(write_buffer);
    // The arena grows in these steps; the default (an eighth of the buffer) would charge each idle family a megabyte.
    options.set_arena_block_size(64 * KIB);
    // One buffer being written, one being flushed, one in reserve so that a slow disk does not stop commits at once.
    options.set_max_write_buffer_number(3);
    // Young data is rewritten soon: cheap to compress and to read.
    options.set_compression_type(DBCompressionType::Lz4);
    // Levels sized from the largest one down: at most about 11 % of the space is held by old versions of rows.
    options.set_level_compaction_dynamic_level_bytes(true);
    // Small files keep a compaction's working memory and its bursts of disk writes small.
    options.set_target_file_size_base(16 * MIB as u64);
    options.set_max_bytes_for_level_base(64 * MIB as u64);
    options
}

fn blocks(cache: &Cache, block_size: usize) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(block_size);
    // Indexes and filters are part of the one memory budget instead of growing with the number of files. They are
    // asked first at each read, so they leave the cache last; those of the youngest files never do.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // A layout whose checksums also notice a block in the wrong place, and the fastest checksum.
    blocks.set_format_version(6);
    blocks.set_checksum_type(rocksdb::ChecksumType::XXH3);
    blocks.set_optimize_filters_for_memory(true);
    blocks
}

/// The store's own few rows.
fn store_rows(cache: &Cache) -> Options {
    let mut options = base(MIB);
    options.set_block_based_table_factory(&blocks(cache, 4 * KIB));
    options
}

/// Single rows by their whole key, often absent.
fn point(cache: &Cache) -> Options {
    let mut options = base(4 * MIB);
    let mut blocks = blocks(cache, 4 * KIB);
    // Absent rows are answered by the filter, without the disk; ten bits per key let 1 in 100 through.
    blocks.set_bloom_filter(10.0, false);
    // A hash in the block finds the row without a binary search over keys.
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.75);
    options.set_block_based_table_factory(&blocks);
    // The same answer for what is not in the write buffer.
    options.set_memtable_prefix_bloom_ratio(0.02);
    options.set_memtable_whole_key_filtering(true);
    options
}

/// Runs of neighbouring rows, mostly near the end of a prefix.
fn scan(cache: &Cache) -> Options {
    let mut options = base(8 * MIB);
    // A page of rows lies in one or two blocks, and larger blocks of like rows compress better.
    let mut blocks = blocks(cache, 16 * KIB);
    // Some rows of a run are also read alone. In the last level, nine tenths of the data, nearly all that are asked
    // for exist, so a filter there would only cost memory.
    blocks.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&blocks);
    options.set_optimize_filters_for_hits(true);
    // Old history is read seldom and is most of the disk.
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options
}

/// Written in growing order, read at the end, trimmed at the beginning.
fn log(cache: &Cache) -> Options {
    let mut options = base(4 * MIB);
    // No filter: it is read by ranges only. Growing keys do not overlap, so files move down without being rewritten.
    options.set_block_based_table_factory(&blocks(cache, 16 * KIB));
    // A file that consists mostly of trimmed rows goes at once, not when its level is full.
    options.add_compact_on_deletion_collector_factory(1_024, 512, 0.5);
    options
}

/// Written and soon deleted.
fn queue(cache: &Cache) -> Options {
    let mut options = base(4 * MIB);
    options.set_block_based_table_factory(&blocks(cache, 4 * KIB));
    // Most rows meet their deletion in memory and never reach a file; the others must not leave tombstones that a
    // reader has to step over.
    options.set_min_write_buffer_number_to_merge(2);
    options.set_level_zero_file_num_compaction_trigger(2);
    options.add_compact_on_deletion_collector_factory(256, 64, 0.25);
    options
}

/// Large values, written once.
fn blob(cache: &Cache) -> Options {
    let mut options = base(8 * MIB);
    let mut blocks = blocks(cache, 16 * KIB);
    blocks.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&blocks);
    options.set_optimize_filters_for_hits(true);
    // Values of a kilobyte that resemble each other (JSON): a dictionary per file, trained on a hundred times its
    // size, saves what each block would have to spell out again (9 % of signed events in blocks of 16 KiB). Not
    // BlobDB: it compresses each value alone, and its reads cannot be kept to the cache.
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    let (window_bits, level, strategy) = (-14, 3, 0);
    let dictionary_bytes = 16 * KIB as i32;
    options.set_bottommost_compression_options(
        window_bits,
        level,
        strategy,
        dictionary_bytes,
        true,
    );
    options.set_bottommost_zstd_max_train_bytes(100 * dictionary_bytes, true);
    options
}
