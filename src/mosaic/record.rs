//! How a mosaic came about: the cards of its header, the JSON beside it, and what the cache knows of it.

use super::grid::Grid;
use super::held::Held;
use super::outputs::{Map, Paths};
use super::pieces::{Placed, Placement};
use super::postcheck::PostCheck;
use super::source::Source;
use super::tile::{BeamSource, Files, Noise, NoiseSource, Response};
use super::{Options, Pieces, Report, Warning};
use crate::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Operation, Origin};
use crate::compute::coadd::Form;
use crate::error::{Error, Result};
use crate::image::Header;
use crate::image::fits::PROGRAM;
use crate::ps1::Rejected;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Raise the version when the same files and options give other outputs.
const MOSAIC: Operation = Operation { name: "mosaic", version: 4 };

/// Digits of a content hash in a header card.
const SHORT_HASH: usize = 16;

/// What the cache knows of a mosaic that was made.
#[derive(Serialize, Deserialize)]
pub struct Known {
    /// Contents of the outputs, in the order of [`Paths::all`].
    outputs: Vec<[u8; 32]>,
    json: String,
    n_tiles: usize,
    rejected: Vec<(String, String, Option<String>)>,
    warnings: Vec<Warning>,
}

/// The key of a mosaic: the contents of all files, the names that it tells, the inputs that are no files, the options, and
/// where it goes.
///
/// The last is no matter of its content; but what lies in one place says nothing of another.
///
/// # Errors
/// If the output has no place.
pub fn key(
    files: &[Files],
    template: Option<&Source>,
    rejected: &[Rejected],
    options: &Options,
    paths: &Paths,
) -> Result<Key> {
    let mut key = KeyBuilder::new(MOSAIC).text("program", PROGRAM).count("tiles", files.len() as u64);
    for tile in files {
        key = tile.image.add_to(key.text("name", &tile.image.short_name()));
        for (what, companion) in [("primary beam", &tile.response), ("noise map", &tile.noise)] {
            key = key.text("companion", what).count("is there", u64::from(companion.is_some()));
            if let Some(source) = companion {
                key = source.add_to(key.text("name", &source.short_name()));
            }
        }
    }
    if let Some(template) = template {
        key = template.add_to(key.text("template", &template.short_name()));
    }
    key = key.count("rejected", rejected.len() as u64);
    for Rejected { name, reason, .. } in rejected {
        key = key.text("rejected", name).text("reason", reason);
    }
    let output = std::path::absolute(&paths.image)
        .map_err(|cause| Error::io("find the output's directory", &paths.image, cause))?;
    let choices = choices(options);
    Ok(key.text("options", &choices.to_string()).text("output", &output.to_string_lossy()).finish())
}

/// The mosaic of a key, whether its outputs are still there or not.
pub fn get(cache: &Cache, key: &Key) -> Option<Known> {
    cache.get(Kind::Regrid, key).value
}

/// Keeps what was made.
pub fn keep(cache: &Cache, key: &Key, known: &Known, placed: &[Placed]) {
    let inputs: Vec<ContentHash> =
        placed.iter().flat_map(Placed::sources).flatten().map(|source| *source.hash()).collect();
    let origin = Origin { inputs: &inputs, label: "mosaic", took: Duration::ZERO, is_negative: false };
    cache.put(Kind::Regrid, key, known, &origin, None);
}

impl Known {
    pub fn new(
        paths: &Paths,
        hashes: Vec<ContentHash>,
        record: &Value,
        n_tiles: usize,
        rejected: &[Rejected],
        warnings: &[Warning],
    ) -> Self {
        debug_assert_eq!(paths.all().count(), hashes.len());
        let told = |rejected: &Rejected| (rejected.name.clone(), rejected.reason.clone(), rejected.help.clone());
        Self {
            outputs: hashes.iter().map(|hash| *hash.as_bytes()).collect(),
            json: record.to_string(),
            n_tiles,
            rejected: rejected.iter().map(told).collect(),
            warnings: warnings.to_vec(),
        }
    }

    /// Those outputs that lie where they were written and are what was written.
    pub fn still_there(&self, cache: &Cache, paths: &Paths) -> Vec<PathBuf> {
        let is_still = |(path, hash): &(&Path, &[u8; 32])| {
            path.exists() && cache.content(path).is_ok_and(|content| content.hash.as_bytes() == *hash)
        };
        paths.all().zip(&self.outputs).filter(is_still).map(|(path, _)| path.to_path_buf()).collect()
    }

    /// Whether all of them do.
    pub fn is_whole(&self, cache: &Cache, paths: &Paths) -> bool {
        self.still_there(cache, paths).len() == paths.all().count()
    }

    /// The report of a mosaic that is there; `rejected` are the inputs that cannot even be read now.
    pub fn report(&self, mut rejected: Vec<Rejected>) -> Report {
        for (name, reason, help) in &self.rejected {
            if !rejected.iter().any(|now| now.name == *name) {
                let (name, reason, help) = (name.clone(), reason.clone(), help.clone());
                rejected.push(Rejected { name, reason, file: None, help });
            }
        }
        Report {
            record: serde_json::from_str(&self.json).unwrap_or(Value::Null),
            unchanged: true,
            pieces: Pieces::default(),
            n_tiles: self.n_tiles,
            rejected,
            warnings: self.warnings.clone(),
        }
    }
}

/// All options that the outputs depend on.
fn choices(options: &Options) -> Value {
    let beams = match &options.beams {
        BeamSource::Companions => json!("companions"),
        BeamSource::None => json!("none"),
        BeamSource::File(_) => json!("one file"),
        BeamSource::Model { shape, dish_m, frequency_hz } => {
            json!({ "shape": shape, "dish_diameter_m": dish_m, "frequency_hz": frequency_hz })
        }
    };
    let noise = match options.noise {
        NoiseSource::Auto => json!("auto"),
        NoiseSource::Mad => json!("mad"),
        NoiseSource::Rms => json!("rms"),
        NoiseSource::Given(sigma) => json!(sigma),
    };
    let limits = &options.limits;
    json!({
        "weights": options.weighting.name(),
        "method": options.method,
        "scale_arcsec": options.scale_arcsec,
        "primary_beams": beams,
        "noise": noise,
        "pb_cutoff": options.pb_cutoff,
        "weight_cutoff": options.weight_cutoff,
        "form": options.form,
        "plane": options.plane,
        "allow_mixed": options.allow_mixed,
        "per_pixel": options.per_pixel,
        "maps": options.maps.iter().map(|map| map.suffix()).collect::<Vec<_>>(),
        "limits": {
            "min_coverage_fraction": limits.min_coverage_fraction,
            "min_dynamic_range": limits.min_dynamic_range,
            "max_rms_variation": limits.max_rms_variation,
            "max_negative_fraction": limits.max_negative_fraction,
            "max_outliers": limits.max_outliers,
        },
    })
}

/// A mosaic that is made, and what it was made from.
pub struct Made<'a> {
    pub options: &'a Options,
    pub grid: &'a Grid,
    pub placed: &'a [Placed],
    pub held: &'a Held,
    pub least_weight: f32,
    pub check: &'a PostCheck,
}

impl Made<'_> {
    /// The header of the image, or of a map.
    ///
    /// # Errors
    /// If a card cannot be written.
    pub fn header(&self, map: Option<Map>) -> Result<Header> {
        let mut header = self.grid.cards()?;
        let unit = self.unit();
        let of_unit = |power: &str| unit.as_ref().map(|unit| format!("({unit}){power}"));
        let weighting = self.options.weighting;
        let unit = match map {
            None | Some(Map::Noise) => unit.clone(),
            Some(Map::Weight) if weighting.is_inverse_variance() => of_unit("**-2"),
            Some(Map::Exptime) => Some("s".into()),
            Some(_) => None,
        };
        if let Some(unit) = unit {
            header.set("BUNIT", unit, "unit of the pixels")?;
        }
        let kind = match map {
            None => "Intensity",
            Some(Map::Weight) => "Weight",
            Some(Map::Noise) => "Noise",
            Some(Map::Pb) => "Primary beam response",
            Some(Map::Count) => "Number of tiles",
            Some(Map::Coverage) => "Coverage",
            Some(Map::Exptime) => "Exposure",
        };
        header.set("BTYPE", kind, "what the pixels are")?;
        if map.is_none() {
            self.set_common(&mut header)?;
        }
        header.set("NCOMBINE", i64::try_from(self.placed.len()).unwrap_or(i64::MAX), "number of tiles added")?;
        header.set("WEIGHTS", weighting.name(), "weight of a tile")?;
        header.set("WTCUT", f64::from(self.least_weight), "weight below which there is no value")?;
        header.set("INTERPOL", self.options.method.name(), "how tiles came to this grid")?;
        self.tell(&mut header);
        Ok(header)
    }

    /// What all tiles have in common, and their beam.
    fn set_common(&self, header: &mut Header) -> Result<()> {
        for key in ["OBJECT", "TELESCOP", "INSTRUME", "FILTER", "RESTFRQ"] {
            let values: Vec<_> =
                self.placed.iter().map(|placed| placed.measured.tile.header.value(key).ok().flatten()).collect();
            if let Some(Some(first)) = values.first()
                && values.iter().all(|value| value.as_ref() == Some(first))
            {
                header.set(key, first.clone(), "of all tiles")?;
            }
        }
        let beams: Vec<_> = self.placed.iter().filter_map(|placed| placed.measured.tile.beam).collect();
        if beams.len() != self.placed.len() || self.options.allow_mixed {
            return Ok(());
        }
        let mut by_size: Vec<_> = beams.iter().collect();
        by_size.sort_by(|a, b| (a.bmaj_deg * a.bmin_deg).total_cmp(&(b.bmaj_deg * b.bmin_deg)));
        let middle = by_size[by_size.len() / 2];
        header.set("BMAJ", middle.bmaj_deg, "[deg] beam major axis, FWHM: that of the median tile")?;
        header.set("BMIN", middle.bmin_deg, "[deg] beam minor axis, FWHM")?;
        header.set("BPA", middle.bpa_deg, "[deg] beam position angle, north to east")
    }

    /// Appends what was done as HISTORY.
    fn tell(&self, header: &mut Header) {
        header.push_history(&format!("{PROGRAM}: mosaic of {} tiles", self.placed.len()));
        header.push_history(&format!(
            "  weights {}, cut at {} of the largest, regridded by {}, {} grid",
            self.options.weighting.name(),
            self.options.weight_cutoff,
            self.options.method.name(),
            self.grid.origin.name()
        ));
        for placed in self.placed {
            let tile = &placed.measured.tile;
            let hash = &tile.files.image.hash().to_string()[..SHORT_HASH];
            let noise = match &placed.measured.noise {
                Noise::Even(sigma) => format!("sigma {sigma:.6e}"),
                Noise::Map(source) => format!("noise {}", source.short_name()),
            };
            let response = match &tile.response {
                Response::One => String::new(),
                Response::Map(source) => format!(", pb {}", source.short_name()),
                Response::Model(beam) => format!(", pb {:?} {} m", beam.shape, beam.dish_m).to_lowercase(),
            };
            header.push_history(&format!("  tile {} blake3 {hash}, {noise}{response}", tile.name()));
        }
    }

    /// What stands in the JSON beside the image.
    ///
    /// # Errors
    /// If the grid's cards cannot be written.
    pub fn json(
        &self,
        paths: &Paths,
        hashes: &[ContentHash],
        rejected: &[Rejected],
        warnings: &[Warning],
    ) -> Result<Value> {
        let (ny, nx) = self.grid.shape();
        let cards: Vec<String> = self.grid.cards()?.iter().map(|(_, card)| card.trim_end().to_owned()).collect();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let images = paths.maps.iter().map(|(_, path)| path).chain([&paths.image]);
        let outputs: Vec<Value> = images
            .zip(hashes)
            .map(|(path, hash)| json!({ "path": name(path), "content_hash": hash.to_string() }))
            .collect();
        let rejected: Vec<Value> =
            rejected.iter().map(|rejected| json!({ "path": rejected.name, "reason": rejected.reason })).collect();
        Ok(json!({
            "program": PROGRAM,
            "backend": "cpu",
            "output": name(&paths.image),
            "outputs": outputs,
            "shape": [ny, nx],
            "unit": self.unit(),
            "grid": { "origin": self.grid.origin.name(), "projection": self.grid.wcs.projection(), "cards": cards },
            "options": choices(self.options),
            "largest_weight": self.held.largest_weight(),
            "least_weight": self.least_weight,
            "tiles": self.placed.iter().map(|placed| self.tile(placed)).collect::<Vec<_>>(),
            "rejected": rejected,
            "warnings": warnings,
            "post_validation": self.check,
        }))
    }

    fn tile(&self, placed: &Placed) -> Value {
        let tile = &placed.measured.tile;
        let image = |source: &Source| json!({ "path": source.short_name(), "content_hash": source.hash().to_string() });
        let response = match &tile.response {
            Response::One => Value::Null,
            Response::Map(source) => image(source),
            Response::Model(beam) => json!(beam),
        };
        let noise_map = match &placed.measured.noise {
            Noise::Even(_) => Value::Null,
            Noise::Map(source) => image(source),
        };
        let (y, x) = (&placed.window.y, &placed.window.x);
        // A tile may reach beyond a template.
        let from = |place: usize, start: usize| place as i64 - start as i64;
        let start = (self.grid.window.y.start, self.grid.window.x.start);
        json!({
            "path": tile.name(),
            "content_hash": tile.files.image.hash().to_string(),
            "shape": [tile.shape.0, tile.shape.1],
            "form": match tile.form { Form::Corrected => "corrected", Form::Uncorrected => "uncorrected" },
            "primary_beam": response,
            "sigma": placed.measured.noise.sigma(),
            "noise_map": noise_map,
            "noise_correlations": placed.correlations,
            "exposure_s": tile.exposure_s,
            "regridded": matches!(placed.placement, Placement::Regrid(_)),
            "conserve": placed.conserve.name(),
            "rows": [from(y.start, start.0), from(y.end, start.0)],
            "columns": [from(x.start, start.1), from(x.end, start.1)],
        })
    }

    /// The unit of the first tile that has one.
    fn unit(&self) -> Option<String> {
        self.placed.iter().find_map(|placed| placed.measured.tile.unit.clone())
    }
}
