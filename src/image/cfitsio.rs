//! A thin safe wrapper of the part of CFITSIO that reads images and tables; the only unsafe code of this room.
//!
//! Which HDU to take and what its pixels mean is left to `fits`.

use crate::error::{Error, ErrorKind, Result};
use fitsio::sys;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// CFITSIO's code for a read behind the last HDU.
const END_OF_FILE: c_int = 107;
const READ_ONLY: c_int = 0;
const IMAGE_HDU: c_int = 0;
const TFLOAT: c_int = 42;
const TDOUBLE: c_int = 82;

/// Held by each open file where the linked CFITSIO was built without threads.
static TURN: Mutex<()> = Mutex::new(());
static REENTRANT: LazyLock<bool> = LazyLock::new(|| {
    // SAFETY: the function takes nothing and reads a constant of the library.
    unsafe { sys::fits_is_reentrant() == 1 }
});

/// A FITS file open for reading, at one of its HDUs; closed on drop.
pub(super) struct FitsFile {
    handle: *mut sys::fitsfile,
    path: PathBuf,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// Shape and type of the image in an HDU.
#[derive(Clone, Debug)]
pub(super) struct ImageInfo {
    /// Lengths of the axes, NAXIS1 first.
    pub axes: Vec<i64>,
    /// BITPIX as stored, before BSCALE and BZERO.
    pub bitpix: i32,
    /// Whether the image is tile-compressed.
    pub compressed: bool,
}

/// A pixel type CFITSIO converts to.
pub(super) trait Pixel: Copy {
    const CODE: c_int;
    const MISSING: Self;
}

impl Pixel for f32 {
    const CODE: c_int = TFLOAT;
    const MISSING: Self = f32::NAN;
}

impl Pixel for f64 {
    const CODE: c_int = TDOUBLE;
    const MISSING: Self = f64::NAN;
}

impl FitsFile {
    /// Opens a file by its literal name, compressed as a whole or not.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] with CFITSIO's messages as cause.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let turn = (!*REENTRANT).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|cause| {
            Error::new(ErrorKind::Parameter, "a file name holds a zero byte").file(path).cause(cause)
        })?;
        let mut handle = std::ptr::null_mut();
        let mut status = 0;
        // SAFETY: both pointers are to live locals, the name ends in a zero byte.
        unsafe { sys::ffdkopn(&raw mut handle, name.as_ptr(), READ_ONLY, &raw mut status) };
        if status != 0 || handle.is_null() {
            return Err(failure("open the FITS file", path, status));
        }
        Ok(Self { handle, path: path.to_path_buf(), _turn: turn })
    }

    /// Goes to an HDU, counted from 0; false where the file has no such HDU.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the HDU is there but its header cannot be read.
    pub(super) fn go_to(&mut self, hdu: usize) -> Result<bool> {
        let Some(number) = c_int::try_from(hdu).ok().and_then(|hdu| hdu.checked_add(1)) else { return Ok(false) };
        let mut status = 0;
        // SAFETY: the handle is open; a null type pointer is allowed.
        unsafe { sys::ffmahd(self.handle, number, std::ptr::null_mut(), &raw mut status) };
        if status == END_OF_FILE {
            take_messages();
            return Ok(false);
        }
        self.checked(&format!("read HDU {hdu}"), status).map(|()| true)
    }

    /// The image of this HDU; `None` where it holds a table.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the header makes no sense.
    pub(super) fn image(&mut self) -> Result<Option<ImageInfo>> {
        let (mut status, mut kind, mut naxis, mut bitpix) = (0, 0, 0, 0);
        // SAFETY: the handle is open and the pointers are to live locals; CFITSIO does nothing once status is set.
        let compressed = unsafe {
            sys::ffghdt(self.handle, &raw mut kind, &raw mut status);
            sys::fits_is_compressed_image(self.handle, &raw mut status) == 1
        };
        self.checked("read the type of the HDU", status)?;
        if kind != IMAGE_HDU && !compressed {
            return Ok(None);
        }
        // SAFETY: as above.
        unsafe {
            sys::ffgidm(self.handle, &raw mut naxis, &raw mut status);
            sys::ffgidt(self.handle, &raw mut bitpix, &raw mut status);
        }
        self.checked("read the number of axes", status)?;
        let mut axes = vec![0_i64; usize::try_from(naxis).unwrap_or(0)];
        if naxis > 0 {
            // SAFETY: `axes` has room for the `naxis` lengths.
            unsafe { sys::ffgiszll(self.handle, naxis, axes.as_mut_ptr(), &raw mut status) };
            self.checked("read the lengths of the axes", status)?;
        }
        Ok(Some(ImageInfo { axes, bitpix, compressed }))
    }

    /// All cards of this HDU up to END, 80 bytes each; of a tile-compressed image those of the plain image.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where CFITSIO cannot read them.
    pub(super) fn cards(&mut self) -> Result<Vec<u8>> {
        let mut text: *mut c_char = std::ptr::null_mut();
        let (mut count, mut status) = (0, 0);
        // SAFETY: the handle is open; CFITSIO allocates the text and sets the pointer to it, freed below.
        unsafe {
            sys::ffcnvthdr2str(self.handle, 0, std::ptr::null_mut(), 0, &raw mut text, &raw mut count, &raw mut status);
        }
        let cards = if text.is_null() {
            Vec::new()
        } else {
            // SAFETY: CFITSIO ends the text with a zero byte, and only it may free it.
            unsafe {
                let cards = std::ffi::CStr::from_ptr(text).to_bytes().to_vec();
                let mut ignored = 0;
                sys::fffree(text.cast::<c_void>(), &raw mut ignored);
                cards
            }
        };
        self.checked("read the header", status)?;
        Ok(cards)
    }

    /// Reads `pixels.len()` pixels from `first` (1-based, one number an axis) on, scaled by BSCALE and BZERO.
    ///
    /// With `find_missing` BLANK and undefined pixels become NaN; without it floats come as they are stored.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the data end early or cannot be decoded.
    pub(super) fn read<T: Pixel>(&mut self, first: &mut [i64], pixels: &mut [T], find_missing: bool) -> Result<()> {
        let mut missing = T::MISSING;
        let missing = if find_missing { (&raw mut missing).cast::<c_void>() } else { std::ptr::null_mut() };
        let count = i64::try_from(pixels.len()).expect("a slice has fewer than 2^63 elements");
        let (mut any_missing, mut status) = (0, 0);
        // SAFETY: `first` has a number for each axis, as `image` counted them, and `pixels` has room for `count`
        // pixels of the type CODE names; `missing` is null or points to one such pixel.
        unsafe {
            sys::ffgpxvll(
                self.handle,
                T::CODE,
                first.as_mut_ptr(),
                count,
                missing,
                pixels.as_mut_ptr().cast::<c_void>(),
                &raw mut any_missing,
                &raw mut status,
            );
        }
        self.checked("read the pixels", status)
    }

    /// Number of rows of the table in this HDU; `None` where it holds an image.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the header makes no sense.
    pub(super) fn table_rows(&mut self) -> Result<Option<usize>> {
        if self.image()?.is_some() {
            return Ok(None);
        }
        let (mut n_rows, mut status) = (0, 0);
        // SAFETY: the handle is open at a table and the pointers are to live locals.
        unsafe { sys::ffgnrwll(self.handle, &raw mut n_rows, &raw mut status) };
        self.checked("read the number of rows", status)?;
        Ok(Some(usize::try_from(n_rows).unwrap_or(0)))
    }

    /// Reads numbers of a table's column, counted from 1, beginning at a row, counted from 0; scaled by TSCAL and
    /// TZERO, undefined ones as NaN.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the table ends early or holds no numbers there.
    pub(super) fn read_column(&mut self, column: usize, first_row: usize, numbers: &mut [f64]) -> Result<()> {
        let (Ok(column), Ok(first), Ok(count)) =
            (c_int::try_from(column), i64::try_from(first_row), i64::try_from(numbers.len()))
        else {
            return Err(failure("read the column", &self.path, END_OF_FILE));
        };
        let (mut any_missing, mut status) = (0, 0);
        // SAFETY: the handle is open at a table, and `numbers` has room for `count` of its column's rows.
        unsafe {
            sys::ffgcvd(
                self.handle,
                column,
                first + 1,
                1,
                count,
                f64::NAN,
                numbers.as_mut_ptr(),
                &raw mut any_missing,
                &raw mut status,
            );
        }
        self.checked("read the column", status)
    }

    fn checked(&self, doing: &str, status: c_int) -> Result<()> {
        if status == 0 { Ok(()) } else { Err(failure(doing, &self.path, status)) }
    }
}

impl Drop for FitsFile {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: the handle was opened by CFITSIO and is closed once. A file only read cannot lose anything here.
        unsafe { sys::ffclos(self.handle, &raw mut status) };
        if status != 0 {
            take_messages();
        }
    }
}

/// An error from a CFITSIO status, with the library's messages as cause.
fn failure(doing: &str, path: &Path, status: c_int) -> Error {
    let mut text = [0_u8; 64];
    // SAFETY: CFITSIO writes at most 31 characters and a zero byte.
    unsafe { sys::ffgerr(status, text.as_mut_ptr().cast::<c_char>()) };
    let mut messages = vec![format!("CFITSIO status {status}, {}", until_zero(&text))];
    messages.extend(take_messages());
    // Refused memory counts as damage too: it follows from impossible sizes in the file.
    Error::new(ErrorKind::Damaged, format!("cannot {doing}"))
        .file(path)
        .help("the file is cut short or damaged: fetch it again")
        .cause(messages.join("; "))
}

/// Empties CFITSIO's stack of messages, which all threads share.
fn take_messages() -> Vec<String> {
    let mut messages = Vec::new();
    let mut text = [0_u8; 128];
    // SAFETY: CFITSIO writes at most 80 characters and a zero byte.
    while unsafe { sys::ffgmsg(text.as_mut_ptr().cast::<c_char>()) } != 0 {
        messages.push(until_zero(&text));
    }
    messages
}

fn until_zero(text: &[u8]) -> String {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).trim().to_owned()
}
