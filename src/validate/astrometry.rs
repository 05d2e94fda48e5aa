//! A tile against a catalogue: how far its sources lie from where they should.

use super::detect::{self, Detection, Search};
use super::facts::{Facts, Known};
use super::finding::{Code, Finding, Severity};
use super::limits::Limits;
use super::overlap;
use super::registration::{self, MOST_CHANCE, Offset, Registration, SEARCH_FACTOR};
use crate::cache::Operation;
use crate::catalog::cone::{UnitVector, unit_vector};
use crate::catalog::{Answer, Catalog, Cone};
use crate::error::{Error, Result};
use crate::image::{self, Header};
use crate::tiles::TileStats;
use crate::wcs::{Conversion, Frame, PixelXy, SkyLonLat, Wcs};
use serde::{Deserialize, Serialize};

/// Raise the version when the same tile gives other sources, or the same sources and catalogue another offset.
const SOURCES: Operation = Operation { name: "sources of a tile", version: 1 };
const OFFSET: Operation = Operation { name: "offset of a tile from a catalogue", version: 2 };

/// The brightest sources tell all there is to know.
const MOST_DETECTIONS: usize = 2000;
/// FWHM of a point source where no header says it, in pixels.
const USUAL_FWHM_PX: f64 = 3.0;
/// FWHM that the search can work with, in pixels.
const FWHM_PX: (f64, f64) = (1.5, 50.0);
/// FWHM of a Gaussian in units of its standard deviation.
const FWHM_PER_SIGMA: f64 = 2.3548;
/// A source and its detection are never further apart than this, half the beam or a pixel, whichever is largest.
const MATCH_RADIUS_ARCSEC: f64 = 5.0;

/// What is asked of a tile's sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Least height of a detection in units of the noise.
    pub least_snr: f64,
    /// Least flux of a source of the catalogue.
    pub least_mjy: Option<f64>,
}

/// What a tile and a catalogue have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Astrometry {
    /// Bright isolated sources of the tile.
    pub n_detected: usize,
    /// Sources of the catalogue that lie on the tile.
    pub n_in_catalog: usize,
    pub match_radius_arcsec: f64,
    /// `None` where nothing lies near anything.
    pub registration: Option<Registration>,
    /// How far the tile reaches beyond what the catalogue covers; `None` of a catalogue without sources.
    pub beyond_deg: Option<f64>,
}

/// What the registration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pass,
    Fail,
    /// Too few sources, or too uncertain.
    CannotTell,
}

/// What went wrong: with the tile, which is then to blame alone, or with the catalogue.
pub enum Failure {
    Tile(Error),
    Catalog(Error),
}

/// Measures a tile's offset, or finds it in the cache; `None` for a tile whose place or outline is not known.
///
/// # Errors
/// [`Failure::Tile`] if the image cannot be read, [`Failure::Catalog`] if the catalogue cannot.
pub fn measure(
    known: &Known,
    tile: &TileStats,
    facts: &Facts,
    catalog: &Catalog,
    wanted: Wanted,
) -> Result<Option<Astrometry>, Failure> {
    let super::facts::Sky::Placed { outline: Some(outline) } = &facts.sky else { return Ok(None) };
    let Ok(Some(place)) = &tile.sky else { return Ok(None) };
    let Some(center) = place.center else { return Ok(None) };
    let key = catalog.key(known.key(OFFSET)).real("snr", wanted.least_snr);
    let key = key.text("least flux", &format!("{:?}", wanted.least_mjy));
    // Which of the two failed is kept aside, as the cache passes on one kind of error.
    let mut of_catalog = None;
    let found = known.find(key, || {
        let seen = Seen::new(known, tile, facts, wanted.least_snr)?;
        let match_radius_arcsec = match_radius_arcsec(facts, seen.wcs.pixel_scale_arcsec());
        let axis = unit_vector(center);
        let reach_deg = outline.iter().map(|corner| angle_deg(&axis, corner)).fold(0.0, f64::max);
        let radius_deg = (reach_deg + SEARCH_FACTOR * match_radius_arcsec / 3600.0).min(180.0);
        let answer = match catalog.cone(&Cone::new(center, radius_deg), wanted.least_mjy) {
            Ok(answer) => answer,
            Err(error) => {
                of_catalog = Some(error);
                return Err(Error::new(crate::ErrorKind::Io, "the catalogue cannot be read"));
            }
        };
        let footprint = catalog.summary().footprint.as_ref();
        let beyond_deg = footprint.map(|footprint| footprint.places_beyond_deg(overlap::places(outline)));
        Ok(Astrometry { beyond_deg, ..seen.compare(&answer, center, match_radius_arcsec, tile.shape) })
    });
    match (found, of_catalog) {
        (_, Some(error)) => Err(Failure::Catalog(error)),
        (Err(error), None) => Err(Failure::Tile(error)),
        (Ok(astrometry), None) => Ok(Some(astrometry)),
    }
}

/// The detections of a tile, and the way to the sky.
struct Seen {
    wcs: Wcs,
    to_icrs: Conversion,
    from_icrs: Conversion,
    fwhm_arcsec: f64,
    detections: Vec<Detection>,
}

impl Seen {
    fn new(known: &Known, tile: &TileStats, facts: &Facts, least_snr: f64) -> Result<Self> {
        let mut read: Option<Header> = None;
        let detections = known.find(known.key(SOURCES).real("snr", least_snr), || {
            let (image, _) = image::read_plane(known.name, known.plane)?;
            let fwhm_px = fwhm_px(facts, Wcs::from_header(&image.header)?.pixel_scale_arcsec());
            let (background, noise) = (tile.plane.median, tile.plane.mad_sigma);
            let search = Search { fwhm_px, least_snr, background, noise, most: MOST_DETECTIONS };
            let found = detect::detect(image.pixels.view(), &search);
            read = Some(image.header);
            Ok(found)
        })?;
        let header = read.map_or_else(|| image::read_header(known.name), Ok)?;
        let wcs = Wcs::from_header(&header)?;
        let to_icrs = Conversion::new(wcs.frame(), &Frame::Icrs)?;
        let from_icrs = Conversion::new(&Frame::Icrs, wcs.frame())?;
        let scale_arcsec = wcs.pixel_scale_arcsec();
        let fwhm_arcsec = scale_arcsec * fwhm_px(facts, scale_arcsec);
        Ok(Self { wcs, to_icrs, from_icrs, fwhm_arcsec, detections })
    }

    fn compare(
        &self,
        answer: &Answer,
        center: SkyLonLat,
        match_radius_arcsec: f64,
        shape: (usize, usize),
    ) -> Astrometry {
        let tangent = Tangent::new(center);
        let sky = |one: &Detection| self.wcs.pixel_to_sky(PixelXy::new(one.x, one.y).ok()?);
        let (detections, centroids): (Vec<Offset>, Vec<f64>) = self
            .detections
            .iter()
            .filter_map(|one| {
                let place = tangent.place(self.to_icrs.apply(sky(one)?));
                Some((place, self.fwhm_arcsec / (FWHM_PER_SIGMA * one.snr)))
            })
            .unzip();
        let sources: Vec<Offset> = answer.sources.iter().map(|source| tangent.place(source.sky)).collect();
        let is_on_tile = |sky: SkyLonLat| {
            let within = |at: f64, n: usize| (-0.5..n as f64 - 0.5).contains(&at);
            let pixel = self.wcs.sky_to_pixel(self.from_icrs.apply(sky));
            pixel.is_some_and(|pixel| within(pixel.x(), shape.1) && within(pixel.y(), shape.0))
        };
        Astrometry {
            n_detected: detections.len(),
            n_in_catalog: answer.sources.iter().filter(|source| is_on_tile(source.sky)).count(),
            match_radius_arcsec,
            registration: registration::register(&detections, &centroids, &sources, match_radius_arcsec),
            beyond_deg: None,
        }
    }
}

/// FWHM of a point source, in pixels.
fn fwhm_px(facts: &Facts, scale_arcsec: f64) -> f64 {
    let beam_arcsec = facts.beam_arcsec.as_ref().ok().copied().flatten();
    let fwhm_px = beam_arcsec.map_or(USUAL_FWHM_PX, |(major, minor)| (major * minor).sqrt() / scale_arcsec);
    fwhm_px.clamp(FWHM_PX.0, FWHM_PX.1)
}

fn match_radius_arcsec(facts: &Facts, pixel_arcsec: f64) -> f64 {
    facts.bmaj_arcsec().map_or(0.0, |bmaj| bmaj / 2.0).max(pixel_arcsec).max(MATCH_RADIUS_ARCSEC)
}

/// The plane that touches the sky at a place; directions are seen on it along its axis, so that all over a tile
/// the axes mean the same and a pole within it is no exception.
struct Tangent {
    east: UnitVector,
    north: UnitVector,
}

impl Tangent {
    fn new(center: SkyLonLat) -> Self {
        let (sin_lon, cos_lon) = center.lon_deg().to_radians().sin_cos();
        let (sin_lat, cos_lat) = center.lat_deg().to_radians().sin_cos();
        Self { east: [-sin_lon, cos_lon, 0.0], north: [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat] }
    }

    fn place(&self, sky: SkyLonLat) -> Offset {
        let vector = unit_vector(sky);
        [&self.east, &self.north].map(|axis| dot(axis, &vector).to_degrees() * 3600.0)
    }
}

fn dot(one: &UnitVector, other: &UnitVector) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn angle_deg(one: &UnitVector, other: &UnitVector) -> f64 {
    dot(one, other).clamp(-1.0, 1.0).acos().to_degrees()
}

/// How sure it is that single sources lie further off than is allowed, whatever they do on average.
enum Scatter {
    Surely,
    Perhaps,
    /// The noise of the image does as much.
    AsNoise,
}

impl Astrometry {
    /// What it comes to, and why it cannot be told.
    pub fn outcome(&self, limits: &Limits) -> (Outcome, Option<String>) {
        let of_offset = self.of_offset(limits);
        match (self.scatter(limits), of_offset.0) {
            (Some((Scatter::Surely, _)), _) => (Outcome::Fail, None),
            (Some((Scatter::Perhaps, found)), Outcome::Pass) => {
                let (residual, error) = (found.residual_arcsec, found.residual_error_arcsec());
                let limit = limits.max_offset_arcsec;
                let why =
                    format!("half of its sources scatter by {residual:.2} arcsec or more with an error of {error:.2}");
                (Outcome::CannotTell, Some(format!("{why}, the limit is {limit}")))
            }
            _ => of_offset,
        }
    }

    /// The matches, if there are enough that are not chance; else why they say nothing.
    fn believed(&self, limits: &Limits) -> Result<Registration, String> {
        let least = limits.min_sources;
        let Some(found) = self.registration.filter(|found| found.n_matched >= least) else {
            let n_matched = self.registration.map_or(0, |found| found.n_matched);
            return Err(format!(
                "{n_matched} of {} detected sources match one of {} in the catalogue, at least {least} are needed",
                self.n_detected, self.n_in_catalog
            ));
        };
        if found.chance > MOST_CHANCE {
            return Err(format!(
                "{} matches may be chance, with a probability of {:.2}",
                found.n_matched, found.chance
            ));
        }
        Ok(found)
    }

    /// What the offset alone comes to: it fails where it is beyond the limit by three times its error, and passes
    /// where it stays within with its error.
    fn of_offset(&self, limits: &Limits) -> (Outcome, Option<String>) {
        let found = match self.believed(limits) {
            Ok(found) => found,
            Err(why) => return (Outcome::CannotTell, Some(why)),
        };
        let (offset, error) = (found.magnitude_arcsec(), found.error_arcsec());
        let limit = limits.max_offset_arcsec;
        if offset - limit > 3.0 * error {
            (Outcome::Fail, None)
        } else if offset + error <= limit {
            (Outcome::Pass, None)
        } else {
            let why = format!("the offset is {offset:.2} arcsec with an error of {error:.2}, the limit is {limit}");
            (Outcome::CannotTell, Some(why))
        }
    }

    /// Whether half of the sources are off by more than is allowed, as where a tile is rotated or stretched; `None`
    /// where they are not.
    fn scatter(&self, limits: &Limits) -> Option<(Scatter, Registration)> {
        let found = self.believed(limits).ok()?;
        let limit = limits.max_offset_arcsec;
        let unexplained = found.unexplained_arcsec();
        let scatter = match found.residual_arcsec > limit {
            false => return None,
            true if unexplained - limit > 3.0 * found.residual_error_arcsec() => Scatter::Surely,
            true if unexplained > limit => Scatter::Perhaps,
            true => Scatter::AsNoise,
        };
        Some((scatter, found))
    }

    /// What is to be said of it.
    pub fn findings(&self, limits: &Limits) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.of_offset(limits) {
            (Outcome::Pass, _) => {}
            (Outcome::Fail, _) => findings.extend(self.registration.map(|found| {
                let [east, north] = found.offset_arcsec;
                let message = format!(
                    "its {} sources lie {:.2} arcsec from the catalogue's ({east:+.2} east, {north:+.2} north), at most {} are allowed",
                    found.n_matched,
                    found.magnitude_arcsec(),
                    limits.max_offset_arcsec
                );
                Finding::new(Code::AstrometryOffset, message)
                    .numbers(found.magnitude_arcsec(), limits.max_offset_arcsec)
                    .help("solve the tile's astrometry again, or correct CRVAL by this offset")
            })),
            (Outcome::CannotTell, why) => findings.push(untold(&why.unwrap_or_default(), limits)),
        }
        findings.extend(self.scatter(limits).map(|(scatter, found)| of_scatter(&scatter, &found, limits)));
        match self.beyond_deg {
            None => findings.push(Finding::new(Code::CatalogCoverage, "the catalogue is empty: it has no source")),
            Some(beyond_deg) if beyond_deg > 0.0 => {
                let message = format!("the tile reaches {beyond_deg:.4} degrees beyond what the catalogue covers");
                findings.push(Finding::new(Code::CatalogCoverage, message).numbers(beyond_deg, 0.0));
            }
            Some(_) => {}
        }
        findings
    }
}

fn of_scatter(scatter: &Scatter, found: &Registration, limits: &Limits) -> Finding {
    let why = match scatter {
        Scatter::Surely | Scatter::Perhaps => "more than their noise explains",
        Scatter::AsNoise => "as much as their noise explains",
    };
    let message = format!(
        "half of its {} sources lie {:.2} arcsec or more from where their offset puts them, {why}; at most {} are allowed",
        found.n_matched, found.residual_arcsec, limits.max_offset_arcsec
    );
    let severity = match scatter {
        Scatter::Surely => Severity::Error,
        Scatter::Perhaps if limits.require_astrometry => Severity::Error,
        Scatter::Perhaps | Scatter::AsNoise => Severity::Warning,
    };
    let finding = Finding::new(Code::AstrometryScatter, message)
        .numbers(found.residual_arcsec, limits.max_offset_arcsec)
        .help("check rotation, scale and distortion of the tile's WCS");
    Finding { severity, ..finding }
}

/// That the astrometry cannot be told.
pub fn untold(why: &str, limits: &Limits) -> Finding {
    let mut finding = Finding::new(Code::AstrometryUntold, format!("its astrometry cannot be told: {why}"));
    if limits.require_astrometry {
        finding.severity = Severity::Error;
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(offset: Offset, scatter: f64, n_matched: usize, chance: f64) -> Astrometry {
        let registration = Registration {
            n_matched,
            offset_arcsec: offset,
            scatter_arcsec: [scatter, 0.0],
            residual_arcsec: 0.0,
            centroid_arcsec: 0.0,
            chance,
        };
        Astrometry {
            n_detected: 10,
            n_in_catalog: 20,
            match_radius_arcsec: 5.0,
            registration: Some(registration),
            beyond_deg: Some(0.0),
        }
    }

    fn outcome(astrometry: &Astrometry) -> Outcome {
        astrometry.outcome(&Limits::default()).0
    }

    #[test]
    fn an_offset_passes_up_to_its_limit() {
        assert_eq!(outcome(&of([0.0, 2.0], 0.0, 9, 0.0)), Outcome::Pass);
        assert_eq!(outcome(&of([0.0, 2.001], 0.0, 9, 0.0)), Outcome::Fail);
        let fails = of([0.0, 2.001], 0.0, 9, 0.0).findings(&Limits::default());
        assert_eq!(
            (fails[0].code, fails[0].severity, fails[0].limit),
            (Code::AstrometryOffset, Severity::Error, Some(2.0))
        );
    }

    #[test]
    fn the_error_counts_against_the_limit_and_not_against_zero() {
        // Errors of 1.2533 x 1.363 x scatter / 2, as four pairs have them.
        let scatter_of = |error: f64| error * 2.0 / (1.2533 * 1.363);
        let at = |offset: f64, error: f64| outcome(&of([0.0, offset], scatter_of(error), 4, 0.0));
        assert_eq!((at(1.0, 0.999), at(1.0, 1.001)), (Outcome::Pass, Outcome::CannotTell));
        assert_eq!((at(1.9, 0.2), at(2.1, 0.5)), (Outcome::CannotTell, Outcome::CannotTell));
        assert_eq!((at(3.0, 0.33), at(3.0, 0.34)), (Outcome::Fail, Outcome::CannotTell));
    }

    #[test]
    fn sources_that_scatter_never_pass_unseen() {
        let with = |residual_arcsec: f64, centroid_arcsec: f64, n_matched: usize| {
            let mut found = of([0.0, 0.1], 0.1, n_matched, 0.0);
            found.registration = found.registration.map(|of| Registration { residual_arcsec, centroid_arcsec, ..of });
            let finding = found.findings(&Limits::default()).first().map(|found| (found.code, found.severity));
            (outcome(&found), finding)
        };
        let scatter = |severity| Some((Code::AstrometryScatter, severity));
        assert_eq!(with(2.0, 0.0, 100), (Outcome::Pass, None));
        // Three times the error of 0.7213 x 3 / sqrt(n).
        assert_eq!(with(3.0, 0.0, 43), (Outcome::Fail, scatter(Severity::Error)));
        assert_eq!(with(3.0, 0.0, 42), (Outcome::CannotTell, scatter(Severity::Warning)));
        assert_eq!(with(2.1, 1.0, 100), (Outcome::Pass, scatter(Severity::Warning)));
    }

    #[test]
    fn few_and_chance_matches_cannot_tell() {
        assert_eq!(outcome(&of([0.0, 1.0], 0.1, 3, 0.0)), Outcome::Pass);
        assert_eq!(outcome(&of([0.0, 1.0], 0.1, 2, 0.0)), Outcome::CannotTell);
        assert_eq!(outcome(&of([0.0, 1.0], 0.1, 3, 0.0009)), Outcome::Pass);
        assert_eq!(outcome(&of([0.0, 1.0], 0.1, 3, 0.0011)), Outcome::CannotTell);
        let none = Astrometry { registration: None, ..of([0.0, 0.0], 0.0, 0, 0.0) };
        assert_eq!(outcome(&none), Outcome::CannotTell);
    }

    #[test]
    fn what_cannot_be_told_is_an_error_on_demand() {
        let untold = of([0.0, 1.0], 0.1, 2, 0.0);
        assert_eq!(untold.findings(&Limits::default())[0].severity, Severity::Warning);
        let strict = Limits { require_astrometry: true, ..Limits::default() };
        assert_eq!(untold.findings(&strict)[0].severity, Severity::Error);
        let beyond = Astrometry { beyond_deg: Some(0.2), ..of([0.0, 1.0], 0.1, 9, 0.0) };
        assert_eq!(beyond.findings(&Limits::default())[0].code, Code::CatalogCoverage);
        let empty = Astrometry { beyond_deg: None, ..of([0.0, 1.0], 0.1, 9, 0.0) };
        assert!(empty.findings(&Limits::default())[0].message.contains("empty"));
    }

    #[test]
    fn places_near_a_pole_differ_by_their_angle() {
        let at = |ra, dec| SkyLonLat::new(ra, dec).unwrap();
        let tangent = Tangent::new(at(0.0, 89.9));
        let (one, other) = (tangent.place(at(0.0, 89.99)), tangent.place(at(180.0, 89.99)));
        assert!(((other[1] - one[1]) - 72.0).abs() < 1e-3 && (other[0] - one[0]).abs() < 1e-6, "{one:?} {other:?}");
    }
}
