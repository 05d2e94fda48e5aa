//! Writing the demo's data root: the input Zarr store and the list of skycells.

use super::band::BANDS;
use super::layout::{Cell, Layout, PROJECTION};
use super::sky::Sky;
use super::{chunks, list};
use crate::error::{Error, ErrorKind, Result};
use crate::image::publish;
use crate::image::zarr::write_group;
use crate::ps1::store::path_below;
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

/// Writes the skycells of a sky and their list under `root`, in the places where a survey's would be.
///
/// Each array is published whole; one of the same sky that is there already is kept, so that an interrupted run goes
/// on where it stopped. The list comes last: where it is, all its skycells are. A list of other skycells that is there
/// already belongs to somebody, and nothing is written beside it. Pixels are made and written chunk by chunk, so that
/// memory holds one chunk a thread.
///
/// # Errors
/// [`ErrorKind::Exists`] for such a list, or for arrays of another sky; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] if
/// the storage refuses, and [`ErrorKind::Interrupted`] after a signal.
pub fn write_data_root(root: &Path, sky: &Sky) -> Result<DataRoot> {
    let (list, wanted) = (list::DETECTOR.list_path(root), list::csv(sky.layout())?);
    let is_listed = has_list(&list, &wanted)?;
    let store = path_below(root);
    let projection = store.join(format!("{PROJECTION:04}"));
    write_group(&store)?;
    write_group(&projection)?;
    let mut n_kept = 0;
    // One cell after the other, each by all threads: a run that is stopped leaves whole cells.
    for cell in &sky.layout().cells {
        let group = projection.join(cell.name());
        write_group(&group)?;
        n_kept += chunks::write_cell(sky, *cell, &group)?;
    }
    if !is_listed {
        make_dir(list.parent().expect("the list lies in a directory"))?;
        publish::write_file(&list, &wanted, false)?;
    }
    Ok(DataRoot { store, list, layout: sky.layout().clone(), n_kept })
}

/// About how many bytes [`write_data_root`] will write: the bands that are not there with their mask, as they are
/// stored.
pub fn bytes_to_write(root: &Path, sky: &Sky) -> u64 {
    let projection = path_below(root).join(format!("{PROJECTION:04}"));
    let is_missing = |cell: &Cell, band: &str| {
        let group = projection.join(cell.name());
        !(group.join(band).is_dir() && group.join(format!("{band}_mask")).is_dir())
    };
    let missing_of = |cell: &Cell| BANDS.iter().filter(|band| is_missing(cell, band.name)).count();
    let n_missing: usize = sky.layout().cells.iter().map(missing_of).sum();
    let pixels = n_missing * sky.layout().width * sky.layout().height;
    let (_, depth) = sky.recipe();
    (pixels as f64 * STORED_BYTES_PER_PX[depth as usize]) as u64
}

/// Bytes of a pixel and its mask bits on the disk, in [`Depth::Steps`] and [`Depth::Full`], measured.
///
/// Pixels of a real stack take 3.0 bytes (240 x 240 px of a PS1 i band file, zstd 3), those of this sky more because
/// its noise spans more steps.
const STORED_BYTES_PER_PX: [f64; 2] = [3.4, 3.7];

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
    use crate::demo::sky::Depth;

    #[test]
    fn a_second_run_keeps_what_is_there_and_adds_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let sky = Sky::new(Layout::ragged(500, 490), 3);
        let first = write_data_root(root.path(), &sky).unwrap();
        assert_eq!(first.n_kept, 0);
        assert!(first.list.is_file());
        fs::remove_dir_all(first.store.join("2556/skycell.2556.053/z")).unwrap();
        let n_arrays = 2 * BANDS.len() * sky.layout().cells.len();
        assert_eq!(write_data_root(root.path(), &sky).unwrap().n_kept, n_arrays - 1);
        assert_eq!(write_data_root(root.path(), &sky).unwrap().n_kept, n_arrays);
    }

    #[test]
    fn arrays_of_another_sky_are_not_taken_for_this_one() {
        let root = tempfile::tempdir().unwrap();
        let layout = || Layout::ragged(500, 490);
        write_data_root(root.path(), &Sky::new(layout(), 3)).unwrap();
        for other in [Sky::new(layout(), 4), Sky::new(layout(), 3).with_depth(Depth::Full)] {
            let error = write_data_root(root.path(), &other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists);
            assert!(error.advice().unwrap().contains("--data-root"));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let written = [1, 3].map(|n_threads| {
            let root = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let sky = Sky::new(Layout::ragged(1100, 1050), 3);
            pool.install(|| write_data_root(root.path(), &sky)).unwrap();
            let chunks = "ps1_skycells_zarr/ps1_skycells.zarr/2556/skycell.2556.043/y/c";
            ["0/0", "0/1", "1/1"].map(|chunk| fs::read(root.path().join(chunks).join(chunk)).unwrap())
        });
        assert_eq!(written[0], written[1]);
    }

    #[test]
    fn what_is_to_be_written_shrinks_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let sky = Sky::new(Layout::ragged(500, 490), 3);
        let before = bytes_to_write(root.path(), &sky);
        assert!(before > 8 * 4 * 500 * 490);
        write_data_root(root.path(), &sky).unwrap();
        assert_eq!(bytes_to_write(root.path(), &sky), 0);
        let group = path_below(root.path()).join("2556/skycell.2556.053");
        for (n_missing, array) in [(1, "z"), (1, "z_mask"), (2, "r_mask")] {
            fs::remove_dir_all(group.join(array)).unwrap();
            assert_eq!(bytes_to_write(root.path(), &sky), n_missing * before / (8 * 4), "without {array}");
        }
    }

    #[test]
    fn a_list_of_other_skycells_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let list = list::DETECTOR.list_path(root.path());
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(&list, "NAME,projection\n").unwrap();
        let error = write_data_root(root.path(), &Sky::new(Layout::ragged(500, 490), 3)).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Exists, Some(list.as_path())));
        assert!(error.advice().unwrap().contains("--data-root"));
        assert_eq!(fs::read(&list).unwrap(), b"NAME,projection\n");
        assert!(!root.path().join("ps1_skycells_zarr").exists());
    }

    #[test]
    fn the_store_gives_back_pixels_mask_and_header() {
        let root = tempfile::tempdir().unwrap();
        let sky = Sky::new(Layout::ragged(500, 490), 3);
        let written = write_data_root(root.path(), &sky).unwrap();
        let cell = Cell { x: 5, y: 4 };
        let expected = sky.stored(cell, 1, 0..490, 0..500);
        let group = written.store.join("2556").join(cell.name());
        let image = crate::image::read(&group.join("i").to_string_lossy()).unwrap();
        let same = |a: &f32, b: &f32| a == b || (a.is_nan() && b.is_nan());
        assert!(image.pixels.iter().zip(&expected.0).all(|(a, b)| same(a, b)));
        assert_eq!(image.header.text("FPA.FILTERID").unwrap().as_deref(), Some("i.00000"));
        assert_eq!(image.header.text("SKYCELL").unwrap().as_deref(), Some("skycell.2556.045"));
        assert!(image.header.f64("BSOFTEN").unwrap().unwrap() > 50.0);
        let (mask, _) = crate::image::read_mask(&group.join("i_mask").to_string_lossy()).unwrap();
        assert!(mask.iter().zip(&expected.1).all(|(&a, &b)| a == u32::from(b)));
    }
}
