//! The files of a run, each taken, kept, skipped or refused, on several threads within the memory budget.

use super::identity::{self, ArrayId, Kind};
use super::{Options, pixels, spelt, target};
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::interrupt;
use crate::ps1::budget::{Budget, Charge};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file and the array it is.
pub(super) struct Item<'a> {
    pub index: usize,
    pub file: &'a Path,
    pub id: ArrayId,
}

/// What became of a file.
pub(super) enum Outcome {
    Written { warning: Option<String> },
    Kept,
    Skipped(String),
    Rejected(Error),
    Left,
}

/// Files of one band of one skycell, done one after the other: image, mask, variance.
pub(super) type Unit<'a> = Vec<Item<'a>>;

/// What became of files, each by its index.
pub(super) type Outcomes = Vec<(usize, Outcome)>;

pub(super) struct Work<'a> {
    pub store: &'a Path,
    pub options: &'a Options,
    pub budget: &'a Arc<Budget>,
    pub budget_bytes: u64,
}

impl Work<'_> {
    /// Does all units on threads of their own: a thread of the pool that waits for memory would hold up the
    /// encoding of the very array that has the memory.
    ///
    /// # Errors
    /// If the store cannot be written; what is done by then stays.
    pub(super) fn all(&self, units: &[Unit]) -> Result<Outcomes> {
        let next = AtomicUsize::new(0);
        let state = Mutex::new((Vec::new(), None));
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = || {
            while lock().1.is_none()
                && let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed))
            {
                match self.unit(unit) {
                    Ok(outcomes) => lock().0.extend(outcomes),
                    Err(error) => lock().1 = Some(error),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.n_workers(units.len()) {
                scope.spawn(worker);
            }
        });
        let (outcomes, failure) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(outcomes), Err)
    }

    /// No more than whole skycells fit the budget, as it lets two files through whatever their size.
    fn n_workers(&self, n_units: usize) -> usize {
        let fitting = usize::try_from(self.budget_bytes / SKYCELL_BYTES).unwrap_or(usize::MAX);
        self.options.n_threads.min(n_units).min(fitting).max(1)
    }

    fn unit(&self, unit: &Unit) -> Result<Outcomes> {
        let mut outcomes = Vec::with_capacity(unit.len());
        let mut shape = self.shape_of_others(unit);
        let mut first: Option<&Item> = None;
        for item in unit {
            let outcome = match first.filter(|first| first.id.kind == item.id.kind) {
                Some(first) => Ok(repeated(first, item)),
                None => self.file(item, &mut shape),
            };
            let outcome = match outcome {
                Err(error) if error.kind() == ErrorKind::Interrupted => Outcome::Left,
                other => other?,
            };
            // A file that was refused does not stand in the way of another of the same array.
            if !matches!(outcome, Outcome::Rejected(_)) && first.is_none_or(|first| first.id.kind != item.id.kind) {
                first = Some(item);
            }
            outcomes.push((item.index, outcome));
        }
        Ok(outcomes)
    }

    /// The shape of arrays of this band that are there and that no file of this run is to replace.
    fn shape_of_others(&self, unit: &Unit) -> Option<Shape> {
        let id = &unit.first()?.id;
        let group = target::group_of(self.store, &id.cell);
        [Kind::Image, Kind::Mask, Kind::Variance]
            .into_iter()
            .filter(|kind| unit.iter().all(|item| item.id.kind != *kind))
            .find_map(|kind| {
                let name = ArrayId { kind, ..id.clone() }.array_name();
                target::existing(&group.join(&name)).map(|found| Shape { of: name, shape: found.shape })
            })
    }

    /// Takes one file. What is wrong with the file is an outcome; what is wrong with the store is an error.
    fn file(&self, item: &Item, shape: &mut Option<Shape>) -> Result<Outcome> {
        interrupt::check()?;
        let name = item.id.array_name();
        let there = target::existing(&target::group_of(self.store, &item.id.cell).join(&name));
        let taken = target::hash(item.file).and_then(|source| match there {
            Some(there) if !self.options.overwrite && there.source.as_ref() == Some(&source) => {
                Shape::agree(shape, &name, there.shape).map(|()| None)
            }
            _ => self.load(item, &name, shape).map(|loaded| Some((source, loaded))),
        });
        match taken {
            Ok(None) => Ok(Outcome::Kept),
            Ok(Some((source, (stored, warning, _charge)))) => {
                target::write(self.store, &item.id, &stored, &source, item.file)?;
                Ok(Outcome::Written { warning })
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => Ok(Outcome::Rejected(error)),
        }
    }

    /// Reads a file as soon as its pixels fit the memory budget.
    fn load(
        &self,
        item: &Item,
        name: &str,
        shape: &mut Option<Shape>,
    ) -> Result<(pixels::Stored, Option<String>, Charge)> {
        let charge = |bytes: u64| self.budget.charge(bytes.min(MOST_CHARGED_BYTES), &interrupt::check);
        // CFITSIO holds a gzipped file decompressed even while only its header is read.
        let early = gunzipped_bytes(item.file)?
            .map(|bytes| charge(bytes.saturating_mul(GUNZIPPED_BYTES_PER_BYTE)))
            .transpose()?;
        let header = crate::image::read_header(spelt(item.file)?)?;
        let coding = pixels::coding(&header, item.id.kind, self.options.linear)?;
        let n_pixels = shape_of(&header)?;
        let charge = match early {
            Some(early) => early,
            None => charge(BYTES_PER_PIXEL.saturating_mul(n_pixels.0 as u64).saturating_mul(n_pixels.1 as u64))?,
        };
        Shape::agree(&mut shape.clone(), name, n_pixels)?;
        let stored = pixels::read(item.file, coding)?;
        // Only a file that could be read sets the shape.
        Shape::agree(shape, name, n_pixels)?;
        Ok((stored, identity::disagreement(&header, &item.id), charge))
    }
}

/// Memory for one pixel: f32, or a mask as read (u32) and as stored (u16).
const BYTES_PER_PIXEL: u64 = 6;
/// Memory for the largest skycell of the tessellation, 6501 x 6429 px.
const SKYCELL_BYTES: u64 = 6501 * 6429 * BYTES_PER_PIXEL;
/// Memory for one byte of a gzipped file: 16-bit pixels, themselves and six bytes each as above.
const GUNZIPPED_BYTES_PER_BYTE: u64 = 4;
/// Sizes that a damaged header claims must not overflow the budget's sum.
const MOST_CHARGED_BYTES: u64 = 1 << 48;

/// The shape that the arrays of a band have in common, and which of them set it.
#[derive(Clone)]
struct Shape {
    of: String,
    shape: (usize, usize),
}

impl Shape {
    /// Compares with what is known, or sets it.
    fn agree(known: &mut Option<Self>, name: &str, (ny, nx): (usize, usize)) -> Result<()> {
        let known = known.get_or_insert_with(|| Self { of: name.to_owned(), shape: (ny, nx) });
        if known.shape == (ny, nx) {
            return Ok(());
        }
        let what = format!("{name} is {nx} x {ny} px, {} is {} x {} px", known.of, known.shape.1, known.shape.0);
        Err(Error::new(ErrorKind::Shape, what).help("give image, mask and variance of the same cut-out together"))
    }
}

/// A second file of an array: skipped if it is the same bytes, else refused.
fn repeated(first: &Item, item: &Item) -> Outcome {
    match (target::hash(first.file), target::hash(item.file)) {
        (Ok(a), Ok(b)) if a == b => Outcome::Skipped(format!("the same bytes as {}", first.file.display())),
        (_, Err(error)) => Outcome::Rejected(error),
        _ => {
            let array = format!("{}/{}", item.id.cell.name, item.id.array_name());
            let what = format!("{array} is already given by {}", first.file.display());
            Outcome::Rejected(Error::new(ErrorKind::Parameter, what).help("leave out one of the two files"))
        }
    }
}

/// (ny, nx) of the image a header is about.
fn shape_of(header: &Header) -> Result<(usize, usize)> {
    let length = |key: &str| Ok::<_, Error>(header.i64(key)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0));
    match (length("NAXIS2")?, length("NAXIS1")?) {
        (0, _) | (_, 0) => Err(Error::new(ErrorKind::Shape, "NAXIS1 and NAXIS2 are not the sides of an image")
            .help("leave the file out, or fetch it again")),
        shape => Ok(shape),
    }
}

/// Bytes of a gzipped file without its compressed content: the header and the trailer (RFC 1952, section 2.2).
const GZIP_LEAST_BYTES: u64 = 10 + 8;

/// Length of a gzipped file's content, modulo 2^32, as its last four bytes say; `None` for other files.
fn gunzipped_bytes(file: &Path) -> Result<Option<u64>> {
    let refused = |cause| Error::io("read the file", file, cause);
    let mut open = std::fs::File::open(file).map_err(refused)?;
    let mut magic = Vec::new();
    open.by_ref().take(2).read_to_end(&mut magic).map_err(refused)?;
    if magic != *b"\x1f\x8b" {
        return Ok(None);
    }
    let n_bytes = open.metadata().map_err(refused)?.len();
    if n_bytes < GZIP_LEAST_BYTES {
        return Err(Error::new(ErrorKind::Damaged, format!("the gzipped file ends after {n_bytes} bytes"))
            .file(file)
            .help("fetch the file again"));
    }
    let mut length = Vec::new();
    open.seek(SeekFrom::End(-4)).and_then(|_| open.read_to_end(&mut length)).map_err(refused)?;
    Ok(<[u8; 4]>::try_from(length).ok().map(|bytes| u64::from(u32::from_le_bytes(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_shape_holds_for_the_others() {
        let mut known = None;
        Shape::agree(&mut known, "i", (3, 4)).unwrap();
        Shape::agree(&mut known, "i_mask", (3, 4)).unwrap();
        let refusal = Shape::agree(&mut known, "i_wt", (4, 3)).unwrap_err();
        assert_eq!(refusal.to_string(), "i_wt is 3 x 4 px, i is 4 x 3 px");
    }

    #[test]
    fn a_gzipped_file_tells_how_long_its_content_is() {
        use std::io::Write;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file.reopen().unwrap(), flate2::Compression::fast());
        encoder.write_all(&[7; 12_345]).unwrap();
        encoder.finish().unwrap();
        assert_eq!(gunzipped_bytes(file.path()).unwrap(), Some(12_345));
        std::fs::write(file.path(), "SIMPLE  =").unwrap();
        assert_eq!(gunzipped_bytes(file.path()).unwrap(), None);
        std::fs::write(file.path(), "").unwrap();
        assert_eq!(gunzipped_bytes(file.path()).unwrap(), None);
    }

    #[test]
    fn a_gzipped_file_cut_short_is_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for n_bytes in [2, 3, 17] {
            std::fs::write(file.path(), &b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..n_bytes]).unwrap();
            let error = gunzipped_bytes(file.path()).unwrap_err();
            assert_eq!((error.kind(), error.path()), (ErrorKind::Damaged, Some(file.path())), "{n_bytes}");
            assert!(error.advice().is_some());
        }
    }
}
