//! An image that is to be resampled: its header at once, its pixels when they are needed.

use crate::cache::{Cache, Content, ContentHash, KeyBuilder, Kind, Operation, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, Header, Image};
use crate::wcs::Wcs;
use ndarray::Array2;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The hash of the pixels of a plane of a file, by the content of the file.
const PIXELS_OF_FILE: Operation = Operation { name: "pixels of a file", version: 1 };

/// An image whose pixels are read when they are needed, once.
#[derive(Debug)]
pub struct Source<'c> {
    pub(super) cache: &'c Cache,
    name: String,
    file: PathBuf,
    /// `None` without a cache: then nothing is looked for.
    content: Option<Content>,
    plane: usize,
    header: Header,
    wcs: Wcs,
    shape: (usize, usize),
    n_planes: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    pixels: Option<Arc<Array2<f32>>>,
    hash: Option<ContentHash>,
}

impl<'c> Source<'c> {
    /// Opens a plane of an image, as [`image::read_plane`] takes it; pixels are not read.
    ///
    /// # Errors
    /// Those of reading the header; [`ErrorKind::Missing`] without a celestial WCS in it; [`ErrorKind::Parameter`] for a
    /// plane that is not there.
    pub fn open(cache: &'c Cache, name: &str, plane: usize) -> Result<Self> {
        let file = image::input_path(name)?;
        let content = if cache.is_off() { None } else { Some(cache.content(&file)?) };
        let (header, shape, n_planes) = image::read_plane_frame(name, plane)?;
        let wcs = Wcs::from_header(&header).map_err(|error| error.file(name))?;
        let held = Mutex::default();
        Ok(Self { cache, name: name.to_owned(), file, content, plane, header, wcs, shape, n_planes, held })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn wcs(&self) -> &Wcs {
        &self.wcs
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Planes that the image has.
    pub fn n_planes(&self) -> usize {
        self.n_planes
    }

    /// What a result's entry in the cache says it comes from.
    pub(super) fn inputs(&self) -> Vec<ContentHash> {
        self.content.iter().map(|content| content.hash).collect()
    }

    /// The pixels; NaN means missing.
    ///
    /// # Errors
    /// Those of [`image::read_plane`]; [`ErrorKind::Io`] if the file changed since it was opened.
    pub fn pixels(&self) -> Result<Arc<Array2<f32>>> {
        self.read(&mut self.held())
    }

    /// Gives the memory of the pixels back; they are read again if they are needed.
    pub fn forget_pixels(&self) {
        self.held().pixels = None;
    }

    /// Whether the pixels are in memory.
    pub fn has_pixels(&self) -> bool {
        self.held().pixels.is_some()
    }

    /// The hash of the pixels: known by the content of the file, else they are read.
    ///
    /// # Errors
    /// As [`Self::pixels`].
    pub fn pixel_hash(&self) -> Result<ContentHash> {
        let mut held = self.held();
        if let Some(hash) = held.hash {
            return Ok(hash);
        }
        let key = self.content.as_ref().map(|content| {
            // The HDU is what the name has more than the file.
            let hdu = self.name.strip_prefix(&*self.file.to_string_lossy()).unwrap_or(&self.name);
            let builder = KeyBuilder::new(PIXELS_OF_FILE).text("hdu", hdu).count("plane", self.plane as u64);
            builder.input("file", &content.hash).finish()
        });
        let known = key.and_then(|key| self.cache.find::<[u8; 32]>(Kind::Fingerprint, &key).value);
        let hash = match known {
            Some(known) => ContentHash::from(known),
            None => {
                let started = Instant::now();
                let hash = ContentHash::of_pixels(self.read(&mut held)?.view());
                if let Some(key) = key {
                    let (inputs, took) = (self.inputs(), started.elapsed());
                    let origin = Origin { inputs: &inputs, label: &self.name, took, is_negative: false };
                    self.cache.put(Kind::Fingerprint, &key, hash.as_bytes(), &origin, None);
                }
                hash
            }
        };
        held.hash = Some(hash);
        Ok(hash)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // What is held is whole at any time.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, held: &mut Held) -> Result<Arc<Array2<f32>>> {
        if let Some(pixels) = &held.pixels {
            return Ok(Arc::clone(pixels));
        }
        let (Image { pixels, .. }, _) = image::read_plane(&self.name, self.plane)?;
        if self.content.as_ref().is_some_and(|content| !content.is_still(&self.file)) || pixels.dim() != self.shape {
            return Err(Error::new(ErrorKind::Io, "the image changes while it is read")
                .file(&self.file)
                .help("run again when it is written"));
        }
        let pixels = Arc::new(pixels);
        held.pixels = Some(Arc::clone(&pixels));
        Ok(pixels)
    }
}
