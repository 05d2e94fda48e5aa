// The key of a pixel's bits: a whole number that rises with the value. Zeros of both signs have one key; NaN lies beyond
// the infinities on either side. So missing pixels are known without arithmetic on them.
fn key_of(bits: u32) -> u32 {
    var key = bits | 0x80000000u;
    if ((bits >> 31u) == 1u) {
        key = ~bits;
    }
    return key + select(0u, 1u, key == 0x7fffffffu);
}
