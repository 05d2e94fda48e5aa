//! How an entry is written: a header, what it was made from, the payload, and a checksum over all of it.
//!
//! The entry repeats its kind and its key, so that one that stands in a wrong place is damaged, not a wrong hit.

use super::content::ContentHash;
use super::key::Key;
use super::kind::Kind;

const MAGIC: [u8; 4] = *b"SKYC";
/// Rises when the bytes below change their meaning.
pub const ENTRY_VERSION: u16 = 1;
/// Magic, version, kind, a byte without a meaning, creation, expiry, cost, number of inputs, length of the payload, key.
const HEADER_BYTES: usize = 4 + 2 + 1 + 1 + 8 + 8 + 8 + 4 + 8 + 32;
const CHECKSUM_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A result and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; not valid from then on.
    pub expires: u64,
    /// Microseconds that it took to compute.
    pub cost_us: u64,
    /// The contents it was made from.
    pub inputs: Vec<ContentHash>,
    pub payload: Vec<u8>,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The lengths do not fit the bytes that are there.
    Length,
    /// It does not begin as an entry does, or is of a version that this program does not know.
    Header,
    /// It belongs to another key or kind.
    Place,
    /// The bytes changed since they were written.
    Checksum,
}

impl Entry {
    pub fn encode(&self, kind: Kind, key: &Key) -> Vec<u8> {
        let n_bytes = HEADER_BYTES + HASH_BYTES * self.inputs.len() + self.payload.len() + CHECKSUM_BYTES;
        let mut bytes = Vec::with_capacity(n_bytes);
        bytes.extend(MAGIC);
        bytes.extend(ENTRY_VERSION.to_le_bytes());
        bytes.extend([kind as u8, 0]);
        bytes.extend(self.created.to_le_bytes());
        bytes.extend(self.expires.to_le_bytes());
        bytes.extend(self.cost_us.to_le_bytes());
        let n_inputs = u32::try_from(self.inputs.len()).expect("a result comes from fewer than 2^32 inputs");
        bytes.extend(n_inputs.to_le_bytes());
        bytes.extend((self.payload.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        self.inputs.iter().for_each(|input| bytes.extend(input.as_bytes()));
        bytes.extend(&self.payload);
        bytes.extend(checksum(&bytes));
        bytes
    }

    /// The entry of this kind and key that the bytes hold; any bytes may come.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8], kind: Kind, key: &Key) -> Result<Self, Damage> {
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Damage::Length)?;
        let mut rest = body;
        let (magic, version) = (take::<4>(&mut rest)?, u16::from_le_bytes(take(&mut rest)?));
        if magic != MAGIC || version != ENTRY_VERSION {
            return Err(Damage::Header);
        }
        if checksum(body) != *sum {
            return Err(Damage::Checksum);
        }
        let [code, _] = take(&mut rest)?;
        let (created, expires) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let cost_us = u64::from_le_bytes(take(&mut rest)?);
        let (n_inputs, n_payload) = (u32::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        if code != kind as u8 || take(&mut rest)? != *key.as_bytes() {
            return Err(Damage::Place);
        }
        let mut inputs = Vec::new();
        for _ in 0..n_inputs {
            inputs.push(ContentHash::from(take::<HASH_BYTES>(&mut rest)?));
        }
        if rest.len() as u64 != n_payload {
            return Err(Damage::Length);
        }
        Ok(Self { created, expires, cost_us, inputs, payload: rest.to_vec() })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(Damage::Length)?;
    *rest = after;
    Ok(*taken)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let whole: [u8; 32] = blake3::hash(bytes).into();
    *whole.first_chunk().expect("16 is below 32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{KeyBuilder, Operation};
    use proptest::prelude::*;

    fn key(text: &str) -> Key {
        KeyBuilder::new(Operation { name: "test", version: 1 }).text("text", text).finish()
    }

    fn entry(n_inputs: u8, payload: Vec<u8>) -> Entry {
        let inputs = (0..n_inputs).map(|byte| ContentHash::from([byte; 32])).collect();
        Entry { created: 1_700_000_000, expires: 1_800_000_000, cost_us: 12, inputs, payload }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was(n_inputs in 0..5_u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let (entry, key) = (entry(n_inputs, payload), key("a"));
            let bytes = entry.encode(Kind::Stats, &key);
            prop_assert_eq!(Entry::decode(&bytes, Kind::Stats, &key), Ok(entry));
        }

        #[test]
        fn a_flipped_bit_is_found_wherever_it_is(bit in 0..2000_usize, n_inputs in 0..3_u8) {
            let key = key("a");
            let mut bytes = entry(n_inputs, b"payload".to_vec()).encode(Kind::Stats, &key);
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Entry::decode(&bytes, Kind::Stats, &key).is_err());
        }

        #[test]
        fn a_cut_entry_is_found_wherever_it_is_cut(n_bytes in 0..1000_usize) {
            let key = key("a");
            let bytes = entry(2, b"payload".to_vec()).encode(Kind::Stats, &key);
            prop_assert!(Entry::decode(&bytes[..n_bytes % bytes.len()], Kind::Stats, &key).is_err());
        }

        #[test]
        fn any_bytes_may_come(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Entry::decode(&bytes, Kind::Stats, &key("a")).is_err());
        }
    }

    #[test]
    fn an_entry_in_a_wrong_place_is_no_hit() {
        let bytes = entry(0, Vec::new()).encode(Kind::Stats, &key("a"));
        assert_eq!(Entry::decode(&bytes, Kind::Stats, &key("b")), Err(Damage::Place));
        assert_eq!(Entry::decode(&bytes, Kind::Regrid, &key("a")), Err(Damage::Place));
    }
}
