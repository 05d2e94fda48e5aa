//! What lies beside a tile, found by the end of the tile's name: its primary beam, its noise map, and the image corrected
//! for the primary beam.
//!
//! | tile | primary beam | written by |
//! |---|---|---|
//! | `X-image.fits`, `X-image-pb.fits` | `X-beam-0.fits` | WSClean |
//! | `X.image.fits`, `X.image.pbcor.fits`, `X.pbcor.fits` | `X.pb.fits` | CASA |
//! | any `X.fits` | `X.pb.fits` | |
//!
//! The corrected image of `X-image.fits` is `X-image-pb.fits`, that of `X.image.fits` is `X.pbcor.fits` or
//! `X.image.pbcor.fits`, and that of any `X.fits` is `X.pbcor.fits`.
//!
//! The first that is there counts. Compressed files and Zarr arrays follow the same rules with their own endings.
//!
//! A map of the noise of `X.fits` is `X.noiseMap.fits`, `X_rms.fits`, `X-rms.fits` or `X.rms.fits`. Tiles named
//! `X-image-pb`, `X.image.pbcor` and `X.pbcor` were divided by their primary beam, `X-image` and `X.image` were not.

use std::path::{Path, PathBuf};

/// Ends of a tile's name, and that of its primary beam.
const ENDINGS: [(&str, &str); 6] = [
    ("-image-pb", "-beam-0"),
    ("-image", "-beam-0"),
    (".image.pbcor", ".pb"),
    (".pbcor", ".pb"),
    (".image", ".pb"),
    ("", ".pb"),
];

/// Ends of a tile's name, and that of the same image corrected for the primary beam.
const CORRECTED_ENDINGS: [(&str, &str); 4] =
    [("-image", "-image-pb"), (".image", ".pbcor"), (".image", ".image.pbcor"), ("", ".pbcor")];

/// The primary beam that lies beside a tile; never the tile itself.
///
/// An HDU that the tile's name chooses is left out: a primary beam is the first image of its file.
pub fn find(tile: &Path) -> Option<PathBuf> {
    beside(tile, &ENDINGS)
}

/// Ends that the name of a noise map adds to that of its tile.
const NOISE_ENDINGS: [(&str, &str); 4] = [("", ".noiseMap"), ("", "_rms"), ("", "-rms"), ("", ".rms")];

/// The map of a tile's noise that lies beside it.
pub fn find_noise(tile: &Path) -> Option<PathBuf> {
    beside(tile, &NOISE_ENDINGS)
}

/// The same image corrected for the primary beam, where it lies beside a tile; never the tile itself.
pub fn find_corrected(tile: &Path) -> Option<PathBuf> {
    beside(tile, &CORRECTED_ENDINGS)
}

/// All primary beams and noise maps that lie beside a tile, also those that another one goes before.
pub fn all(tile: &Path) -> Vec<PathBuf> {
    [all_beside(tile, &ENDINGS), all_beside(tile, &NOISE_ENDINGS)].concat()
}

/// Whether the name is that of a map of a tile's noise or mean, with or without the tile.
pub fn is_map(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = &name[..name.len() - extension_length(&name)];
    [".noiseMap", ".meanMap"].iter().any(|end| stem.ends_with(end))
}

/// Whether a tile was divided by its primary beam, as far as its name says so.
pub fn is_corrected(tile: &Path) -> Option<bool> {
    let file = tile.to_str().and_then(|tile| crate::image::input_path(tile).ok());
    let name = file.as_deref().unwrap_or(tile).file_name()?.to_str()?.to_ascii_lowercase();
    let stem = &name[..name.len() - extension_length(&name)];
    match stem {
        _ if [".pbcor", "-image-pb"].iter().any(|end| stem.ends_with(end)) => Some(true),
        _ if [".image", "-image"].iter().any(|end| stem.ends_with(end)) => Some(false),
        _ => None,
    }
}

fn beside(tile: &Path, endings: &'static [(&str, &str)]) -> Option<PathBuf> {
    let file = if tile.exists() { tile.to_path_buf() } else { crate::image::input_path(tile.to_str()?).ok()? };
    let name = file.file_name()?.to_str()?;
    names(name, endings).map(|name| file.with_file_name(name)).find(|path| path.exists())
}

fn all_beside(tile: &Path, endings: &'static [(&str, &str)]) -> Vec<PathBuf> {
    let Some(name) = tile.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    names(name, endings).map(|name| tile.with_file_name(name)).filter(|path| path.exists()).collect()
}

/// Names that a companion of a tile may have, first choice first.
fn names(tile: &str, endings: &'static [(&str, &str)]) -> impl Iterator<Item = String> {
    let (stem, extension) = tile.split_at(tile.len() - extension_length(tile));
    endings.iter().filter_map(move |(end, of_beam)| {
        let front = stem.strip_suffix(end).filter(|front| !front.is_empty())?;
        Some(format!("{front}{of_beam}{extension}"))
    })
}

/// Length of what says which format a file has, as `.fits.gz`.
fn extension_length(name: &str) -> usize {
    let name = name.to_ascii_lowercase();
    let packed = [".gz", ".fz", ".bz2"].iter().find(|end| name.ends_with(**end)).map_or(0, |end| end.len());
    let stem = &name[..name.len() - packed];
    match [".fits", ".fit", ".fts", ".zarr"].iter().find(|end| stem.ends_with(**end)) {
        Some(end) => end.len() + packed,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_name_decides_and_a_tile_is_never_its_own_beam() {
        let found = |tile: &str| names(tile, &ENDINGS).collect::<Vec<_>>();
        assert_eq!(found("a-MFS-image-pb.fits"), ["a-MFS-beam-0.fits", "a-MFS-image-pb.pb.fits"]);
        assert_eq!(found("img-image-b-image.FITS.gz"), ["img-image-b-beam-0.FITS.gz", "img-image-b-image.pb.FITS.gz"]);
        assert_eq!(found("a.image.pbcor.fits"), ["a.pb.fits", "a.image.pb.fits", "a.image.pbcor.pb.fits"]);
        assert_eq!(found("a.image.zarr"), ["a.pb.zarr", "a.image.pb.zarr"]);
        assert_eq!(found("a.pb.fits"), ["a.pb.pb.fits"]);
        assert_eq!(found("skycell.2556.080_data"), ["skycell.2556.080_data.pb"]);
        assert!(found(".fits").is_empty());
    }

    #[test]
    fn names_tell_corrected_tiles_from_others() {
        let told = |name: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            is_corrected(&path)
        };
        for name in ["a-image-pb.fits", "a-MFS-image-pb.fits.gz", "a.image.pbcor.fits", "a.pbcor.FITS", "a.pbcor"] {
            assert_eq!(told(name), Some(true), "{name}");
        }
        assert_eq!([told("a-image.fits"), told("a.image.fits"), told("image.fits")], [Some(false), Some(false), None]);
    }

    #[test]
    fn a_noise_map_is_named_after_its_tile() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["epoch01.fits", "epoch01.noiseMap.fits", "a.fits.gz", "a_rms.fits.gz", "b.fits"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |name: &str| find_noise(&dir.path().join(name));
        assert_eq!(found("epoch01.fits"), Some(dir.path().join("epoch01.noiseMap.fits")));
        assert_eq!(found("a.fits.gz[1]"), Some(dir.path().join("a_rms.fits.gz")));
        assert_eq!([found("b.fits"), found("a_rms.fits.gz")], [None, None]);
        std::fs::write(dir.path().join("epoch01_rms.fits"), "").unwrap();
        assert_eq!(all(&dir.path().join("epoch01.fits")).len(), 2, "both maps");
        let is_map = |name: &str| is_map(Path::new(name));
        assert!(is_map("epoch01.noiseMap.fits") && is_map("gone.meanMap.fits.gz") && !is_map("a_rms.fits"));
    }

    #[test]
    fn a_corrected_image_is_known_by_the_end_of_its_name() {
        let found = |tile: &str| names(tile, &CORRECTED_ENDINGS).collect::<Vec<_>>();
        assert_eq!(found("a-MFS-image.fits.gz"), ["a-MFS-image-pb.fits.gz", "a-MFS-image.pbcor.fits.gz"]);
        assert_eq!(found("a.image.fits"), ["a.pbcor.fits", "a.image.pbcor.fits", "a.image.pbcor.fits"]);
        assert_eq!(is_corrected(Path::new("a-image-pb-image.fits")), Some(false));
        // The end of a directory's name says nothing.
        assert_eq!(is_corrected(Path::new("x.pbcor/a.fits")), None);
    }

    #[test]
    fn the_first_file_that_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-image.fits", "a-image.pb.fits", "b.fits"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let tile = dir.path().join("a-image.fits");
        assert_eq!(find(&tile), Some(dir.path().join("a-image.pb.fits")));
        std::fs::write(dir.path().join("a-beam-0.fits"), "").unwrap();
        assert_eq!(find(&dir.path().join("a-image.fits[0]")), Some(dir.path().join("a-beam-0.fits")));
        assert_eq!(find(&dir.path().join("b.fits")), None);
    }
}
