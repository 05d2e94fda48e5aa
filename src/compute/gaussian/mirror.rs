//! Matrices that are their own mirror image: `matrix[j][i]` is that of output j and input i when
//! both are counted from the other end.
//!
//! The taps of one period are such a matrix. Sums and differences of mirrored inputs then need half
//! of the products, and give sums and differences of mirrored outputs ([`super::gather`],
//! [`super::spread`]).

/// Columns of one call of the inner loops.
pub const TILE: usize = 96;

/// The pixels of a row in one call.
pub type TileRow = [f32; TILE];

/// The two halves of a matrix, for the first half of its outputs, the middle one counted in.
pub struct Halves<M> {
    n_in: usize,
    matrix: M,
}

impl<M: Fn(usize, usize) -> f64> Halves<M> {
    /// Of `n_out` x `n_in` weights `matrix(j, i)`.
    pub fn of(n_out: usize, n_in: usize, matrix: M) -> Self {
        let mirrored = |j: usize, i: usize| matrix(n_out - 1 - j, n_in - 1 - i);
        let is_mirrored = (0..n_out).all(|j| (0..n_in).all(|i| (matrix(j, i) - mirrored(j, i)).abs() < 1e-12));
        assert!(is_mirrored, "the taps of a period are symmetric");
        Self { n_in, matrix }
    }

    /// Weight of the sum of input `i` and its mirror image.
    pub fn of_sum(&self, j: usize, i: usize) -> f32 {
        // The middle input is its own mirror image, and its sum is twice itself.
        ((self.weight(j, i) + self.weight(j, self.n_in - 1 - i)) / 2.0) as f32 * self.count(i)
    }

    /// Weight of input `i` less its mirror image.
    pub fn of_difference(&self, j: usize, i: usize) -> f32 {
        ((self.weight(j, i) - self.weight(j, self.n_in - 1 - i)) / 2.0) as f32
    }

    fn weight(&self, j: usize, i: usize) -> f64 {
        (self.matrix)(j, i)
    }

    fn count(&self, i: usize) -> f32 {
        if 2 * i + 1 == self.n_in { 0.5 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_add_up_to_the_matrix() {
        for (n_out, n_in) in [(4, 6), (3, 5)] {
            let one_way = |j: usize, i: usize| 1.0 / (1 + j + 10 * i) as f64;
            let matrix = |j: usize, i: usize| one_way(j, i) + one_way(n_out - 1 - j, n_in - 1 - i);
            let halves = Halves::of(n_out, n_in, matrix);
            for (j, i) in (0..n_out).flat_map(|j| (0..n_in / 2).map(move |i| (j, i))) {
                let (sum, difference) = (halves.of_sum(j, i), halves.of_difference(j, i));
                assert!((f64::from(sum + difference) - matrix(j, i)).abs() < 1e-6);
                assert!((f64::from(sum - difference) - matrix(j, n_in - 1 - i)).abs() < 1e-6);
            }
        }
    }

    #[test]
    #[should_panic(expected = "symmetric")]
    fn a_matrix_that_is_not_its_own_mirror_image_is_refused() {
        Halves::of(3, 3, |j, i| (3 * j + i) as f64);
    }
}
