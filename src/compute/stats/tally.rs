//! What one pass finds out about pixels; tallies of parts of a plane merge into that of the whole.
//!
//! Any back end may make them: sums about the pivot, extremes, counts below the edges of the cuts, and the
//! pixels of the collected ranges, in any order.

/// Sums over the valid pixels of a part of a plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Of x - pivot.
    pub first: f64,
    /// Of its square.
    pub second: f64,
    pub min: f32,
    pub max: f32,
}

/// What a pass found; see the module.
#[derive(Clone, Debug)]
pub struct Tally {
    pivot: f32,
    n_px: u64,
    n_infinite: u64,
    sums: Sums,
    /// Pixels below each edge of the cuts, those that are not valid too.
    below: Vec<u64>,
    candidates: Vec<Vec<f32>>,
    is_complete: bool,
}

/// Mean, sum and standard deviation of the population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    pub mean: f64,
    pub sum: f64,
    pub standard_deviation: f64,
}

impl Tally {
    /// The tally of no pixels. The pivot is a valid pixel of the plane, anything if there is none.
    pub fn new(n_edges: usize, pivot: f32) -> Self {
        // The pivot is among the pixels, so the extremes may begin with it.
        let sums = Sums { first: 0.0, second: 0.0, min: pivot, max: pivot };
        Self { pivot, n_px: 0, n_infinite: 0, sums, below: vec![0; n_edges], candidates: Vec::new(), is_complete: true }
    }

    /// Adds a part: its size, infinite pixels, sums, counts below the edges, and collected pixels, which are
    /// `None` if they were too many to keep.
    pub fn add(&mut self, n_px: usize, n_infinite: u64, sums: Sums, below: &[u32], candidates: Option<Vec<f32>>) {
        self.n_px += n_px as u64;
        self.n_infinite += n_infinite;
        self.add_sums(sums);
        for (total, below) in self.below.iter_mut().zip(below) {
            *total += u64::from(*below);
        }
        match candidates {
            Some(candidates) if candidates.is_empty() => {}
            Some(candidates) => self.candidates.push(candidates),
            None => self.is_complete = false,
        }
    }

    /// Adds the tally of the pixels that follow; its cuts and pivot are the same.
    pub fn merge(&mut self, next: Self) {
        self.n_px += next.n_px;
        self.n_infinite += next.n_infinite;
        self.add_sums(next.sums);
        for (total, below) in self.below.iter_mut().zip(&next.below) {
            *total += below;
        }
        self.candidates.extend(next.candidates);
        self.is_complete &= next.is_complete;
    }

    fn add_sums(&mut self, part: Sums) {
        let sums = &mut self.sums;
        sums.first += part.first;
        sums.second += part.second;
        sums.min = sums.min.min(part.min);
        sums.max = sums.max.max(part.max);
    }

    pub fn n_px(&self) -> u64 {
        self.n_px
    }

    pub fn n_infinite(&self) -> u64 {
        self.n_infinite
    }

    /// Pixels below each edge.
    pub fn below(&self) -> &[u64] {
        &self.below
    }

    /// The collected pixels, unless they were too many.
    pub fn candidates(&self) -> Option<&[Vec<f32>]> {
        self.is_complete.then_some(&self.candidates)
    }

    /// Least and largest valid pixel, if there is one; a zero has no sign.
    pub fn extremes(&self) -> (f32, f32) {
        (self.sums.min + 0.0, self.sums.max + 0.0)
    }

    /// The moments of `n_valid` pixels, at least one.
    pub fn moments(&self, n_valid: u64) -> Moments {
        let n = n_valid as f64;
        let offset = self.sums.first / n;
        let variance = (self.sums.second - self.sums.first * offset) / n;
        let pivot = f64::from(self.pivot);
        // The f64 of a constant plane's variance may round below zero.
        let standard_deviation = variance.max(0.0).sqrt();
        Moments { mean: pivot + offset, sum: n * pivot + self.sums.first, standard_deviation }
    }
}
