//! What is written: the image, the maps beside it, and a JSON that says how they came about.

use super::Warning;
use super::held::{Held, Plane, has_value};
use crate::cache::{Cache, ContentHash};
use crate::error::{Error, ErrorKind, Result};
use crate::image::fits::RowWriter;
use crate::image::publish::Staged;
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
}

/// Maps beside the image that this run does not write: they are of another mosaic.
pub struct Earlier {
    /// Those that the JSON of that mosaic names, with the content that it gives them.
    recorded: Vec<(PathBuf, String)>,
    others: Vec<PathBuf>,
}

impl Earlier {
    /// Finds them, before the JSON that tells of them is replaced; inputs are left alone.
    pub fn find(paths: &Paths, cache: &Cache, is_input: impl Fn(&Path) -> bool) -> Self {
        let all = Paths::of(&paths.image, &Map::ALL.into_iter().collect());
        let all = all.map_or_else(|_| Vec::new(), |all| all.maps);
        let is_written = |map: &Map| paths.maps.iter().any(|(written, _)| written == map);
        let is_left = |(map, path): &(Map, PathBuf)| !is_written(map) && path.exists() && !is_input(path);
        let there = all.into_iter().filter(is_left).map(|(_, path)| path);
        let mut earlier = Self { recorded: Vec::new(), others: Vec::new() };
        let record: serde_json::Value =
            std::fs::read(&paths.json).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let is_ours = record["program"].as_str().is_some_and(|name| name.starts_with(env!("CARGO_PKG_NAME")));
        let outputs = record["outputs"].as_array().filter(|_| is_ours);
        for path in there {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let recorded = outputs.into_iter().flatten().find(|output| output["path"] == *name);
            match recorded.and_then(|output| output["content_hash"].as_str()) {
                Some(hash) if has_content(cache, &path, hash) => earlier.recorded.push((path, hash.to_owned())),
                _ => earlier.others.push(path),
            }
        }
        earlier
    }

    /// Removes what the other mosaic wrote and nobody has changed, and says what is left.
    pub fn remove(self, cache: &Cache) -> Vec<Warning> {
        let mut left = self.others;
        for (path, hash) in self.recorded {
            if !has_content(cache, &path, &hash) || std::fs::remove_file(&path).is_err() {
                left.push(path);
            }
        }
        let warning = |path: PathBuf| Warning {
            code: "other-map".into(),
            tile: None,
            text: format!("{} is not of this mosaic: remove it, or write it with --maps", path.display()),
        };
        left.into_iter().map(warning).collect()
    }
}

fn has_content(cache: &Cache, path: &Path, hash: &str) -> bool {
    cache.content(path).is_ok_and(|content| content.hash.to_string() == hash)
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
