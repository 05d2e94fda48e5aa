//! The one place where keys are made.
//!
//! A key is a hash of what was done, its version, every parameter that can change the result, and the contents it
//! was done to; never of a path or a time. Each field is tagged and prefixed with its length, so that no two lists
//! of fields run into each other.

use super::content::ContentHash;
use std::fmt;

/// Rises when keys are made in another way; everything kept before is then a miss.
const KEY_VERSION: u32 = 1;
const CONTEXT: &str = "skycache-gpu cache key";

/// What was done, and which version of it: raise the version when the same inputs give other results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub name: &'static str,
    pub version: u32,
}

/// The name under which a result is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) [u8; 32]);

/// A key in the making; the order of its fields counts.
#[derive(Clone, Debug)]
pub struct KeyBuilder(blake3::Hasher);

impl KeyBuilder {
    /// A key of this operation.
    pub fn new(operation: Operation) -> Self {
        let hasher = blake3::Hasher::new_derive_key(CONTEXT);
        Self(hasher)
            .field("key version", b'n', &u64::from(KEY_VERSION).to_le_bytes())
            .field("operation", b't', operation.name.as_bytes())
            .field("operation version", b'n', &u64::from(operation.version).to_le_bytes())
    }

    /// A parameter that is text.
    #[must_use]
    pub fn text(self, tag: &str, value: &str) -> Self {
        self.field(tag, b't', value.as_bytes())
    }

    /// A parameter that is a whole number.
    #[must_use]
    pub fn count(self, tag: &str, value: u64) -> Self {
        self.field(tag, b'n', &value.to_le_bytes())
    }

    /// A parameter that is a real number; those that compare equal give one key, and so do all NaN.
    #[must_use]
    pub fn real(self, tag: &str, value: f64) -> Self {
        let canonical = match value {
            _ if value.is_nan() => f64::NAN,
            0.0 => 0.0,
            _ => value,
        };
        self.field(tag, b'r', &canonical.to_bits().to_le_bytes())
    }

    /// A content that the result is made from.
    #[must_use]
    pub fn input(self, tag: &str, content: &ContentHash) -> Self {
        self.field(tag, b'i', content.as_bytes())
    }

    pub fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }

    fn field(mut self, tag: &str, sort: u8, value: &[u8]) -> Self {
        for bytes in [tag.as_bytes(), &[sort], value] {
            self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
        self
    }
}

impl Key {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key from its text, 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(hash.into()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const OPERATION: Operation = Operation { name: "measure", version: 1 };

    fn content(byte: u8) -> ContentHash {
        ContentHash::from([byte; 32])
    }

    fn key_of(operation: Operation, text: &str, count: u64, real: f64, input: u8) -> Key {
        KeyBuilder::new(operation)
            .text("method", text)
            .count("plane", count)
            .real("cut", real)
            .input("image", &content(input))
            .finish()
    }

    #[test]
    fn a_stored_key_does_not_move() {
        let key = key_of(OPERATION, "exact", 3, 0.1, 7);
        assert_eq!(key.to_string(), "7b333ef5bf4bc4c9d2368c76e796d184c9af2bef8b14fe3f6aa9b6c336a18859");
        assert_eq!(Key::from_hex(&key.to_string()), Some(key));
    }

    #[test]
    fn any_change_changes_the_key() {
        let keys = [
            key_of(OPERATION, "exact", 3, 0.1, 7),
            key_of(Operation { version: 2, ..OPERATION }, "exact", 3, 0.1, 7),
            key_of(Operation { name: "measure_beam", ..OPERATION }, "exact", 3, 0.1, 7),
            key_of(OPERATION, "exac", 3, 0.1, 7),
            key_of(OPERATION, "exact", 4, 0.1, 7),
            key_of(OPERATION, "exact", 3, 0.1_f64.next_up(), 7),
            key_of(OPERATION, "exact", 3, 0.1, 8),
        ];
        assert_eq!(HashSet::from(keys).len(), keys.len());
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let two = |first: &str, second: &str| KeyBuilder::new(OPERATION).text("a", first).text("b", second).finish();
        assert_ne!(two("12", "3"), two("1", "23"));
        let of = |tag: &str, value: &str| KeyBuilder::new(OPERATION).text(tag, value).finish();
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("a", "\u{1}\0\0\0\0\0\0\0"), KeyBuilder::new(OPERATION).count("a", 1).finish());
    }

    #[test]
    fn equal_numbers_give_one_key() {
        let of = |value: f64| KeyBuilder::new(OPERATION).real("x", value).finish();
        assert_eq!(of(0.0), of(-0.0));
        assert_eq!(of(f64::NAN), of(-f64::NAN));
        assert_ne!(of(0.0), of(f64::MIN_POSITIVE));
    }
}
