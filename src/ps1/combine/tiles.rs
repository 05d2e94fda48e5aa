//! Cuts a plane into tiles that decode on their own: no chunk of the arrays that are added crosses
//! a cut, so that every chunk is read and decoded once, whatever the chunk grids.
//!
//! Where all bands have one grid, as surveys write them, a tile is a chunk.

use crate::ps1::store::StoredArray;
use std::collections::BTreeSet;
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

/// Where a plane is cut: the first rows and columns of its tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    shape: (usize, usize),
    rows: Vec<usize>,
    columns: Vec<usize>,
}

/// A chunk of an array, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which of the arrays that are added.
    pub array: usize,
    pub indices: [u64; 2],
    pub origin: (usize, usize),
    /// As stored: the last chunks reach beyond the plane.
    pub shape: (usize, usize),
}

/// A part of the plane, and the chunks that cover it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Its first row and column.
    pub origin: (usize, usize),
    /// (ny, nx).
    pub shape: (usize, usize),
    /// In the order of the arrays.
    pub chunks: Vec<Chunk>,
}

impl Tiling {
    /// The finest tiling of a plane of `shape`, (ny, nx), that suits all `arrays` of that shape;
    /// without arrays, one tile.
    ///
    /// # Errors
    /// If a grid does not know its own chunks, in its words.
    pub fn of<'a>(
        arrays: impl IntoIterator<Item = &'a Array<FilesystemStore>>,
        shape: (usize, usize),
    ) -> Result<Self, String> {
        let mut cuts: Option<[BTreeSet<usize>; 2]> = None;
        for array in arrays {
            let found = [starts(array, 0, shape.0)?, starts(array, 1, shape.1)?];
            cuts = Some(match cuts {
                None => found,
                Some([rows, columns]) => [&rows & &found[0], &columns & &found[1]],
            });
        }
        let [rows, columns] = cuts.unwrap_or_default().map(|mut starts| {
            starts.insert(0);
            starts.into_iter().collect()
        });
        Ok(Self { shape, rows, columns })
    }

    pub fn n_tiles(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Pixels of the largest tile.
    pub fn largest_px(&self) -> usize {
        let longest = |starts: &[usize], end| lengths(starts, end).max().unwrap_or(0);
        longest(&self.rows, self.shape.0) * longest(&self.columns, self.shape.1)
    }

    /// The tiles, row by row, with the chunks of `arrays` that cover them.
    ///
    /// # Errors
    /// If a grid does not know its own chunks, in its words.
    pub fn tiles(&self, arrays: &[StoredArray]) -> Result<Vec<Tile>, String> {
        let row = |(y, ny): (&usize, usize)| {
            let columns = self.columns.iter().zip(lengths(&self.columns, self.shape.1));
            let tile = |(x, nx): (&usize, usize)| Tile { origin: (*y, *x), shape: (ny, nx), chunks: Vec::new() };
            columns.map(tile).collect::<Vec<_>>()
        };
        let mut tiles: Vec<Tile> = self.rows.iter().zip(lengths(&self.rows, self.shape.0)).flat_map(row).collect();
        for (i, stored) in arrays.iter().enumerate() {
            for indices in stored.chunks() {
                let chunk = placed(i, &stored.array, indices).map_err(|cause| cause.to_string())?;
                let at = |starts: &[usize], place: usize| starts.partition_point(|start| *start <= place) - 1;
                let tile = at(&self.rows, chunk.origin.0) * self.columns.len() + at(&self.columns, chunk.origin.1);
                tiles[tile].chunks.push(chunk);
            }
        }
        Ok(tiles)
    }
}

fn lengths(starts: &[usize], end: usize) -> impl Iterator<Item = usize> {
    starts.iter().zip(starts.iter().skip(1).chain([&end]).copied().collect::<Vec<_>>()).map(|(from, to)| to - from)
}

/// Where the chunks of an array start along an axis; within the plane.
fn starts(array: &Array<FilesystemStore>, axis: usize, length: usize) -> Result<BTreeSet<usize>, String> {
    let start = |i: u64| {
        let mut indices = [0, 0];
        indices[axis] = i;
        array.chunk_origin(&indices).map(|origin| origin[axis] as usize).map_err(|cause| cause.to_string())
    };
    let starts = (0..array.chunk_grid_shape()[axis]).map(start).collect::<Result<BTreeSet<_>, _>>()?;
    Ok(starts.into_iter().filter(|start| *start < length).collect())
}

fn placed(array: usize, stored: &Array<FilesystemStore>, indices: [u64; 2]) -> Result<Chunk, zarrs::array::ArrayError> {
    // Chunks of a grid that is not regular have different sizes: the grid knows their places.
    let origin = stored.chunk_origin(&indices)?;
    let shape = stored.chunk_shape(&indices)?;
    let origin = (origin[0] as usize, origin[1] as usize);
    Ok(Chunk { array, indices, origin, shape: (shape[0].get() as usize, shape[1].get() as usize) })
}
