//! A plane that is made tile by tile, on any thread and in any order, and stays in its tiles; and
//! the memory of tiles, which is used again.

use ndarray::{Array2, ArrayViewMut2, s};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A plane in rectangular tiles that cover each of its pixels once; of a cell that was only read in part some are
/// not there.
#[derive(Clone, Debug, PartialEq)]
pub struct TiledPlane<T> {
    shape: (usize, usize),
    /// The first row and column of each tile, and its pixels.
    tiles: Vec<((usize, usize), Array2<T>)>,
}

impl<T: Copy> TiledPlane<T> {
    /// Of `tiles` that begin at a row and column of a plane of `shape`, (ny, nx); together they cover each pixel
    /// once, and their rows are contiguous.
    pub fn new(shape: (usize, usize), tiles: Vec<((usize, usize), Array2<T>)>) -> Self {
        Self { shape, tiles }
    }

    /// (ny, nx).
    pub fn dim(&self) -> (usize, usize) {
        self.shape
    }

    /// Hands `take` all pixels in these rows and columns: in pieces of rows, each with its row and first
    /// column in the plane.
    pub fn for_each_piece(&self, rows: Range<usize>, columns: Range<usize>, mut take: impl FnMut(usize, usize, &[T])) {
        for ((y0, x0), tile) in &self.tiles {
            let own_rows = rows.start.max(*y0)..rows.end.min(y0 + tile.nrows());
            let own_columns = columns.start.max(*x0)..columns.end.min(x0 + tile.ncols());
            if own_columns.is_empty() {
                continue;
            }
            for y in own_rows {
                let row = tile.row(y - y0).to_slice().expect("rows of a tile are contiguous");
                take(y, own_columns.start, &row[own_columns.start - x0..own_columns.end - x0]);
            }
        }
    }

    /// Copies these rows and columns to a plane of their shape, as far as they are there.
    pub fn copy_to(&self, rows: Range<usize>, columns: Range<usize>, mut to: ArrayViewMut2<T>) {
        self.for_each_piece(rows.clone(), columns.clone(), |y, x, piece| {
            let x = x - columns.start;
            let to = to.slice_mut(s![y - rows.start, x..x + piece.len()]);
            to.into_iter().zip(piece).for_each(|(to, from)| *to = *from);
        });
    }

    /// All of it in one piece.
    pub fn to_array(&self) -> Array2<T>
    where
        T: Default,
    {
        let mut whole = Array2::default(self.shape);
        self.copy_to(0..self.shape.0, 0..self.shape.1, whole.view_mut());
        whole
    }
}

impl<T: Copy> From<Array2<T>> for TiledPlane<T> {
    fn from(plane: Array2<T>) -> Self {
        Self::new(plane.dim(), vec![((0, 0), plane.as_standard_layout().into_owned())])
    }
}

/// Memory of tiles that are done with, for the next ones: the system takes as long to clear new
/// memory as the bands take to be added. What one plane takes is kept, not more.
#[derive(Debug, Default)]
pub struct Pool<T>(Mutex<Idle<T>>);

#[derive(Debug, Default)]
struct Idle<T> {
    n_px: usize,
    /// By number of pixels.
    tiles: HashMap<usize, Vec<Vec<T>>>,
}

impl<T> Idle<T> {
    fn take(&mut self, n_px: usize) -> Option<Vec<T>> {
        let tile = self.tiles.get_mut(&n_px)?.pop()?;
        self.n_px -= n_px;
        Some(tile)
    }

    /// Drops tiles, those of other sizes than `n_px` first, until at most `most_px` are left.
    fn shrink_to(&mut self, most_px: usize, n_px: usize) {
        let sizes: Vec<usize> = self.tiles.keys().copied().collect();
        for size in sizes.into_iter().filter(|size| *size != n_px).chain([n_px]) {
            while self.n_px > most_px && self.take(size).is_some() {}
        }
    }
}

impl<T: Copy + Default> Pool<T> {
    /// A tile with any content. A new one takes the place of idle ones that are of no use.
    pub fn tile(&self, shape: (usize, usize)) -> Array2<T> {
        let n_px = shape.0 * shape.1;
        let mut idle = self.lock();
        let kept = idle.take(n_px);
        if kept.is_none() {
            let most_px = idle.n_px.saturating_sub(n_px);
            idle.shrink_to(most_px, n_px);
        }
        drop(idle);
        let pixels = kept.unwrap_or_else(|| {
            let mut pixels = vec![T::default(); n_px];
            crate::pages::advise(&mut pixels);
            pixels
        });
        Array2::from_shape_vec(shape, pixels).expect("tiles are kept by their number of pixels")
    }

    /// Takes back the tiles of a plane.
    pub fn give_back(&self, plane: TiledPlane<T>) {
        let most_px = plane.shape.0 * plane.shape.1;
        let mut idle = self.lock();
        for (_, tile) in plane.tiles {
            let n_px = tile.len();
            idle.n_px += n_px;
            idle.tiles.entry(n_px).or_default().push(tile.into_raw_vec_and_offset().0);
            idle.shrink_to(most_px, n_px);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle<T>> {
        // A panic elsewhere leaves at worst a tile uncounted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn pieces_of_tiles_make_the_plane() {
        let whole = Array2::from_shape_fn((5, 7), |(y, x)| (10 * y + x) as u16);
        let tile = |y: Range<usize>, x: Range<usize>| ((y.start, x.start), whole.slice(s![y, x]).to_owned());
        let tiles = vec![tile(0..2, 0..4), tile(2..5, 4..7), tile(0..2, 4..7), tile(2..5, 0..4)];
        let plane = TiledPlane::new(whole.dim(), tiles);
        assert_eq!(plane.to_array(), whole);
        let mut pieces = Vec::new();
        plane.for_each_piece(1..3, 3..5, |y, x, piece| pieces.push((y, x, piece.to_vec())));
        pieces.sort();
        assert_eq!(pieces, [(1, 3, vec![13]), (1, 4, vec![14]), (2, 3, vec![23]), (2, 4, vec![24])]);
    }

    #[test]
    fn memory_of_one_plane_is_used_again_and_no_more_of_it_is_kept() {
        let pool = Pool::<f32>::default();
        let plane = TiledPlane::from(array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        pool.give_back(plane.clone());
        pool.give_back(plane.clone());
        assert_eq!(pool.tile((3, 2)), array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        assert_eq!(pool.tile((3, 2)), Array2::<f32>::zeros((3, 2)));
    }

    #[test]
    fn tiles_that_nobody_wants_any_more_make_room() {
        let pool = Pool::<u16>::default();
        pool.give_back(TiledPlane::from(Array2::ones((4, 6))));
        // The next projection has other cells: its new tiles take the place of the old one.
        let tiles = vec![((0, 0), pool.tile((2, 3))), ((2, 0), pool.tile((2, 3)))];
        assert_eq!(pool.lock().n_px, 0);
        pool.give_back(TiledPlane::new((4, 3), tiles));
        assert_eq!(pool.lock().n_px, 12);
        pool.give_back(TiledPlane::from(Array2::ones((4, 3))));
        assert_eq!(pool.lock().n_px, 12, "the newest stay");
        assert_eq!(pool.tile((4, 3)), Array2::<u16>::ones((4, 3)));
    }
}
