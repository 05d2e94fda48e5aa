// Sums of many terms in f32: short blocks are added plainly, and the blocks with what rounding loses of them
// (D. E. Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B).
const BLOCK: u32 = 16u;

struct Sum {
    total: vec4<f32>,
    lost: vec4<f32>,
}

fn add_block(sum: Sum, block: vec4<f32>) -> Sum {
    let total = sum.total + block;
    let part = total - sum.total;
    let lost = (sum.total - (total - part)) + (block - part);
    return Sum(total, sum.lost + lost);
}

fn value_of(sum: Sum) -> vec4<f32> {
    return sum.total + sum.lost;
}
