//! The numbers of one image: looked for in the cache, else measured and kept.
//!
//! They are found by the content of the file and, where that is new, by the pixels in it: another header, another
//! compression or a copy in another format changes no number.

use crate::cache::{Cache, Claim, Content, ContentHash, Found, Key, KeyBuilder, Kind, Lookup, Operation, Origin};
use crate::compute::stats::{self, BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::{image, interrupt};
use ndarray::ArrayView2;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// Numbers and the shape of the plane that they are of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known<T> {
    /// Rows and columns.
    pub shape: (usize, usize),
    pub numbers: T,
}

/// Numbers that images have.
pub trait Numbers: Copy + Serialize + DeserializeOwned {
    /// What their measuring depends on beside the pixels.
    type Parameters: Copy + Send + Sync;
    /// Raise the version when the same pixels give other numbers.
    const OPERATION: Operation;

    fn key(builder: KeyBuilder, parameters: Self::Parameters) -> KeyBuilder;

    fn measure(pixels: ArrayView2<f32>, parameters: Self::Parameters) -> Self;
}

impl Numbers for PlaneStats {
    type Parameters = ();
    const OPERATION: Operation = Operation { name: "statistics of a plane", version: 1 };

    fn key(builder: KeyBuilder, (): ()) -> KeyBuilder {
        builder
    }

    fn measure(pixels: ArrayView2<f32>, (): ()) -> Self {
        stats::measure(pixels)
    }
}

impl Numbers for BeamStats {
    /// The response above which pixels are counted.
    type Parameters = f64;
    const OPERATION: Operation = Operation { name: "statistics of a primary beam", version: 1 };

    fn key(builder: KeyBuilder, cut: f64) -> KeyBuilder {
        builder.real("cut", cut)
    }

    fn measure(pixels: ArrayView2<f32>, cut: f64) -> Self {
        stats::measure_beam(pixels, cut)
    }
}

/// An image whose numbers are sought.
#[derive(Clone, Debug)]
pub struct Sought<T: Numbers> {
    /// As it was named.
    pub name: String,
    file: PathBuf,
    pub content: Content,
    parameters: T::Parameters,
    key: Key,
    /// What the cache says.
    pub found: Found<Known<T>>,
}

impl<T: Numbers> Sought<T> {
    /// Looks for the numbers of an image by the content of its file. Nothing is counted yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn look(cache: &Cache, name: &str, parameters: T::Parameters) -> Result<Self> {
        let file = image::input_path(name)?;
        let content = cache.content(&file)?;
        // The HDU is what the name has more than the file.
        let hdu = name.strip_prefix(&*file.to_string_lossy()).unwrap_or(name);
        let builder = T::key(KeyBuilder::new(T::OPERATION), parameters).text("by", "file").text("hdu", hdu);
        let key = builder.input("image", &content.hash).finish();
        let found = cache.find(Kind::Stats, &key);
        Ok(Self { name: name.to_owned(), file, content, parameters, key, found })
    }

    /// Takes it on to measure the image, unless another process is at it.
    pub fn claim(&self, cache: &Cache) -> Option<Claim> {
        cache.claim(&self.key)
    }

    /// Looks again, after another process may have measured the image.
    pub fn look_again(&mut self, cache: &Cache) {
        cache.refresh();
        let again = cache.find(Kind::Stats, &self.key);
        if again.lookup == Lookup::Hit {
            self.found = again;
        }
    }

    /// The numbers that were found, or those of the image, which is read then; counts what came of the search.
    ///
    /// # Errors
    /// If the image cannot be read, or changes while it is.
    pub fn obtain(&mut self, cache: &Cache, claim: Option<Claim>) -> Result<Known<T>> {
        if let Some(known) = self.found.value {
            cache.count(Kind::Stats, &self.key, &self.found);
            return Ok(known);
        }
        interrupt::check()?;
        let started = Instant::now();
        let pixels = image::read(&self.name)?.pixels;
        if !self.content.is_still(&self.file) {
            return Err(Error::new(ErrorKind::Io, "the image changes while it is read")
                .file(&self.file)
                .help("run again when it is written"));
        }
        let shape = pixels.dim();
        let mut measure = || Known { shape, numbers: T::measure(pixels.view(), self.parameters) };
        if self.found.lookup == Lookup::Off {
            return Ok(measure());
        }
        let pixel_hash = ContentHash::of_pixels(pixels.view());
        let builder = T::key(KeyBuilder::new(T::OPERATION), self.parameters).text("by", "pixels");
        let by_pixels = builder.input("pixels", &pixel_hash).finish();
        let same_pixels = cache.find::<Known<T>>(Kind::Stats, &by_pixels);
        let known = same_pixels.value.unwrap_or_else(&mut measure);
        if same_pixels.lookup == Lookup::Hit {
            self.found = same_pixels;
        }
        cache.count(Kind::Stats, &self.key, &self.found);
        let label = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone()).display().to_string();
        let inputs = [self.content.hash];
        let origin = Origin { inputs: &inputs, label: &label, took: started.elapsed(), is_negative: false };
        if same_pixels.lookup != Lookup::Hit {
            cache.put(Kind::Stats, &by_pixels, &known, &origin, None);
        }
        cache.put(Kind::Stats, &self.key, &known, &origin, claim);
        Ok(known)
    }

    /// The most memory that reading the image takes; none where its numbers were found.
    ///
    /// # Errors
    /// As [`image::read_bytes`].
    pub fn read_bytes(&self) -> Result<u64> {
        if self.found.value.is_some() { Ok(0) } else { image::read_bytes(&self.name) }
    }
}
