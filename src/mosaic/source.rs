//! One plane of an image file: known by its content, described once, read by rows.

use crate::cache::{Cache, Content, ContentHash, KeyBuilder, Kind, Operation, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, Header};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What an image is, but for its pixels.
const DESCRIPTION: Operation = Operation { name: "header and shape of an image", version: 1 };

/// The hash of a plane's pixels.
const PIXELS: Operation = Operation { name: "pixels of a plane in strips", version: 1 };

/// Rows that are hashed at once.
const ROWS_AT_ONCE: usize = 256;

/// One plane of an image.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was named.
    pub name: String,
    file: PathBuf,
    content: Content,
    plane: usize,
}

/// The header and the shape of an image.
#[derive(Clone, Debug)]
pub struct Description {
    pub header: Header,
    /// Rows and columns.
    pub shape: (usize, usize),
    pub n_planes: usize,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    cards: Vec<String>,
    shape: (usize, usize),
    n_planes: usize,
}

impl Source {
    /// Finds the file and its content; nothing is read of one that has not changed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(cache: &Cache, path: &Path, plane: usize) -> Result<Self> {
        let name = path.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the name of the file is not UTF-8").file(path).help("rename the file")
        })?;
        let file = image::input_path(name)?;
        let content = cache.content(&file)?;
        Ok(Self { name: name.to_owned(), file, content, plane })
    }

    pub fn hash(&self) -> &ContentHash {
        &self.content.hash
    }

    /// The file or directory.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The same for two names of the same pixels.
    pub fn identity(&self) -> [u8; 32] {
        *self.add_to(KeyBuilder::new(DESCRIPTION)).finish().as_bytes()
    }

    /// The name of the file with its HDU, without the directories.
    pub fn short_name(&self) -> String {
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        format!("{file}{}", self.hdu())
    }

    /// Adds what the pixels depend on to a key.
    pub fn add_to(&self, key: KeyBuilder) -> KeyBuilder {
        key.input("file", self.hash()).text("hdu", self.hdu()).count("plane", self.plane as u64)
    }

    /// The HDU is what the name has more than the file.
    fn hdu(&self) -> &str {
        self.name.strip_prefix(&*self.file.to_string_lossy()).unwrap_or("")
    }

    /// The header and the shape, from the cache where the content is known.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn describe(&self, cache: &Cache) -> Result<Description> {
        let started = Instant::now();
        let key = KeyBuilder::new(DESCRIPTION).input("file", self.hash()).text("hdu", self.hdu()).finish();
        if let Some(stored) = cache.get::<Stored>(Kind::Stats, &key).value
            && let Ok(header) = of_cards(&stored.cards)
        {
            return Ok(Description { header, shape: stored.shape, n_planes: stored.n_planes });
        }
        let (header, shape, n_planes) = image::read_plane_frame(&self.name, 0)?;
        let cards = header.iter().map(|(_, card)| card.to_owned()).collect();
        self.keep(cache, &key, &Stored { cards, shape, n_planes }, started);
        Ok(Description { header, shape, n_planes })
    }

    /// Reads rows, and sees that the file is still the one that is known.
    ///
    /// # Errors
    /// If the image cannot be read, or has changed.
    pub fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>> {
        crate::interrupt::check()?;
        let pixels = image::read_rows(&self.name, self.plane, rows)?;
        if self.content.is_still(&self.file) {
            return Ok(pixels);
        }
        Err(Error::new(ErrorKind::Io, "the image changes while it is read")
            .file(&self.file)
            .help("run again when it is written"))
    }

    /// The hash of all pixels, from the cache where the content is known; the image has `n_rows`.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn pixel_hash(&self, cache: &Cache, n_rows: usize) -> Result<ContentHash> {
        let started = Instant::now();
        let key = self.add_to(KeyBuilder::new(PIXELS)).finish();
        if let Some(parts) = cache.get::<Vec<u8>>(Kind::Stats, &key).value {
            return Ok(ContentHash::of_bytes(&parts));
        }
        let mut parts = Vec::new();
        for start in (0..n_rows).step_by(ROWS_AT_ONCE) {
            let rows = self.rows(start..n_rows.min(start + ROWS_AT_ONCE))?;
            parts.extend_from_slice(ContentHash::of_pixels(rows.view()).as_bytes());
        }
        let parts = ContentHash::of_bytes(&parts).as_bytes().to_vec();
        self.keep(cache, &key, &parts, started);
        Ok(ContentHash::of_bytes(&parts))
    }

    /// Keeps what was found in the file.
    pub fn keep<T: Serialize>(&self, cache: &Cache, key: &crate::cache::Key, value: &T, started: Instant) {
        let inputs = [*self.hash()];
        let label = self.file.display().to_string();
        let origin = Origin { inputs: &inputs, label: &label, took: started.elapsed(), is_negative: false };
        cache.put(Kind::Stats, key, value, &origin, None);
    }

    /// The plane of a companion: its only one where it has no other.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn of_companion(cache: &Cache, path: &Path, plane: usize) -> Result<(Self, Description)> {
        let mut source = Self::find(cache, path, plane)?;
        let description = source.describe(cache)?;
        if description.n_planes == 1 {
            source.plane = 0;
        }
        Ok((source, description))
    }

    /// # Errors
    /// [`ErrorKind::Parameter`] if the plane is not there.
    pub fn check_plane(&self, n_planes: usize) -> Result<()> {
        if self.plane < n_planes {
            return Ok(());
        }
        let what = format!("there is no plane {}: the image has {n_planes}, counted from 0", self.plane);
        Err(Error::new(ErrorKind::Parameter, what).file(&self.file).help("choose a lower --plane"))
    }
}

fn of_cards(cards: &[String]) -> Result<Header> {
    if cards.is_empty() { Ok(Header::new()) } else { Header::from_cards_text(&cards.concat()) }
}
