//! Cuts a plane into tiles that decode on their own: no chunk of the arrays that are added crosses
//! a cut, so that every chunk is decoded once, whatever the chunk grids.
//!
//! Where all bands have one grid, as surveys write them, a tile is a chunk.

use crate::ps1::store::{ChunkBytes, RawArray};
use ndarray::{ArrayViewMut2, Axis};
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
pub struct Chunk {
    pub indices: Vec<u64>,
    pub origin: (usize, usize),
    pub shape: (usize, usize),
    /// `None` is all fill value.
    pub bytes: Option<ChunkBytes>,
}

/// A part of the plane, and the chunks that cover it.
pub struct Tile<'a, T> {
    pub plane: ArrayViewMut2<'a, T>,
    pub origin: (usize, usize),
    /// By array.
    pub chunks: Vec<Vec<Chunk>>,
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

    /// The tiles of `plane`, row by row, with the chunks of `arrays`, whose bytes they take over.
    ///
    /// # Errors
    /// If a grid does not know its own chunks, in its words.
    pub fn split<'a, T>(
        &self,
        plane: ArrayViewMut2<'a, T>,
        arrays: &mut [RawArray],
    ) -> Result<Vec<Tile<'a, T>>, String> {
        let mut tiles = Vec::with_capacity(self.n_tiles());
        let mut south = plane;
        for (y, ny) in self.rows.iter().zip(lengths(&self.rows, self.shape.0)) {
            let (mut east, rest) = south.split_at(Axis(0), ny);
            south = rest;
            for (x, nx) in self.columns.iter().zip(lengths(&self.columns, self.shape.1)) {
                let (plane, rest) = east.split_at(Axis(1), nx);
                east = rest;
                let chunks = arrays.iter().map(|_| Vec::new()).collect();
                tiles.push(Tile { plane, origin: (*y, *x), chunks });
            }
        }
        for (i, raw) in arrays.iter_mut().enumerate() {
            for (indices, bytes) in std::mem::take(&mut raw.chunks) {
                let chunk = placed(&raw.array, indices, bytes).map_err(|cause| cause.to_string())?;
                let at = |starts: &[usize], place: usize| starts.partition_point(|start| *start <= place) - 1;
                let tile = at(&self.rows, chunk.origin.0) * self.columns.len() + at(&self.columns, chunk.origin.1);
                tiles[tile].chunks[i].push(chunk);
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

fn placed(
    array: &Array<FilesystemStore>,
    indices: Vec<u64>,
    bytes: Option<ChunkBytes>,
) -> Result<Chunk, zarrs::array::ArrayError> {
    // Chunks of a grid that is not regular have different sizes: the grid knows their places.
    let origin = array.chunk_origin(&indices)?;
    let shape = array.chunk_shape(&indices)?;
    let origin = (origin[0] as usize, origin[1] as usize);
    Ok(Chunk { indices, origin, shape: (shape[0].get() as usize, shape[1].get() as usize), bytes })
}
