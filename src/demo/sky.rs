//! The pixels of the synthetic sky for one skycell in one band.

use super::band::{BANDS, BandSky};
use super::canvas::Canvas;
use super::encoding::Stack;
use super::layout::{Cell, Layout};
use super::sources::Sources;
use ndarray::Array2;

/// A whole projection of synthetic sky; equal layouts and seeds give equal pixels.
#[derive(Clone, Debug)]
pub struct Sky {
    layout: Layout,
    sources: Sources,
    seed: u64,
}

/// One band of one skycell as the survey delivers it.
#[derive(Clone, Debug)]
pub struct StoredBand {
    /// asinh-compressed pixels, shape (ny, nx); NaN without data.
    pub pixels: Array2<f32>,
    /// PS1 mask bits.
    pub mask: Array2<u16>,
    /// FITS header as cards of 80 characters.
    pub header: String,
}

impl Sky {
    /// Seed of the sky that the `demo` command shows.
    pub const DEMO_SEED: u64 = 2556;
    /// Rows and columns that the one skycell with a margin lacks.
    const MARGIN_PX: usize = 14;

    /// Scatters the sources over the layout.
    pub fn new(layout: Layout, seed: u64) -> Self {
        Self { sources: Sources::scatter(&layout, seed), layout, seed }
    }

    /// The skycells and their geometry.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Flux of zero point 25 and mask bits of a cell in one of the [`BANDS`], by index; NaN without data.
    pub fn flux(&self, cell: Cell, band_index: usize) -> (Array2<f32>, Array2<u16>) {
        let band = &BANDS[band_index];
        let shape = (self.layout.height, self.layout.width);
        let mut canvas = Canvas::new(shape, self.layout.origin(cell), band);
        let Sources { stars, galaxies, cosmic_rays, chip_gaps, dead_blocks } = &self.sources;
        stars.iter().for_each(|star| canvas.star(star));
        galaxies.iter().for_each(|galaxy| canvas.galaxy(galaxy));
        cosmic_rays.iter().filter(|ray| ray.band == band_index).for_each(|ray| canvas.cosmic_ray(ray));
        canvas.expose(self.seed.wrapping_mul(31).wrapping_add((band_index as u64) << 48));
        let in_band = |first: usize| first == band_index || first + 1 == band_index;
        chip_gaps.iter().filter(|gap| in_band(gap.first_band)).for_each(|gap| canvas.chip_gap(gap));
        dead_blocks.iter().filter(|block| block.band == band_index).for_each(|block| canvas.dead_block(block));
        if self.layout.cells.first() == Some(&cell) {
            canvas.blank_margin(Self::MARGIN_PX);
        }
        canvas.mark_blank();
        (canvas.flux, canvas.mask)
    }

    /// A cell in one band as it is stored: compressed pixels, mask, header.
    pub fn stored(&self, cell: Cell, band_index: usize) -> StoredBand {
        let band: &BandSky = &BANDS[band_index];
        let stack = Stack::new(cell, band, self.seed);
        let (mut pixels, mask) = self.flux(cell, band_index);
        pixels.mapv_inplace(|flux| stack.encode(flux));
        StoredBand { pixels, mask, header: stack.header(&self.layout, cell, band) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::canvas::bit;
    use crate::skycell::CELL_OVERLAP_PX;
    use ndarray::{ArrayView2, s};

    fn small() -> Sky {
        Sky::new(Layout::ragged(760, 740), 5)
    }

    fn same(a: ArrayView2<f32>, b: ArrayView2<f32>) -> bool {
        a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    #[test]
    fn overlapping_cells_show_the_same_sky() {
        let sky = small();
        let west = sky.flux(Cell { x: 4, y: 4 }, 0).0;
        let east = sky.flux(Cell { x: 3, y: 4 }, 0).0;
        let (ny, nx) = east.dim();
        let inside = 20;
        let shared = |cell: &Array2<f32>, from: usize| {
            cell.slice(s![inside..ny - inside, from + inside..from + CELL_OVERLAP_PX - inside]).to_owned()
        };
        let (mine, theirs) = (shared(&east, nx - CELL_OVERLAP_PX), shared(&west, 0));
        assert!(same(mine.view(), theirs.view()));
        assert!(!same(mine.view(), shared(&west, 1).view()), "one pixel off is another sky");
        let north = sky.flux(Cell { x: 3, y: 5 }, 0).0;
        assert!(same(
            east.slice(s![ny - CELL_OVERLAP_PX + inside.., ..nx - inside]),
            north.slice(s![inside..CELL_OVERLAP_PX, ..nx - inside])
        ));
    }

    #[test]
    fn the_same_seed_gives_the_same_pixels_and_another_seed_others() {
        let cell = Cell { x: 4, y: 6 };
        let [a, b] = [(); 2].map(|()| small().stored(cell, 2));
        assert!(same(a.pixels.view(), b.pixels.view()) && a.mask == b.mask && a.header == b.header);
        let other = Sky::new(Layout::ragged(760, 740), 6).stored(cell, 2);
        assert!(!same(a.pixels.view(), other.pixels.view()));
    }

    #[test]
    fn blank_means_nan_and_saturated_pixels_are_marked() {
        let sky = Sky::new(Layout::demo(), Sky::DEMO_SEED);
        let mut seen = 0;
        for &cell in &sky.layout().cells {
            let (flux, mask) = sky.flux(cell, 0);
            for (&value, &bits) in flux.iter().zip(&mask) {
                assert_eq!(value.is_nan(), bits & bit::BLANK != 0);
                assert!(value.is_nan() || value < 905.0 || bits & bit::SAT != 0, "{value} {bits:#x}");
                seen |= bits;
            }
            let n_nan = flux.iter().filter(|value| value.is_nan()).count();
            assert!(n_nan * 10 < flux.len(), "{cell:?} has {n_nan} pixels without data");
        }
        for bits in [bit::BLANK, bit::SAT, bit::CR, bit::SPIKE, bit::STARCORE] {
            assert_ne!(seen & bits, 0, "{bits:#x} is nowhere");
        }
    }

    #[test]
    fn the_background_is_zero_with_the_noise_of_the_band() {
        let flux = small().flux(Cell { x: 2, y: 5 }, 3).0;
        let mut values: Vec<f32> = flux.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f32::total_cmp);
        let at = |part: f64| f64::from(values[(part * values.len() as f64) as usize]);
        assert!(at(0.5).abs() < 0.05, "median {}", at(0.5));
        // The lower half is hardly touched by sources: 15.87 % lie below -1 sigma.
        assert!((at(0.5) - at(0.1587) - BANDS[3].sky_std).abs() < 0.03);
    }
}
