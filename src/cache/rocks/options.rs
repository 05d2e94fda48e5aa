//! How RocksDB is set up: small, quiet, and quick to open.

use crate::cache::kind::Kind;
use rocksdb::{ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, LogLevel, Options};
use std::path::Path;

/// Counters and sums; RocksDB always has this family.
pub const COUNTS: &str = "default";
/// What is known of each entry.
pub const RECORDS: &str = "records";

/// Values above this go into blob files, which are not moved about when keys are sorted.
const SMALLEST_BLOB_BYTES: u64 = 4096;
const BLOB_FILE_BYTES: u64 = 32 << 20;
/// What is in memory and in the log before it becomes a file; each is opened and replayed by all who come.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
const MANY_FILES: i32 = 1 << 20;

pub fn of_store() -> Options {
    let mut options = of_family(None);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // All files are opened with the store: they can then be read also after another process has removed them.
    options.set_max_open_files(-1);
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    options.set_log_level(LogLevel::Fatal);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_manifest_preallocation_size(4096);
    options.set_max_background_jobs(2);
    options
}

/// Of the family of a kind, or of one without payloads.
pub fn of_family(kind: Option<Kind>) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Zstd);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    // A store is open for moments: files are merged when there are many, by who finds them so.
    options.set_disable_auto_compactions(true);
    options.set_level_zero_slowdown_writes_trigger(MANY_FILES);
    options.set_level_zero_stop_writes_trigger(MANY_FILES);
    if kind.is_some() {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(SMALLEST_BLOB_BYTES);
        options.set_blob_file_size(BLOB_FILE_BYTES);
        options.set_blob_compression_type(DBCompressionType::Zstd);
        // Which blobs are dead is asked when room is needed.
        options.set_enable_blob_gc(false);
        options.set_blob_gc_age_cutoff(1.0);
        options.set_blob_gc_force_threshold(1.0);
    }
    options
}

/// Switches the search for dead blobs on, for [`rocksdb::DB::set_options_cf`].
pub const SEARCH_DEAD_BLOBS: [(&str, &str); 1] = [("enable_blob_garbage_collection", "true")];

/// The families that a store has, and those that every store has. A kind's comes with its first entry: what is
/// there must be opened, and described in a file, each time.
///
/// # Errors
/// Of RocksDB, if the store is there and its description cannot be read.
pub fn families(path: &Path) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let mut names = vec![COUNTS.to_owned(), RECORDS.to_owned()];
    let is_there = path.join("CURRENT").exists();
    let found = if is_there { DB::list_cf(&Options::default(), path)? } else { Vec::new() };
    names.extend(found.into_iter().filter(|name| name != COUNTS && name != RECORDS));
    let describe = |name: String| {
        let options = of_family(Kind::from_name(&name));
        ColumnFamilyDescriptor::new(name, options)
    };
    Ok(names.into_iter().map(describe).collect())
}
