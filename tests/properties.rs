//! Canonical assembly of any set of cells against its rule, applied pixel by pixel.

use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;
use skycache_gpu::compute::gaussian::Window;
use skycache_gpu::ps1::canonical::CanonicalWindow;
use skycache_gpu::skycell::{EDGE_EXCLUSION_PX, Layout, SkycellId};
use std::ops::Range;

const N_ROWS: u8 = 4;
const N_COLUMNS: u8 = 4;

/// Listed cells of one projection, of which some are absent.
#[derive(Clone, Debug)]
struct Sky {
    shape: (usize, usize),
    listed: Vec<SkycellId>,
    /// By listed cell.
    is_absent: Vec<bool>,
    missing: Vec<Block>,
}

/// Pixels of a cell without a value.
#[derive(Clone, Debug)]
struct Block {
    listed_index: usize,
    y: Range<usize>,
    x: Range<usize>,
    value: f32,
}

impl Sky {
    fn layout(&self) -> Layout {
        Layout::new(self.shape, &self.listed).unwrap()
    }

    fn placed(&self) -> Vec<SkycellId> {
        self.listed.iter().zip(&self.is_absent).filter(|(_, absent)| !**absent).map(|(id, _)| *id).collect()
    }

    fn is_placed(&self, y: u8, x: u8) -> bool {
        self.placed().iter().any(|id| (id.y, id.x) == (y, x))
    }

    /// A plane that says of each pixel which cell's and which one it is, exactly in f32.
    fn plane(&self, cell: SkycellId) -> Array2<f32> {
        let index = self.listed.iter().position(|id| *id == cell).unwrap();
        let (ny, nx) = self.shape;
        let mut plane = Array2::from_shape_fn((ny, nx), |(y, x)| (((index + 1) << 19) + y * nx + x) as f32);
        for block in self.missing.iter().filter(|block| block.listed_index == index) {
            let part = s![block.y.start.min(ny)..block.y.end.min(ny), block.x.start.min(nx)..block.x.end.min(nx)];
            plane.slice_mut(part).fill(block.value);
        }
        plane
    }

    /// The image by the rule's words: a placed cell covers its pixels; it gives up its last 10
    /// columns where the cell to its high-x side is placed, and its last 10 rows in columns where
    /// a cell of the next row is placed; of the cells still covering a pixel the lowest (y, then
    /// x) writes it.
    fn image(&self) -> Array2<f32> {
        let layout = self.layout();
        let (ny, nx) = self.shape;
        let placed = self.placed();
        let planes: Vec<Array2<f32>> = placed.iter().map(|id| self.plane(*id)).collect();
        let right_is_placed: Vec<bool> = placed.iter().map(|id| self.is_placed(id.y, id.x + 1)).collect();
        let positions: Vec<(usize, usize)> = placed.iter().map(|id| layout.position(*id)).collect();
        let image_shape = layout.image_shape();
        let is_in_row = |row: u8, x: usize| {
            let covers = |(id, (_, x0)): (&SkycellId, &(usize, usize))| id.y == row && (*x0..x0 + nx).contains(&x);
            placed.iter().zip(&positions).any(covers)
        };
        let columns_of_row: Vec<Vec<bool>> =
            (0..=N_ROWS).map(|row| (0..image_shape.1).map(|x| is_in_row(row, x)).collect()).collect();
        let value = |(y, x): (usize, usize)| {
            let writer = (0..placed.len()).find(|&i| {
                let (y0, x0) = positions[i];
                let next_row = usize::from(placed[i].y) + 1;
                (y0..y0 + ny).contains(&y)
                    && (x0..x0 + nx).contains(&x)
                    && !(right_is_placed[i] && x >= x0 + nx - EDGE_EXCLUSION_PX)
                    && !(columns_of_row[next_row][x] && y >= y0 + ny - EDGE_EXCLUSION_PX)
            });
            writer.map_or(f32::NAN, |i| planes[i][(y - positions[i].0, x - positions[i].1)])
        };
        Array2::from_shape_fn(image_shape, value)
    }

    fn around<'a>(
        &self,
        window: &'a CanonicalWindow,
        cell: SkycellId,
        reach_px: usize,
    ) -> (ArrayView2<'a, f32>, Window) {
        let ((y0, x0), (ny, nx)) = (self.layout().position(cell), self.shape);
        window.plane().around(y0..y0 + ny, x0..x0 + nx, reach_px)
    }

    fn place(&self, window: &mut CanonicalWindow, cell: SkycellId) {
        window.place(cell, &self.plane(cell).into());
    }
}

fn skies() -> impl Strategy<Value = Sky> {
    let n_cells = usize::from(N_ROWS * N_COLUMNS);
    let block = (0..n_cells, 0_usize..560, 0_usize..560, 1_usize..560, 1_usize..80, any::<bool>(), 0..3_usize);
    let blocks = prop::collection::vec(block, 0..6);
    let grid = prop::collection::vec(0_u8..5, n_cells).prop_filter("some cell is placed", |g| g.iter().any(|c| *c > 1));
    (481_usize..=560, 481_usize..=560, grid, blocks).prop_map(|(ny, nx, grid, blocks)| {
        let all = (0..N_ROWS).flat_map(|y| (0..N_COLUMNS).map(move |x| SkycellId { projection: 7, y, x }));
        // 0 is not listed, 1 is listed and absent, the others are placed.
        let listed: Vec<(SkycellId, u8)> = all.zip(grid).filter(|(_, state)| *state > 0).collect();
        let missing = blocks.into_iter().map(|(index, y, x, long, short, tall, kind)| {
            let (h, w) = if tall { (long, short) } else { (short, long) };
            let value = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][kind];
            Block { listed_index: index % listed.len(), y: y..y + h, x: x..x + w, value }
        });
        Sky {
            shape: (ny, nx),
            missing: missing.collect(),
            is_absent: listed.iter().map(|(_, state)| *state == 1).collect(),
            listed: listed.into_iter().map(|(id, _)| id).collect(),
        }
    })
}

fn same(found: f32, expected: f32) -> bool {
    if expected.is_finite() { found == expected } else { found.is_nan() }
}

/// Compares what a window gives around a cell with the image: the cell lies where it should, all
/// pixels within the reach that are not in the view are nobody's, the others are the image's.
fn check_around(
    sky: &Sky,
    image: &Array2<f32>,
    cell: SkycellId,
    reach_px: usize,
    (view, window): (ArrayView2<f32>, Window),
) -> Result<(), String> {
    let ((y0, x0), (ny, nx)) = (sky.layout().position(cell), sky.shape);
    let (top, left) = (y0.saturating_sub(reach_px), x0.saturating_sub(reach_px));
    // A window knows its place in the whole projection; the image begins at the list's first cells.
    let begin = sky.layout().origin();
    let (top_found, left_found) = ((window.origin.0 - begin.0) as usize, (window.origin.1 - begin.1) as usize);
    if (top_found + window.y.start, left_found + window.x.start, window.y.len(), window.x.len()) != (y0, x0, ny, nx) {
        return Err(format!("{cell} lies at {window:?}"));
    }
    let (bottom, right) = ((y0 + ny + reach_px).min(image.nrows()), (x0 + nx + reach_px).min(image.ncols()));
    for y in top..bottom {
        for x in left..right {
            let inside = y.checked_sub(top_found).zip(x.checked_sub(left_found));
            // Beyond the view there is no flux, as where nobody wrote.
            let found = inside.and_then(|at| view.get(at)).copied().unwrap_or(f32::NAN);
            if !same(found, image[(y, x)]) {
                return Err(format!("{found} at row {y}, column {x} near {cell}, expected {}", image[(y, x)]));
            }
        }
    }
    if view.nrows() > bottom - top || view.ncols() > right - left {
        return Err(format!("the view around {cell} is larger than its reach"));
    }
    Ok(())
}

/// Places all cells, then looks around each.
fn check_at_the_end(sky: &Sky, image: &Array2<f32>, reach_px: usize) -> Result<(), String> {
    let mut window = CanonicalWindow::new(sky.layout(), 0, image.nrows());
    sky.placed().iter().for_each(|cell| sky.place(&mut window, *cell));
    for cell in sky.placed() {
        check_around(sky, image, cell, reach_px, sky.around(&window, cell, reach_px))?;
    }
    Ok(())
}

/// Looks around each cell as soon as no later cell lies within its reach, and forgets the rows
/// below what the cells still to come need.
fn check_sliding(sky: &Sky, image: &Array2<f32>, reach_px: usize) -> Result<(), String> {
    let layout = sky.layout();
    let placed = sky.placed();
    let lies_within = |cell: SkycellId, other: SkycellId| {
        let (a, b) = (layout.position(cell), layout.position(other));
        a.0.abs_diff(b.0) < sky.shape.0 + reach_px && a.1.abs_diff(b.1) < sky.shape.1 + reach_px
    };
    let mut window = CanonicalWindow::new(sky.layout(), 0, 0);
    let mut is_done = vec![false; placed.len()];
    for (index, cell) in placed.iter().enumerate() {
        sky.place(&mut window, *cell);
        for earlier in 0..=index {
            let waits = placed[index + 1..].iter().any(|later| lies_within(placed[earlier], *later));
            if !is_done[earlier] && !waits {
                check_around(sky, image, placed[earlier], reach_px, sky.around(&window, placed[earlier], reach_px))?;
                is_done[earlier] = true;
            }
        }
        if let Some(first) = is_done.iter().position(|done| !done) {
            window.forget_below(layout.position(placed[first]).0.saturating_sub(reach_px));
        }
    }
    if is_done.contains(&false) { Err("a cell never became ready".to_owned()) } else { Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_lowest_cell_that_covers_a_pixel_writes_it(sky in skies(), reach_px in 0_usize..=480) {
        prop_assert_eq!(check_at_the_end(&sky, &sky.image(), reach_px), Ok(()));
    }

    #[test]
    fn forgotten_rows_are_never_missed(sky in skies(), reach_px in prop_oneof![Just(0_usize), 0_usize..=480]) {
        prop_assert_eq!(check_sliding(&sky, &sky.image(), reach_px), Ok(()));
    }
}

/// Six cells, all there.
fn block_of_cells() -> Sky {
    let listed: Vec<SkycellId> = (0..2).flat_map(|y| (0..3).map(move |x| SkycellId { projection: 7, y, x })).collect();
    Sky { shape: (500, 530), is_absent: vec![false; listed.len()], listed, missing: Vec::new() }
}

#[test]
fn an_altered_pixel_of_the_image_is_rejected() {
    let sky = block_of_cells();
    let mut image = sky.image();
    check_at_the_end(&sky, &image, 20).unwrap();
    for altered in [image[(300, 300)] + 1.0, f32::NAN] {
        image[(300, 300)] = altered;
        assert!(check_at_the_end(&sky, &image, 20).is_err(), "{altered}");
        assert!(check_sliding(&sky, &image, 20).is_err(), "{altered}");
    }
}

#[test]
fn the_image_of_another_set_of_cells_is_rejected() {
    let sky = block_of_cells();
    for absent in 0..sky.listed.len() {
        let mut fewer = sky.clone();
        fewer.is_absent[absent] = true;
        assert!(check_at_the_end(&sky, &fewer.image(), 0).is_err(), "without {}", sky.listed[absent]);
    }
}
