//! What is done already: a cell's recipe names everything that decides its pixels; a finished
//! cell with the same recipe is kept.

use super::backend::CPU;
use super::list::ListedCell;
use super::plan::Projection;
use super::store::{self, ContentHash};
use super::{Assembly, Options};
use crate::skycell::{CELL_OVERLAP_PX, SkycellId};
use std::collections::BTreeMap;
use std::path::Path;

/// Rises whenever the same inputs and parameters give other pixels, or another record, than before.
const RECIPE_VERSION: u32 = 4;

/// Cells with the hashes of their contents: those of one projection in the order (y, x), and those of others that
/// its pads come from in any order.
///
/// A neighbour that is not in the store is not there either: where none is, all ways of padding are one.
pub type Contents = Vec<(SkycellId, ContentHash)>;

/// The recipe of a cell: a BLAKE3 hash in hexadecimal.
///
/// Fields are tagged and length-prefixed. Neighbours enter by their place relative to the cell
/// and by content, so that another list with the same sky gives the same recipe. How pads are filled is in it by what
/// fills them. `backend` is what
/// convolves the cell, by [`super::backend::Backend::name`]: results of two are not equal bit for bit.
pub fn recipe(
    options: &Options,
    projection: &Projection,
    cell: SkycellId,
    contents: &Contents,
    backend: &str,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |tag: &str, bytes: &[u8]| {
        hasher.update(&(tag.len() as u64).to_le_bytes()).update(tag.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    field("version", &RECIPE_VERSION.to_le_bytes());
    field("sigma_px", &options.psf.sigma_px().to_le_bytes());
    field("radius_px", &(options.psf.radius_px() as u64).to_le_bytes());
    for weight in options.recipe.weights.0 {
        field("weight", &weight.to_le_bytes());
    }
    field("allow_missing_bands", &[u8::from(options.recipe.allow_missing_bands)]);
    field("assembly", options.assembly.name().as_bytes());
    if backend != CPU {
        field("backend", backend.as_bytes());
    }
    field("shape", format!("{:?}", projection.layout.cell_shape).as_bytes());
    if options.assembly == Assembly::Legacy {
        // Legacy rows depend on the whole projection: its width, its first column, its row list.
        let rows = projection.rows(|_| true);
        let facts = format!("{rows:?} {} {} {cell}", projection.max_cells, projection.min_x);
        field("legacy", facts.as_bytes());
    }
    let influencing = contents.iter().filter(|(other, _)| influences(options, projection, cell, *other));
    let (own, mut others): (Vec<_>, Vec<_>) = influencing.partition(|(other, _)| other.projection == cell.projection);
    for (other, hash) in own {
        let place = [i16::from(other.y) - i16::from(cell.y), i16::from(other.x) - i16::from(cell.x)];
        field("place", format!("{place:?}").as_bytes());
        field("content", hash.0.as_bytes());
    }
    // Where a cell of another projection lies, its header tells, which is content.
    others.sort();
    for (other, hash) in others {
        field("pads from", other.to_string().as_bytes());
        field("content", hash.0.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Whether `other` can change a pixel of `cell`.
pub fn influences(options: &Options, projection: &Projection, cell: SkycellId, other: SkycellId) -> bool {
    if other.projection != cell.projection {
        let source = projection.sources.iter().find(|source| source.id() == other);
        return source.is_some_and(|source| source.influenced.contains(&cell));
    }
    let reach = options.psf.radius_px();
    let layout = &projection.layout;
    match options.assembly {
        Assembly::Canonical => layout.touches(cell, other, reach),
        Assembly::Legacy => {
            // Rows that are neighbours in the list are copied into each other, wherever they lie.
            let rows = projection.rows(|_| true);
            let index = |y: u8| rows.iter().position(|row| *row == y);
            let columns = layout.position(cell).1.abs_diff(layout.position(other).1);
            // The south pad of small cells holds rows that came from further south still.
            let is_small = layout.cell_shape.0 < 2 * CELL_OVERLAP_PX;
            let reaches = |a: usize, b: usize| b <= a + 1 && (a <= b + 1 || is_small);
            columns < layout.cell_shape.1 + reach
                && index(cell.y).zip(index(other.y)).is_some_and(|(a, b)| reaches(a, b))
        }
    }
}

/// Content hashes of groups: from earlier runs where the stamp proves that nothing changed, else
/// by reading everything.
pub fn content_of(
    group: Option<&Path>,
    listed: &ListedCell,
    known: &BTreeMap<String, (String, ContentHash)>,
) -> ContentHash {
    let Some(group) = group else { return ContentHash::absent() };
    if let Some((stamp, hash)) = known.get(&listed.cell.name)
        && store::stamp(group).as_ref() == Some(stamp)
    {
        return hash.clone();
    }
    store::content(group, listed.shape, &crate::interrupt::check)
}
