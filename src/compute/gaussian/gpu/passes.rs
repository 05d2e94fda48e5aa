//! The passes that make one strip.

use super::params::{Params, rule};
use super::shaders;
use super::strips::{AT_ONCE, Strip, WORD};
use super::workspace::{Taps, Workspace, quarters};
use crate::gpu::{Binding, Buffer, Pass, Shader};
use std::ops::Range;

/// A buffer of rows as long as the plane's, and the row of the plane that it begins with.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub buffer: &'a Buffer,
    pub first: usize,
}

/// Where a strip comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub plane: Rows<'a>,
    pub pixels: Rows<'a>,
    pub coverage: Option<Rows<'a>>,
}

/// Threads of a workgroup; all shaders have them along x.
const THREADS: usize = 64;

/// Coarse rows that a thread walks down: more read fewer pixels twice, fewer occupy more threads.
const ROWS_IN_BAND: u32 = 32;

/// Periods that a thread walks down when they become pixels.
const PERIODS_IN_BAND: u32 = 8;

impl Workspace<'_> {
    /// The passes of a strip, in their order.
    pub fn passes<'a>(&'a self, strip: &Strip, places: &Places<'a>) -> Vec<Pass<'a>> {
        let one = OneStrip::new(self, strip, places);
        let mut passes = Vec::new();
        if self.params.has(rule::NEAR_MISSING) {
            passes.extend(one.near_missing());
        }
        match &self.taps {
            Taps::Direct { taps, half } => passes.extend(one.direct(taps, *half)),
            Taps::Multirate { .. } => passes.extend(one.multirate()),
        }
        passes
    }
}

/// A strip with its buffers bound.
struct OneStrip<'w, 'a> {
    work: &'a Workspace<'w>,
    strip: Strip,
    params: Params,
    plane: Binding<'a>,
    pixels: Binding<'a>,
    coverage: Binding<'a>,
}

impl<'w, 'a> OneStrip<'w, 'a> {
    fn new(work: &'a Workspace<'w>, strip: &Strip, places: &Places<'a>) -> Self {
        let bind = |rows: &Rows<'a>, wanted: &Range<usize>| {
            let places = (wanted.start - rows.first) * work.shape.1..(wanted.end - rows.first) * work.shape.1;
            work.gpu.binding(rows.buffer, places, WORD as usize)
        };
        let (plane, input_lead) = bind(&places.plane, &strip.input);
        let (pixels, output_lead) = bind(&places.pixels, &strip.output);
        let (coverage, coverage_lead) = match &places.coverage {
            Some(rows) => bind(rows, &strip.output),
            None => ((&work.nothing).into(), 0),
        };
        let rows = strip.coarse;
        let params = Params {
            input_row: strip.input.start as u32,
            input_rows: strip.input.len() as u32,
            input_lead,
            output_row: strip.output.start as u32,
            output_rows: strip.output.len() as u32,
            output_lead,
            coverage_lead,
            first_coarse_row: rows.map_or(0, |rows| rows.first_with_halo as i32),
            coarse_rows: rows.map_or(0, |rows| rows.count_with_halo as u32),
            blurred_rows: rows.map_or(0, |rows| rows.count as u32),
            ..work.params
        };
        Self { work, strip: strip.clone(), params, plane, pixels, coverage }
    }

    fn pass(
        &self,
        shader: &'static Shader,
        constants: &[(&'static str, f64)],
        params: Params,
        buffers: Vec<Binding<'a>>,
        [x, y, z]: [usize; 3],
    ) -> Pass<'a> {
        Pass {
            shader,
            entry: shader.name,
            constants: constants.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            buffers,
            workgroups: [x.div_ceil(THREADS), y, z].map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        }
    }

    /// The passes that make pixels bind the same after their own two.
    fn to_pixels(&self, sums: &'a Buffer, taps: &'a Buffer, missing: Binding<'a>) -> Vec<Binding<'a>> {
        let work = self.work;
        let (pixels, coverage) = (self.pixels.clone(), self.coverage.clone());
        vec![sums.into(), taps.into(), missing, (&work.marks[0]).into(), (&work.outside).into(), pixels, coverage]
    }

    fn n_channels(&self) -> usize {
        if self.work.with_validity { 2 } else { 1 }
    }

    fn with_validity(&self) -> (&'static str, f64) {
        ("WITH_VALIDITY", if self.work.with_validity { 1.0 } else { 0.0 })
    }

    /// What is near a missing pixel ends in the first buffer of marks.
    fn near_missing(&self) -> [Pass<'a>; 3] {
        let [marks, nearby] = &self.work.marks;
        let n_words = self.params.n_marks as usize;
        let (n_input, n_output) = (self.strip.input.len(), self.strip.output.len());
        let mark = vec![self.plane.clone(), marks.into()];
        [
            self.pass(&shaders::MARK_MISSING, &[], self.params, mark, [n_words, n_input, 1]),
            self.pass(
                &shaders::NEAR_COLUMNS,
                &[],
                self.params,
                vec![marks.into(), nearby.into()],
                [n_words, n_input, 1],
            ),
            self.pass(&shaders::NEAR_ROWS, &[], self.params, vec![nearby.into(), marks.into()], [n_words, n_output, 1]),
        ]
    }

    fn direct(&self, taps: &'a Buffer, half: u32) -> [Pass<'a>; 2] {
        let (nx, n_rows) = (self.work.shape.1, self.strip.output.len());
        let params = Params { half_taps: half, ..self.params };
        let sums = &self.work.wide;
        let down = [nx, n_rows.div_ceil(AT_ONCE), self.n_channels()];
        let along = [nx.div_ceil(AT_ONCE), n_rows, 1];
        let rows = vec![self.plane.clone(), taps.into(), sums.into()];
        [
            self.pass(&shaders::DIRECT_ROWS, &[], params, rows, down),
            self.pass(
                &shaders::DIRECT_COLUMNS,
                &[self.with_validity()],
                params,
                self.to_pixels(sums, taps, self.plane.clone()),
                along,
            ),
        ]
    }

    fn multirate(&self) -> Vec<Pass<'a>> {
        let Taps::Multirate { plan, decimate_rows, decimate_columns, coarse, interpolate_columns, interpolate_rows } =
            &self.work.taps
        else {
            return Vec::new();
        };
        let (Some(rows), Some(columns)) = (self.strip.coarse, self.work.columns) else { return Vec::new() };
        let nx = self.work.shape.1;
        let (wide, narrow) = (&self.work.wide, &self.work.narrow);
        let n_channels = self.n_channels();
        let n_periods = rows.count + 1 - plan.width();
        let constants = [
            ("STEP", plan.step_px as f64),
            ("WIDTH", plan.width() as f64),
            ("QUARTERS", quarters(plan) as f64),
            self.with_validity(),
        ];
        let params =
            Params { first_sample: plan.first_sample as i32, half_taps: (plan.coarse.len() / 2) as u32, ..self.params };
        let down = Params { band: ROWS_IN_BAND, ..params };
        let up = Params { band: PERIODS_IN_BAND, ..params };
        let (n_bands_down, n_bands_up) =
            (rows.count_with_halo.div_ceil(ROWS_IN_BAND as usize), n_periods.div_ceil(PERIODS_IN_BAND as usize));
        let buffers = |from: &'a Buffer, taps: &'a Buffer, to: &'a Buffer| vec![from.into(), taps.into(), to.into()];
        let missing = &self.work.missing;
        let pixels = vec![self.plane.clone(), decimate_rows.into(), wide.into(), missing.into()];
        let mark = ("MARK", if self.params.has(rule::PUT_BACK) { 1.0 } else { 0.0 });
        vec![
            self.pass(
                &shaders::DECIMATE_ROWS,
                &[constants.as_slice(), &[mark]].concat(),
                down,
                pixels,
                [nx, n_bands_down, 1],
            ),
            self.pass(
                &shaders::DECIMATE_COLUMNS,
                &constants,
                params,
                buffers(wide, decimate_columns, narrow),
                [columns.count_with_halo, rows.count_with_halo, n_channels],
            ),
            self.pass(
                &shaders::BLUR_SAMPLES,
                &[("ALONG_Y", 0.0)],
                params,
                buffers(narrow, coarse, wide),
                [columns.count, rows.count_with_halo, n_channels],
            ),
            self.pass(
                &shaders::BLUR_SAMPLES,
                &[("ALONG_Y", 1.0)],
                params,
                buffers(wide, coarse, narrow),
                [columns.count, rows.count, n_channels],
            ),
            self.pass(
                &shaders::INTERPOLATE_COLUMNS,
                &constants,
                params,
                buffers(narrow, interpolate_columns, wide),
                [nx, rows.count, n_channels],
            ),
            self.pass(
                &shaders::INTERPOLATE_ROWS,
                &constants,
                up,
                self.to_pixels(wide, interpolate_rows, missing.into()),
                [nx, n_bands_up, 1],
            ),
        ]
    }
}
