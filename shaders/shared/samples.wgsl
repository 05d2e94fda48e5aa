// The few coarse samples that a pixel touches, in registers: 8 of them, or 12 with `QUARTERS` 3. What is beyond the
// width of the taper has taps of zero.
override STEP: u32 = 12u;
override WIDTH: u32 = 8u;
override QUARTERS: u32 = 2u;
override WITH_VALIDITY: bool = true;

struct Samples {
    low: vec4<f32>,
    middle: vec4<f32>,
    high: vec4<f32>,
}

// All samples moved on by one place; `next` comes last.
fn moved_on(samples: Samples, next: f32) -> Samples {
    if (QUARTERS == 3u) {
        return Samples(
            vec4(samples.low.yzw, samples.middle.x),
            vec4(samples.middle.yzw, samples.high.x),
            vec4(samples.high.yzw, next),
        );
    }
    return Samples(vec4(samples.low.yzw, samples.middle.x), vec4(samples.middle.yzw, next), samples.high);
}
