//! The coarse rows that pixels are being added to.

use super::decimate::Source;
use super::field::Quantity;
use super::mirror::TILE;

/// Added to row lengths, so that rows do not lie a multiple of 4 KiB apart and share cache lines.
const SKEW: usize = 16;

/// As many coarse rows as a period touches, for one quantity.
///
/// Where no pixel is missing, all of a row of validity is one number: that is then kept in place of the row.
pub struct Ring {
    quantity: Quantity,
    rows: Vec<f32>,
    stride: usize,
    /// What every pixel of a row would hold; `None` if they are in `rows`, as those of flux always are.
    uniform: Vec<Option<f32>>,
}

impl Ring {
    pub fn new(source: &Source, quantity: Quantity) -> Self {
        // Tiles are added whole, also beyond the last column.
        let stride = (source.length + TILE).next_multiple_of(TILE) + SKEW;
        let width = source.taps.plan.width();
        let rows = vec![quantity.extension(source.edge).constant(); width * stride];
        let mut ring = Self { quantity, rows, stride, uniform: vec![None; width] };
        (0..width as i64).for_each(|sample| ring.clear(source, sample));
        ring
    }

    /// Makes room for another sample in the place of this one.
    pub fn clear(&mut self, source: &Source, sample: i64) {
        let slot = self.slot(sample);
        match self.quantity {
            Quantity::Flux => self.inside(source, slot).fill(0.0),
            Quantity::Validity => self.uniform[slot] = Some(0.0),
        }
    }

    /// Where the first pixels of samples are in [`Ring::rows_mut`].
    pub fn starts(&self, source: &Source, samples: impl Iterator<Item = i64>) -> Vec<usize> {
        samples.map(|sample| self.slot(sample) * self.stride + source.first_column).collect()
    }

    pub fn rows_mut(&mut self) -> &mut [f32] {
        &mut self.rows
    }

    /// Adds a number to all of a sample's pixels.
    pub fn add_to_all(&mut self, source: &Source, sample: i64, number: f32) {
        let slot = self.slot(sample);
        match &mut self.uniform[slot] {
            Some(sum) => *sum += number,
            None => self.inside(source, slot).iter_mut().for_each(|sum| *sum += number),
        }
    }

    /// Writes out the rows that are one number, so that pixels can be added.
    pub fn write_out(&mut self, source: &Source) {
        for slot in 0..self.uniform.len() {
            if let Some(sum) = self.uniform[slot].take() {
                self.inside(source, slot).fill(sum);
            }
        }
    }

    /// The number that all of a sample's pixels hold, if they do.
    pub fn uniform(&self, sample: i64) -> Option<f32> {
        self.uniform[self.slot(sample)]
    }

    /// The row of a sample that is complete, from the first pixel that the samples along x see.
    pub fn finish(&mut self, source: &Source, sample: i64) -> &[f32] {
        let slot = self.slot(sample);
        if let Some(sum) = self.uniform[slot] {
            self.inside(source, slot).fill(sum);
        }
        let row = &mut self.rows[slot * self.stride..][..source.length];
        let extension = self.quantity.extension(source.edge);
        let inside = source.first_column..source.first_column + source.columns.len();
        for i in (0..inside.start).chain(inside.end..source.length) {
            let column = i as i64 - source.first_column as i64 + source.columns.start as i64;
            row[i] = match extension.source(column, source.plane.ncols()) {
                Some(column) if source.columns.contains(&column) => row[inside.start + column - source.columns.start],
                _ => extension.constant(),
            };
        }
        &row[source.first_seen..]
    }

    fn slot(&self, sample: i64) -> usize {
        sample.rem_euclid(self.uniform.len() as i64) as usize
    }

    /// The pixels of a row that lie in the plane.
    fn inside(&mut self, source: &Source, slot: usize) -> &mut [f32] {
        &mut self.rows[slot * self.stride + source.first_column..][..source.columns.len()]
    }
}
