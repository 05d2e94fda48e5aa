//! Writing the demo's data root: the input Zarr store and the list of skycells.

use super::band::BANDS;
use super::layout::{Cell, Layout, PROJECTION};
use super::list;
use super::sky::Sky;
use crate::error::{Error, ErrorKind, Result};
use crate::image::publish;
use crate::image::zarr::{HEADER_ATTRIBUTE, write_array, write_group};
use crate::ps1::store::path_below;
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// What [`write_data_root`] leaves under the root.
#[derive(Clone, Debug)]
pub struct DataRoot {
    /// The Zarr store of the skycells.
    pub store: PathBuf,
    /// The CSV list.
    pub list: PathBuf,
    /// Skycells and their geometry.
    pub layout: Layout,
    /// Arrays that were there already, left as they were.
    pub n_kept: usize,
}

/// Writes the skycells of the demo and their list under `root`, in the places where a survey's would be.
///
/// Each array is published whole; one that is there already is kept, so that an interrupted run goes on
/// where it stopped. The list comes last: where it is, all its skycells are. A list of other skycells that is
/// there already belongs to somebody, and nothing is written beside it.
///
/// # Errors
/// [`ErrorKind::Exists`] for such a list; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] if the storage refuses, and
/// [`ErrorKind::Interrupted`] after a signal.
pub fn write_data_root(root: &Path) -> Result<DataRoot> {
    write(root, &Sky::new(Layout::demo(), Sky::DEMO_SEED))
}

fn write(root: &Path, sky: &Sky) -> Result<DataRoot> {
    let (list, wanted) = (list::DETECTOR.list_path(root), list::csv(sky.layout())?);
    let is_listed = has_list(&list, &wanted)?;
    let store = path_below(root);
    let projection = store.join(format!("{PROJECTION:04}"));
    write_group(&store)?;
    write_group(&projection)?;
    let cells = &sky.layout().cells;
    for cell in cells {
        write_group(&projection.join(cell.name()))?;
    }
    let planes: Vec<(Cell, usize)> =
        cells.iter().flat_map(|&cell| (0..BANDS.len()).map(move |band| (cell, band))).collect();
    let n_kept = planes
        .into_par_iter()
        .map(|(cell, band)| write_band(sky, cell, band, &projection.join(cell.name())))
        .try_reduce(|| 0, |a, b| Ok(a + b))?;
    if !is_listed {
        make_dir(list.parent().expect("the list lies in a directory"))?;
        publish::write_file(&list, &wanted, false)?;
    }
    Ok(DataRoot { store, list, layout: sky.layout().clone(), n_kept })
}

/// Writes pixels and mask of one band; returns how many of the two were there already.
fn write_band(sky: &Sky, cell: Cell, band: usize, group: &Path) -> Result<usize> {
    crate::interrupt::check()?;
    let name = BANDS[band].name;
    let (pixels_at, mask_at) = (group.join(name), group.join(format!("{name}_mask")));
    let n_kept = [&pixels_at, &mask_at].into_iter().filter(|path| path.exists()).count();
    if n_kept == 2 {
        return Ok(n_kept);
    }
    let stored = sky.stored(cell, band);
    let attributes = Map::from_iter([(HEADER_ATTRIBUTE.to_owned(), Value::String(stored.header))]);
    if !pixels_at.exists() {
        write_array(&pixels_at, stored.pixels.view(), f32::NAN, &attributes)?;
    }
    if !mask_at.exists() {
        write_array(&mask_at, stored.mask.view(), 0, &attributes)?;
    }
    Ok(n_kept)
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|cause| Error::io("make the directory", dir, cause))
}

/// Whether the list is there already; another one in its place is refused.
fn has_list(path: &Path, wanted: &[u8]) -> Result<bool> {
    match fs::read(path) {
        Ok(found) if found == wanted => Ok(true),
        Ok(_) => Err(Error::new(ErrorKind::Exists, "a list of other skycells is there already")
            .file(path)
            .help("choose another --data-root; the demonstration does not replace a list")),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(Error::io("read the list of skycells", path, cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_keeps_what_is_there_and_adds_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let sky = Sky::new(Layout::ragged(500, 490), 3);
        let first = write(root.path(), &sky).unwrap();
        assert_eq!(first.n_kept, 0);
        assert!(first.list.is_file());
        fs::remove_dir_all(first.store.join("2556/skycell.2556.053/z")).unwrap();
        let n_arrays = 2 * BANDS.len() * sky.layout().cells.len();
        assert_eq!(write(root.path(), &sky).unwrap().n_kept, n_arrays - 1);
        assert_eq!(write(root.path(), &sky).unwrap().n_kept, n_arrays);
    }

    #[test]
    fn a_list_of_other_skycells_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let list = list::DETECTOR.list_path(root.path());
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(&list, "NAME,projection\n").unwrap();
        let error = write(root.path(), &Sky::new(Layout::ragged(500, 490), 3)).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Exists, Some(list.as_path())));
        assert!(error.advice().unwrap().contains("--data-root"));
        assert_eq!(fs::read(&list).unwrap(), b"NAME,projection\n");
        assert!(!root.path().join("ps1_skycells_zarr").exists());
    }

    #[test]
    fn the_store_gives_back_pixels_mask_and_header() {
        let root = tempfile::tempdir().unwrap();
        let sky = Sky::new(Layout::ragged(500, 490), 3);
        let written = write(root.path(), &sky).unwrap();
        let cell = Cell { x: 5, y: 4 };
        let expected = sky.stored(cell, 1);
        let group = written.store.join("2556").join(cell.name());
        let image = crate::image::read(&group.join("i").to_string_lossy()).unwrap();
        let same = |a: &f32, b: &f32| a == b || (a.is_nan() && b.is_nan());
        assert!(image.pixels.iter().zip(&expected.pixels).all(|(a, b)| same(a, b)));
        assert_eq!(image.header.text("FPA.FILTERID").unwrap().as_deref(), Some("i.00000"));
        assert_eq!(image.header.text("SKYCELL").unwrap().as_deref(), Some("skycell.2556.045"));
        assert!(image.header.f64("BSOFTEN").unwrap().unwrap() > 50.0);
        let (mask, _) = crate::image::read_mask(&group.join("i_mask").to_string_lossy()).unwrap();
        assert!(mask.iter().zip(&expected.mask).all(|(&a, &b)| a == u32::from(b)));
    }
}
