//! The pixels of the synthetic sky for one skycell in one band.

use super::band::{BANDS, BandSky};
use super::canvas::{Canvas, MAX_REACH_PX};
use super::encoding::Stack;
use super::layout::{Cell, Layout};
use super::sources::Sources;
use ndarray::Array2;
use std::collections::HashMap;
use std::ops::Range;

/// A whole projection of synthetic sky; equal layouts and seeds give equal pixels.
#[derive(Clone, Debug)]
pub struct Sky {
    layout: Layout,
    sources: Sources,
    stars_near: Places,
    galaxies_near: Places,
    seed: u64,
    depth: Depth,
}

/// Which values stored pixels may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The 65 thousand steps of a survey file of 16 bits.
    Steps,
    /// Any f32, so that nothing in the last bits of the noise helps a compressor.
    Full,
}

impl Depth {
    /// The word in attributes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Full => "full",
        }
    }
}

impl Sky {
    /// Seed of the sky that the `demo` command shows.
    pub const DEMO_SEED: u64 = 2556;
    /// Rows and columns that the one skycell with a margin lacks.
    const MARGIN_PX: usize = 14;

    /// Scatters the sources over the layout.
    pub fn new(layout: Layout, seed: u64) -> Self {
        let sources = Sources::scatter(&layout, seed);
        let stars_near = Places::of(sources.stars.iter().map(|star| (star.x, star.y)));
        let galaxies_near = Places::of(sources.galaxies.iter().map(|galaxy| (galaxy.x, galaxy.y)));
        Self { layout, sources, stars_near, galaxies_near, seed, depth: Depth::Steps }
    }

    /// The same sky with stored pixels of this depth.
    #[must_use]
    pub fn with_depth(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// What decides the pixels besides the layout.
    pub fn recipe(&self) -> (u64, Depth) {
        (self.seed, self.depth)
    }

    /// The skycells and their geometry.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Flux of zero point 25 and mask bits of a cell in one of the [`BANDS`], by index; NaN without data.
    pub fn flux(&self, cell: Cell, band_index: usize) -> (Array2<f32>, Array2<u16>) {
        self.part(cell, band_index, 0..self.layout.height, 0..self.layout.width)
    }

    /// [`Self::flux`] of a part of the cell alone: the same pixels.
    fn part(
        &self,
        cell: Cell,
        band_index: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> (Array2<f32>, Array2<u16>) {
        let band = &BANDS[band_index];
        let (x, y) = self.layout.origin(cell);
        let (x, y) = (x + columns.start, y + rows.start);
        let mut canvas = Canvas::new((rows.len(), columns.len()), (x, y), band);
        let Sources { stars, galaxies, cosmic_rays, chip_gaps, dead_blocks } = &self.sources;
        let (across, along) = (x..x + columns.len(), y..y + rows.len());
        self.stars_near.within(&across, &along).for_each(|index| canvas.star(&stars[index]));
        self.galaxies_near.within(&across, &along).for_each(|index| canvas.galaxy(&galaxies[index]));
        cosmic_rays.iter().filter(|ray| ray.band == band_index).for_each(|ray| canvas.cosmic_ray(ray));
        canvas.expose(self.seed.wrapping_mul(31).wrapping_add((band_index as u64) << 48));
        let in_band = |first: usize| first == band_index || first + 1 == band_index;
        chip_gaps.iter().filter(|gap| in_band(gap.first_band)).for_each(|gap| canvas.chip_gap(gap));
        dead_blocks.iter().filter(|block| block.band == band_index).for_each(|block| canvas.dead_block(block));
        if self.layout.cells.first() == Some(&cell) {
            let first_column = self.layout.width - Self::MARGIN_PX;
            let n_columns = columns.end.saturating_sub(first_column.max(columns.start));
            canvas.blank_margin(Self::MARGIN_PX.saturating_sub(rows.start), n_columns);
        }
        canvas.mark_blank();
        (canvas.flux, canvas.mask)
    }

    /// A part of a cell in one band as it is stored: compressed pixels, mask.
    pub fn stored(
        &self,
        cell: Cell,
        band_index: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> (Array2<f32>, Array2<u16>) {
        let stack = Stack::new(cell, &BANDS[band_index], self.seed);
        let (mut pixels, mask) = self.part(cell, band_index, rows, columns);
        match self.depth {
            Depth::Steps => pixels.mapv_inplace(|flux| stack.encode(flux)),
            Depth::Full => pixels.mapv_inplace(|flux| stack.value(flux) as f32),
        }
        (pixels, mask)
    }

    /// The FITS header of a cell in one band, as cards of 80 characters.
    pub fn header(&self, cell: Cell, band_index: usize) -> String {
        let band: &BandSky = &BANDS[band_index];
        Stack::new(cell, band, self.seed).header(&self.layout, cell, band)
    }
}

/// Which sources may touch a part of the sky: sources by the square they lie in.
#[derive(Clone, Debug, Default)]
struct Places {
    squares: HashMap<(usize, usize), Vec<usize>>,
}

impl Places {
    const SIDE_PX: usize = 1024;

    fn of(positions: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut places = Self::default();
        for (index, (x, y)) in positions.enumerate() {
            places.squares.entry((Self::square(x), Self::square(y))).or_default().push(index);
        }
        places
    }

    /// Places left of or below the projection count to its first square: a conversion to unsigned ends at 0.
    fn square(position: f64) -> usize {
        position as usize / Self::SIDE_PX
    }

    /// Sources that reach into a rectangle of projection pixels, in the order of their numbers: sums of f32 depend on
    /// the order.
    fn within(&self, across: &Range<usize>, along: &Range<usize>) -> impl Iterator<Item = usize> {
        let squares = |range: &Range<usize>| {
            Self::square(range.start as f64 - MAX_REACH_PX - 1.0)..=Self::square(range.end as f64 + MAX_REACH_PX + 1.0)
        };
        let columns = squares(across);
        let found = squares(along).flat_map(|row| columns.clone().map(move |column| (column, row)));
        let mut indices: Vec<usize> = found.filter_map(|square| self.squares.get(&square)).flatten().copied().collect();
        indices.sort_unstable();
        indices.into_iter()
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
        let whole = |sky: &Sky| sky.stored(cell, 2, 0..740, 0..760);
        let [a, b] = [(); 2].map(|()| whole(&small()));
        assert!(same(a.0.view(), b.0.view()) && a.1 == b.1);
        assert_eq!(small().header(cell, 2), small().header(cell, 2));
        let other = whole(&Sky::new(Layout::ragged(760, 740), 6));
        assert!(!same(a.0.view(), other.0.view()));
    }

    #[test]
    fn parts_are_cut_from_the_whole() {
        let sky = Sky::new(Layout::ragged(1500, 1300), 5);
        // The first cell has the margin.
        for cell in [sky.layout().cells[0], Cell { x: 5, y: 5 }] {
            let (flux, mask) = sky.flux(cell, 1);
            for (rows, columns) in [(0..700, 0..1024), (700..1300, 1024..1500), (5..9, 1490..1500)] {
                let part = sky.part(cell, 1, rows.clone(), columns.clone());
                assert!(same(part.0.view(), flux.slice(s![rows.clone(), columns.clone()])), "{rows:?} {columns:?}");
                assert_eq!(part.1, mask.slice(s![rows, columns]));
            }
        }
    }

    #[test]
    fn full_depth_is_the_same_sky_between_the_steps() {
        let cell = Cell { x: 4, y: 6 };
        let (steps, _) = small().stored(cell, 0, 0..740, 0..760);
        let (full, _) = small().with_depth(Depth::Full).stored(cell, 0, 0..740, 0..760);
        let differences = steps.iter().zip(&full).filter(|(steps, _)| steps.is_finite()).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest > 1e-5 && largest < 1.1e-4, "{largest}");
        let distinct = |pixels: &Array2<f32>| {
            pixels.iter().map(|pixel| pixel.to_bits()).collect::<std::collections::HashSet<_>>().len()
        };
        assert!(distinct(&full) > 10 * distinct(&steps));
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
