//! The cards that a blur changes: the synthesized beam and, by the unit, the pixels' scale.
//!
//! Reads BMAJ, BMIN, BPA and the pixel scale at the reference point, and writes the new beam. The arithmetic is
//! [`crate::compute::beam`]'s; coordinates elsewhere in the image are left to others.

use super::Header;
use crate::compute::beam::{PixelSteps, SynthesizedBeam};
use crate::error::{Error, ErrorKind, Result};

/// What a blur did to a header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Followed {
    /// The beams before and after, where the header had a usable one.
    pub beams: Option<(SynthesizedBeam, SynthesizedBeam)>,
    /// What the pixels have to be multiplied by, so that the unit still holds; 1 for most.
    pub factor: f64,
    /// What could not be done.
    pub notes: Vec<Note>,
}

/// Something the user should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A sentence that starts in lower case and has no full stop.
    pub what: String,
    /// What the user can do.
    pub help: String,
}

/// How flux relates to the beam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeamUnit {
    /// Per beam area, as Jy/beam: grows with the beam.
    PerBeam,
    /// The beam does not come in.
    WithoutBeam,
    /// The beam comes in otherwise, as in Jy^2/beam^2.
    Unclear,
}

/// Makes the cards of an image tell the truth after a blur with a circular Gaussian of `sigma_px`.
///
/// The beam becomes the old one convolved with the PSF. Flux per beam has to be multiplied by the ratio of the
/// areas, unless `rescale` is false; BUNIT stays. Beam cards that cannot be used, or whose image has no usable pixel
/// scale, stay as they are; the notes say so.
///
/// # Errors
/// None for what the header says; [`ErrorKind::Header`] if a new card cannot be written.
pub fn follow_blur(header: &mut Header, sigma_px: f64, rescale: bool) -> Result<Followed> {
    let mut followed = Followed { factor: 1.0, ..Followed::default() };
    let unit = header.text("BUNIT").ok().flatten().unwrap_or_default();
    let old = match beam(header) {
        Ok(Some(old)) => old,
        Ok(None) => {
            if beam_unit(&unit) == BeamUnit::PerBeam {
                let what = format!("the unit is {unit}, but there is no beam (BMAJ): the pixels are not rescaled");
                followed.note(what, "set BMAJ, BMIN and BPA, in degrees, in the input's header");
            }
            return Ok(followed);
        }
        Err(error) => {
            let what = format!("the beam is kept as it was: {}", error.chain());
            followed.note(what, "mend the input's header; BMAJ, BMIN and BPA are in degrees");
            return Ok(followed);
        }
    };
    let pixel = match pixel_steps(header) {
        Ok(pixel) => pixel,
        Err(error) => {
            let what = format!("the beam is kept as it was, as the pixel scale is not known: {}", error.chain());
            followed.note(what, "give the input's header CTYPE and CDELT or a CD matrix, in degrees");
            return Ok(followed);
        }
    };
    if !header.contains("CTYPE1") {
        let what = "the header has no CTYPE: the axes are taken as right ascension and declination".into();
        followed.note(what, "set CTYPE1 and CTYPE2 in the input's header");
    }
    let new = old.convolved(&pixel, sigma_px);
    header.set("BMAJ", new.bmaj_deg, "[deg] beam major axis, FWHM")?;
    header.set("BMIN", new.bmin_deg, "[deg] beam minor axis, FWHM")?;
    header.set("BPA", new.bpa_deg, "[deg] beam position angle, north to east")?;
    followed.beams = Some((old, new));
    match beam_unit(&unit) {
        BeamUnit::PerBeam if rescale => followed.factor = new.area_ratio(&old),
        BeamUnit::Unclear if rescale => {
            let what = format!("the unit {unit} depends on the beam in an unknown way: the pixels are not rescaled");
            followed.note(what, "check the unit; --jy-per-beam keep says that it is right");
        }
        _ => {}
    }
    Ok(followed)
}

impl Followed {
    fn note(&mut self, what: String, help: &str) {
        self.notes.push(Note { what, help: help.into() });
    }
}

/// The beam of BMAJ, BMIN and BPA; `None` without BMAJ.
///
/// # Errors
/// [`ErrorKind::Header`] for axes that are absent, not numbers or not above zero, and for a long beam without BPA.
pub fn beam(header: &Header) -> Result<Option<SynthesizedBeam>> {
    let Some(bmaj_deg) = header.f64("BMAJ")? else { return Ok(None) };
    let Some(bmin_deg) = header.f64("BMIN")? else {
        return Err(Error::new(ErrorKind::Header, "BMAJ stands without BMIN"));
    };
    for (key, axis) in [("BMAJ", bmaj_deg), ("BMIN", bmin_deg)] {
        if !(axis > 0.0 && axis.is_finite()) {
            return Err(Error::new(ErrorKind::Header, format!("{key} is {axis} degrees, expected more than 0")));
        }
    }
    let bpa_deg = match header.f64("BPA")? {
        Some(angle) => angle,
        // The angle of a circle means nothing; many writers leave it out.
        None if bmaj_deg == bmin_deg => 0.0,
        None => return Err(Error::new(ErrorKind::Header, "the axes of the beam differ and there is no BPA")),
    };
    Ok(Some(SynthesizedBeam { bmaj_deg, bmin_deg, bpa_deg }))
}

/// The pixel's steps on the sky at the reference point.
///
/// CDi_j count before PCi_j (PC00i00j and PC0i_0j as well) times CDELTi, and those before CROTAi with CDELTi; axes of
/// latitude and longitude may come in either order. The projection's own north is taken for north, so LONPOLE has
/// its default. Without any CTYPE the axes are taken as longitude and latitude.
/// Source: FITS standard 4.0, section 8.1; Calabretta and Greisen 2002, section 6.2 for CROTA.
///
/// # Errors
/// [`ErrorKind::Header`] without any scale, for axes or units that are not of the sky, and where a pixel has no area.
pub fn pixel_steps(header: &Header) -> Result<PixelSteps> {
    let (east, north) = sky_axes(header)?;
    let matrix = match cd_matrix(header)? {
        Some(matrix) => matrix,
        None => scaled_matrix(header, east, north)?,
    };
    let mut steps = [[0.0; 2]; 2];
    for (to, axis) in [east, north].into_iter().enumerate() {
        let degrees = degrees_per_unit(header, axis)?;
        for pixel_axis in 0..2 {
            steps[pixel_axis][to] = degrees * matrix[axis][pixel_axis];
        }
    }
    let pixel = PixelSteps { x: steps[0], y: steps[1] };
    // A zero area within rounding of the steps' lengths is a matrix that does not span the sky.
    let longest = steps.iter().flatten().fold(0.0_f64, |longest, step| longest.max(step.abs()));
    if !(pixel.area() > 1e-9 * longest * longest && pixel.area().is_finite()) {
        return Err(Error::new(ErrorKind::Header, "the pixels have no area"));
    }
    Ok(pixel)
}

/// Whether a unit counts flux by the beam, as Jy/beam, JY BEAM-1, mJy.beam^-1 and Jy/beam.km/s do.
pub fn beam_unit(unit: &str) -> BeamUnit {
    unit_by(unit, "beam")
}

/// Whether a unit counts flux by the pixel, as Jy/pixel, JY PIXEL-1, Jy.pixel**-1 and Jy / pix do.
pub fn is_per_pixel(unit: &str) -> bool {
    ["pixel", "pix"].iter().any(|word| unit_by(unit, word) == BeamUnit::PerBeam)
}

/// How a unit relates to that of an area, in lower case.
fn unit_by(unit: &str, area: &str) -> BeamUnit {
    let unit = unit.trim().to_ascii_lowercase();
    let Some((before, after)) = unit.split_once(area) else { return BeamUnit::WithoutBeam };
    let before = before.trim_end_matches([' ', '(']);
    let per_beam = if before.ends_with('/') || before.split_whitespace().next_back() == Some("per") {
        !starts_with_power(after) && !after.trim_start().starts_with('-')
    } else {
        let power = after.trim_start_matches(['^', '*', '(', '{', ' ']);
        power.strip_prefix("-1").is_some_and(|rest| !starts_with_power(rest) && !starts_with_fraction(rest))
    };
    let is_word = !after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if per_beam && is_word && !after.contains(area) { BeamUnit::PerBeam } else { BeamUnit::Unclear }
}

/// Whether what follows raises the unit, or a bracket around it, to a power.
fn starts_with_power(after: &str) -> bool {
    let after = after.trim_start_matches([' ', ')', '}']);
    after.starts_with('^') || after.starts_with("**") || after.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether what follows -1 makes it -1.5 or -1/2.
fn starts_with_fraction(after: &str) -> bool {
    after.strip_prefix(['.', '/']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Which of the axes 0 and 1 point east and north.
fn sky_axes(header: &Header) -> Result<(usize, usize)> {
    let kind = |axis: usize| -> Result<Option<(bool, String)>> {
        let Some(name) = header.text(&format!("CTYPE{}", axis + 1))? else { return Ok(None) };
        let first = name.split('-').next().unwrap_or_default().trim();
        let is_latitude = first == "DEC" || first.ends_with("LAT") || (first.len() == 4 && first.ends_with("LT"));
        let is_longitude = first == "RA" || first.ends_with("LON") || (first.len() == 4 && first.ends_with("LN"));
        if is_latitude || is_longitude { Ok(Some((is_latitude, name))) } else { Err(not_sky(&name)) }
    };
    match (kind(0)?, kind(1)?) {
        (Some((false, _)), Some((true, _))) => Ok((0, 1)),
        (Some((true, _)), Some((false, _))) => Ok((1, 0)),
        (Some((_, name)), Some(_)) => Err(not_sky(&format!("{name} on both axes"))),
        (None, None) => Ok((0, 1)),
        _ => Err(Error::new(ErrorKind::Header, "of CTYPE1 and CTYPE2 one is missing")),
    }
}

fn not_sky(name: &str) -> Error {
    Error::new(ErrorKind::Header, format!("CTYPE is {name}, expected the longitude and the latitude of a sky"))
}

/// CDi_j, where any is there; those absent are zero.
fn cd_matrix(header: &Header) -> Result<Option<[[f64; 2]; 2]>> {
    let mut matrix = [[0.0; 2]; 2];
    let mut found = false;
    for (i, row) in matrix.iter_mut().enumerate() {
        for (j, element) in row.iter_mut().enumerate() {
            if let Some(number) = header.f64(&format!("CD{}_{}", i + 1, j + 1))? {
                (*element, found) = (number, true);
            }
        }
    }
    Ok(found.then_some(matrix))
}

/// CDELTi with PCi_j or CROTAi.
fn scaled_matrix(header: &Header, east: usize, north: usize) -> Result<[[f64; 2]; 2]> {
    let mut matrix = [[1.0, 0.0], [0.0, 1.0]];
    let mut has_pc = false;
    for (i, row) in matrix.iter_mut().enumerate() {
        for (j, element) in row.iter_mut().enumerate() {
            let (i, j) = (i + 1, j + 1);
            for key in [format!("PC{i}_{j}"), format!("PC{i:03}{j:03}"), format!("PC{i:02}_{j:02}")] {
                if let Some(number) = header.f64(&key)? {
                    (*element, has_pc) = (number, true);
                    break;
                }
            }
        }
    }
    let scales = [header.f64("CDELT1")?, header.f64("CDELT2")?];
    if scales == [None, None] && !has_pc {
        return Err(Error::new(ErrorKind::Header, "there is neither CDELT nor a CD or PC matrix"));
    }
    // The default of the standard; PC may hold the scale.
    let scales = scales.map(|scale| scale.unwrap_or(1.0));
    if !has_pc {
        // The angle stands with the latitude; the other axis has it in some old files.
        let angle = |axis: usize| header.f64(&format!("CROTA{}", axis + 1));
        let (sin, cos) = angle(north)?.or(angle(east)?).unwrap_or(0.0).to_radians().sin_cos();
        let ratio = scales[north] / scales[east];
        matrix[east] = [0.0; 2];
        matrix[north] = [0.0; 2];
        (matrix[east][east], matrix[east][north]) = (cos, -sin * ratio);
        (matrix[north][east], matrix[north][north]) = (sin / ratio, cos);
    }
    Ok([0, 1].map(|i| matrix[i].map(|element| scales[i] * element)))
}

/// Degrees in one unit of an axis; degrees where CUNIT is absent.
fn degrees_per_unit(header: &Header, axis: usize) -> Result<f64> {
    let key = format!("CUNIT{}", axis + 1);
    let unit = header.text(&key)?.unwrap_or_default();
    match unit.trim().to_ascii_lowercase().as_str() {
        "" | "deg" | "degree" | "degrees" => Ok(1.0),
        "arcmin" => Ok(1.0 / 60.0),
        "arcsec" => Ok(1.0 / 3600.0),
        "mas" => Ok(1.0 / 3.6e6),
        "rad" => Ok(1_f64.to_degrees()),
        _ => Err(Error::new(ErrorKind::Header, format!("{key} is {unit}, expected deg"))),
    }
}

#[cfg(test)]
mod tests;
