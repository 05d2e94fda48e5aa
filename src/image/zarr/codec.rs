//! How chunks are compressed; all of these are read by zarr-python 3 as it comes.

use serde_json::{Value, json};

/// A compression of the chunks of a Zarr array.
///
/// None loses a bit. Sizes and times of each are in `docs/benchmarks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// zstd at a level, as zarr-python and the predecessor write it (level 3).
    Zstd { level: i32 },
    /// Blosc with zstd inside: the bytes of pixels are sorted by significance first.
    BloscZstd { level: u8 },
    /// Blosc with LZ4 inside: faster and larger.
    BloscLz4 { level: u8 },
}

impl Default for Codec {
    /// What the input store is written with.
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

impl Codec {
    /// The codec as the array's metadata spell it, for pixels of `type_size` bytes.
    pub(super) fn metadata(self, type_size: usize) -> Value {
        let blosc = |name: &str, level: u8| {
            // The block size decides the bytes; 0 leaves it to Blosc, which goes by level and type alone.
            json!({"name": "blosc", "configuration": {
                "cname": name, "clevel": level, "shuffle": "shuffle", "typesize": type_size, "blocksize": 0,
            }})
        };
        match self {
            Self::Zstd { level } => json!({"name": "zstd", "configuration": {"level": level, "checksum": false}}),
            Self::BloscZstd { level } => blosc("zstd", level),
            Self::BloscLz4 { level } => blosc("lz4", level),
        }
    }
}
