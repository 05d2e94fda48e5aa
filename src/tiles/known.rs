//! The numbers of one image: looked for in the cache, else measured and kept.
//!
//! They are found by the content of the file and, where that is new, by the pixels in it: another header, another
//! compression or a copy in another format changes no number.

use super::measurer::Measurer;
use super::sky::{BadSky, TileSky};
use crate::cache::{Cache, Claim, Content, ContentHash, Found, Key, KeyBuilder, Kind, Lookup, Operation, Origin};
use crate::compute::stats::{BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, Image};
use crate::interrupt;
use ndarray::ArrayView2;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// What is known of an image: its shape, its numbers, and its place on the sky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known<T> {
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Planes that the image has; one of them was measured.
    pub n_planes: usize,
    /// BUNIT of the header.
    pub unit: Option<String>,
    pub numbers: T,
    pub sky: Result<Option<TileSky>, BadSky>,
}

/// Numbers that images have.
pub trait Numbers: Copy + Serialize + DeserializeOwned {
    /// Whether an image of one plane has it in place of any other plane.
    const SHARES_PLANE: bool;
    /// What their measuring depends on beside the pixels.
    type Parameters: Copy + Send + Sync;
    /// Raise the version when the same pixels give other numbers.
    const OPERATION: Operation;

    fn key(builder: KeyBuilder, parameters: Self::Parameters) -> KeyBuilder;

    /// # Errors
    /// If a graphics card fails.
    fn measure(measurer: &Measurer, pixels: ArrayView2<f32>, parameters: Self::Parameters) -> Result<Self>;
}

impl Numbers for PlaneStats {
    const SHARES_PLANE: bool = false;
    type Parameters = ();
    const OPERATION: Operation = Operation { name: "statistics of a plane", version: 1 };

    fn key(builder: KeyBuilder, (): ()) -> KeyBuilder {
        builder
    }

    fn measure(measurer: &Measurer, pixels: ArrayView2<f32>, (): ()) -> Result<Self> {
        measurer.plane(pixels)
    }
}

impl Numbers for BeamStats {
    /// The response of one plane is that of all channels where no other is given.
    const SHARES_PLANE: bool = true;
    /// The response above which pixels are counted.
    type Parameters = f64;
    const OPERATION: Operation = Operation { name: "statistics of a primary beam", version: 1 };

    fn key(builder: KeyBuilder, cut: f64) -> KeyBuilder {
        builder.real("cut", cut)
    }

    fn measure(measurer: &Measurer, pixels: ArrayView2<f32>, cut: f64) -> Result<Self> {
        measurer.beam(pixels, cut)
    }
}

/// An image whose numbers are sought.
#[derive(Clone, Debug)]
pub struct Sought<T: Numbers> {
    /// As it was named.
    pub name: String,
    file: PathBuf,
    pub content: Content,
    /// Which plane of the image; of a primary beam with one plane, that.
    plane: usize,
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
    pub fn look(cache: &Cache, name: &str, plane: usize, parameters: T::Parameters, backend: &str) -> Result<Self> {
        let file = image::input_path(name)?;
        let content = cache.content(&file)?;
        // The HDU is what the name has more than the file.
        let hdu = name.strip_prefix(&*file.to_string_lossy()).unwrap_or(name);
        let builder = Self::builder(parameters, backend).text("hdu", hdu).count("plane", plane as u64);
        let key = builder.input("file", &content.hash).finish();
        let found = cache.find(Kind::Stats, &key);
        Ok(Self { name: name.to_owned(), file, content, plane, parameters, key, found })
    }

    /// Back ends differ in the last digits: each has its own numbers.
    fn builder(parameters: T::Parameters, backend: &str) -> KeyBuilder {
        T::key(KeyBuilder::new(T::OPERATION), parameters).text("backend", backend)
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

    /// What was found, or what the image shows, which is read then; counts what came of the search.
    ///
    /// # Errors
    /// If the image cannot be read, or changes while it is, or a graphics card fails.
    pub fn obtain(&mut self, cache: &Cache, measurer: &Measurer, claim: Option<Claim>) -> Result<Known<T>> {
        if let Some(known) = self.found.value.take() {
            cache.count(Kind::Stats, &self.key, &self.found);
            return Ok(known);
        }
        interrupt::check()?;
        let started = Instant::now();
        let (Image { pixels, header }, n_planes) = self.read()?;
        if !self.content.is_still(&self.file) {
            return Err(Error::new(ErrorKind::Io, "the image changes while it is read")
                .file(&self.file)
                .help("run again when it is written"));
        }
        let unit = header.text("BUNIT").ok().flatten();
        let (shape, sky) = (pixels.dim(), TileSky::of(&header, pixels.dim()).map_err(|error| BadSky::new(&error)));
        if self.found.lookup == Lookup::Off {
            let numbers = T::measure(measurer, pixels.view(), self.parameters)?;
            return Ok(Known { shape, n_planes, unit, numbers, sky });
        }
        let pixel_hash = ContentHash::of_pixels(pixels.view());
        let by_pixels = Self::builder(self.parameters, &measurer.backend()).input("pixels", &pixel_hash).finish();
        let same_pixels = cache.find::<T>(Kind::Stats, &by_pixels);
        let numbers = match same_pixels.value {
            Some(numbers) => numbers,
            None => T::measure(measurer, pixels.view(), self.parameters)?,
        };
        let label = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone()).display().to_string();
        let inputs = [self.content.hash, pixel_hash];
        let origin = Origin { inputs: &inputs, label: &label, took: started.elapsed(), is_negative: false };
        if same_pixels.lookup == Lookup::Hit {
            let saved = same_pixels.saved.saturating_sub(started.elapsed());
            self.found = Found { lookup: Lookup::Hit, value: None, saved };
        } else {
            cache.put(Kind::Stats, &by_pixels, &numbers, &origin, None);
        }
        cache.count(Kind::Stats, &self.key, &self.found);
        let known = Known { shape, n_planes, unit, numbers, sky };
        cache.put(Kind::Stats, &self.key, &known, &origin, claim);
        Ok(known)
    }

    fn read(&self) -> Result<(Image, usize)> {
        match image::read_plane(&self.name, self.plane) {
            Err(error) if T::SHARES_PLANE && error.kind() == ErrorKind::Parameter => {
                image::read_plane(&self.name, 0).and_then(|read| if read.1 == 1 { Ok(read) } else { Err(error) })
            }
            read => read,
        }
    }

    /// The most memory that reading the image takes; none where its numbers were found.
    ///
    /// # Errors
    /// As [`image::read_bytes`].
    pub fn read_bytes(&self) -> Result<u64> {
        if self.found.value.is_some() { Ok(0) } else { image::read_bytes(&self.name) }
    }
}
