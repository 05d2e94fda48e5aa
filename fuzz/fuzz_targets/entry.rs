//! Entries of the cache: any bytes may be read, and one that was written and then altered is never taken.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skycache_gpu::cache::{ContentHash, Entry, Key, KeyBuilder, Kind, Operation};

fn key(name: &str) -> Key {
    KeyBuilder::new(Operation { name: "fuzz", version: 1 }).text("name", name).finish()
}

fuzz_target!(|bytes: &[u8]| {
    let key = key("one");
    if let Ok(entry) = Entry::decode(bytes, Kind::Stats, &key) {
        assert_eq!(entry.encode(Kind::Stats, &key)[..7], bytes[..7]);
    }
    // The first bytes say where what is altered, the others are the payload.
    let Some((&[low, high, bit, n_inputs], payload)) = bytes.split_first_chunk::<4>() else { return };
    let entry = Entry {
        created: 1_700_000_000,
        expires: u64::MAX,
        cost_us: u64::from(bit),
        inputs: (0..n_inputs % 4).map(|byte| ContentHash::from([byte; 32])).collect(),
        payload: payload.to_vec(),
    };
    let mut written = entry.encode(Kind::Stats, &key);
    assert_eq!(Entry::decode(&written, Kind::Stats, &key), Ok(entry));
    assert!(Entry::decode(&written, Kind::Regrid, &key).is_err());
    assert!(Entry::decode(&written, Kind::Stats, &self::key("other")).is_err());
    let place = usize::from(u16::from_le_bytes([low, high])) % written.len();
    assert!(Entry::decode(&written[..place], Kind::Stats, &key).is_err());
    written[place] ^= 1 << (bit % 8);
    assert!(Entry::decode(&written, Kind::Stats, &key).is_err());
});
