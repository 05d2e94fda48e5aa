//! What is written: the image, the maps beside it, and a JSON that says how they came about.

use super::held::{Held, Plane, has_value};
use crate::cache::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::image::fits::RowWriter;
use crate::image::publish::{self, Staged};
use crate::image::{Format, Header};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A map beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    /// The sum of the weights.
    Weight,
    Noise,
    /// The highest response of the tiles that have a vote.
    Pb,
    /// How many tiles have a vote.
    Count,
    /// 1 where the mosaic has a value, else 0.
    Coverage,
    /// The exposures of the tiles that have a vote together, seconds.
    Exptime,
}

impl Map {
    pub const ALL: [Self; 6] = [Self::Weight, Self::Noise, Self::Pb, Self::Count, Self::Coverage, Self::Exptime];

    /// What its file's name has more than that of the image.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Weight => "_weight",
            Self::Noise => "_noise",
            Self::Pb => "_pb",
            Self::Count => "_count",
            Self::Coverage => "_coverage",
            Self::Exptime => "_exptime",
        }
    }

    fn plane(self) -> Plane {
        match self {
            Self::Weight | Self::Coverage => Plane::Weight,
            Self::Noise => Plane::Noise,
            Self::Pb => Plane::Response,
            Self::Count => Plane::Count,
            Self::Exptime => Plane::Exposure,
        }
    }
}

/// Where all outputs go.
#[derive(Clone, Debug)]
pub struct Paths {
    pub image: PathBuf,
    pub maps: Vec<(Map, PathBuf)>,
    pub json: PathBuf,
}

impl Paths {
    /// The outputs of an image `X.fits`: `X_weight.fits` and so on, and `X.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] unless the image is a plain FITS file.
    pub fn of(image: &Path, maps: &BTreeSet<Map>) -> Result<Self> {
        if Format::of(image)? != (Format::Fits { gzip: false }) {
            return Err(Error::new(ErrorKind::Unsupported, "a mosaic is written row by row, as a plain FITS file")
                .file(image)
                .help("end the output's name in .fits"));
        }
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = image.extension().unwrap_or_default().to_string_lossy().into_owned();
        let beside = |map: &Map| (*map, image.with_file_name(format!("{stem}{}.{extension}", map.suffix())));
        Ok(Self {
            image: image.to_path_buf(),
            maps: maps.iter().map(beside).collect(),
            json: image.with_file_name(format!("{stem}.json")),
        })
    }

    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.maps.iter().map(|(_, path)| path.as_path()).chain([self.json.as_path(), self.image.as_path()])
    }

    /// Refuses outputs that are there already.
    ///
    /// # Errors
    /// As [`publish::ensure_free`].
    pub fn ensure_free(&self, overwrite: bool) -> Result<()> {
        self.all().try_for_each(|path| publish::ensure_free(path, overwrite))
    }
}

/// Writes the image and its maps, each on a thread of its own, and says what is in them.
///
/// # Errors
/// If the disk refuses.
pub fn stage_images(
    paths: &Paths,
    held: &Held,
    shape: (usize, usize),
    header: impl Fn(Option<Map>) -> Result<Header> + Sync,
) -> Result<Vec<(Staged, ContentHash)>> {
    let image = (None, &paths.image);
    let all: Vec<_> = paths.maps.iter().map(|(map, path)| (Some(*map), path)).chain([image]).collect();
    let stage = |(map, path): (Option<Map>, &PathBuf)| {
        let mut writer = RowWriter::new(path, header(map)?, shape)?;
        held.each(map.map_or(Plane::Flux, Map::plane), |_, rows| {
            crate::interrupt::check()?;
            if map == Some(Map::Coverage) {
                return writer.push(rows.mapv(|weight| f32::from(u8::from(has_value(weight, 0.0)))).view());
            }
            writer.push(rows)
        })?;
        let staged = writer.finish()?;
        let hash = ContentHash::of_path(staged.path())?;
        Ok((staged, hash))
    };
    all.into_par_iter().map(stage).collect()
}

/// Writes the JSON, and says what is in it.
///
/// # Errors
/// If the disk refuses.
pub fn stage_json(path: &Path, value: &serde_json::Value) -> Result<(Staged, ContentHash)> {
    let text = format!("{value:#}\n");
    let staged = Staged::file(path)?;
    staged
        .open_file()?
        .write_all(text.as_bytes())
        .map_err(|cause| Error::io("write the JSON of the mosaic", path, cause))?;
    Ok((staged, ContentHash::of_bytes(text.as_bytes())))
}
