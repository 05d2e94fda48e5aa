//! From a stack file to the pixels and the header that the store keeps.
//!
//! Where they go is left to the parent.

use super::identity::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::skycell::FluxScale;
use crate::skycell::band::ASINH_ALPHA;
use ndarray::Array2;
use std::path::Path;

/// What a file becomes in the store.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Image or variance: asinh pixels, NaN where there is no data.
    Float(Array2<f32>, Header),
    /// Mask bits.
    Mask(Array2<u16>, Header),
}

/// How the pixels of a file are coded once its BSCALE and BZERO are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// asinh-compressed, as [`FluxScale`] undoes.
    Asinh,
    /// `BOFFSET + LINEAR` itself: counts, not yet divided by EXPTIME.
    Linear,
    /// Bits.
    Bits,
}

/// Says how pixels are coded, from the header alone; all that can be wrong with it is found here.
///
/// Float pixels without BSOFTEN and BOFFSET are taken as linear where the cut-out service signed them
/// (HISTORY `Created by fitscut`), or with `linear`.
///
/// # Errors
/// [`ErrorKind::Header`] where the scale is incomplete or impossible, or the coding cannot be told.
pub fn coding(header: &Header, kind: Kind, linear: bool) -> Result<Coding> {
    if kind == Kind::Mask {
        return Ok(Coding::Bits);
    }
    let check = |header: &Header| {
        FluxScale::from_header(header).map_err(|error| {
            error.help("stack files carry BSOFTEN, BOFFSET and EXPTIME (seconds); get the file again from the archive")
        })
    };
    match (header.contains("BSOFTEN"), header.contains("BOFFSET")) {
        (false, false) => {}
        _ => return check(header).map(|_| Coding::Asinh),
    }
    let is_float = header.i64("BITPIX")?.is_some_and(|bitpix| bitpix < 0);
    let refused = |what: &str| Err(Error::new(ErrorKind::Header, what));
    if !is_float {
        return refused("the pixels are integers, but the header has neither BSOFTEN nor BOFFSET to decode them")
            .map_err(|error: Error| error.help("get the file again from the archive, with its whole header"));
    }
    if !(linear || header.history().iter().any(|text| text.trim_start().starts_with("Created by fitscut"))) {
        return refused("the pixels are floats without BSOFTEN and BOFFSET, and nothing says that they are linear")
            .map_err(|error: Error| error.help("if they are counts of the whole exposure, say so with --linear"));
    }
    let mut complete = header.clone();
    set_scale(&mut complete, 1.0)?;
    check(&complete).map(|_| Coding::Linear)
}

/// Reads a file whose header was found good by [`coding`].
///
/// # Errors
/// As [`crate::image::read`]; [`ErrorKind::Damaged`] for a mask value above 16 bits.
pub fn read(path: &Path, coding: Coding) -> Result<Stored> {
    let input = super::spelt(path)?;
    match coding {
        Coding::Bits => {
            let (mask, header) = crate::image::read_mask(input)?;
            Ok(Stored::Mask(bits(&mask).map_err(|error| error.file(path))?, without_scaling(header)))
        }
        Coding::Asinh | Coding::Linear => {
            let image = crate::image::read(input)?;
            let mut header = without_scaling(image.header);
            let mut pixels = image.pixels;
            header.set("BITPIX", -32_i64, "float pixels, BSCALE and BZERO are applied")?;
            if coding == Coding::Linear {
                encode(&mut pixels, &mut header)?;
            }
            Ok(Stored::Float(pixels, header))
        }
    }
}

fn bits(mask: &Array2<u32>) -> Result<Array2<u16>> {
    if let Some(value) = mask.iter().find(|value| **value > u32::from(u16::MAX)) {
        let what = format!("a mask pixel is {value}, a stack mask has 16 bits (65535 at most)");
        return Err(Error::new(ErrorKind::Damaged, what).help("check that the file is a PS1 stack mask"));
    }
    Ok(mask.mapv(|value| u16::try_from(value).expect("checked above")))
}

/// The header without what has been applied, so that no reader applies it again, and without sums that no longer hold.
fn without_scaling(mut header: Header) -> Header {
    for key in ["BSCALE", "BZERO", "BLANK", "ZBLANK", "CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM"] {
        header.remove(key);
    }
    header
}

/// Codes linear pixels x as `alpha asinh(x / 2B)`, and writes B and the offset 0 as BSOFTEN and BOFFSET.
///
/// B is the largest |x|, or 1 where all are zero or undefined. Then x / 2B is at most 1/2, the coding is nearly
/// linear, and rounding to f32 (2^-24 relative) grows by w coth w < 1.08 on the way back: each pixel returns
/// within 6.5e-8 of itself. Pixels below 1e-38 B are the exception: f32 holds them to 1e-45 B only. NaN and
/// infinities stay.
fn encode(pixels: &mut Array2<f32>, header: &mut Header) -> Result<()> {
    let largest = pixels.iter().filter(|x| x.is_finite()).fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let softening = if largest > 0.0 { f64::from(largest) } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, reason = "the store holds f32; the loss is the bound above")]
    pixels.par_mapv_inplace(|x| (ASINH_ALPHA * (f64::from(x) / (2.0 * softening)).asinh()) as f32);
    set_scale(header, softening)?;
    header.push_history(concat!(
        "skycache-gpu ",
        env!("CARGO_PKG_VERSION"),
        ": linear pixels x stored as a * asinh(x / (2 * BSOFTEN)), a = 2.5 / ln 10"
    ));
    Ok(())
}

fn set_scale(header: &mut Header, softening: f64) -> Result<()> {
    header.set("BSOFTEN", softening, "Scaling: LINEAR = 2 * BSOFTEN * sinh(TRUE/a)")?;
    header.set("BOFFSET", 0.0, "Scaling: UNCOMP = BOFFSET + LINEAR")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn header(cards: &[(&str, f64)]) -> Header {
        let mut header = Header::new();
        header.set("BITPIX", -32_i64, "").unwrap();
        for (key, value) in cards {
            header.set(key, *value, "").unwrap();
        }
        header
    }

    #[test]
    fn linear_pixels_come_back_within_the_stated_bound() {
        let linear = array![[0.0_f32, -0.0, 1e-30, -3.25], [1e-7, 70_000.3, -81_234.57, f32::NAN]];
        let (mut pixels, mut header) = (linear.clone(), header(&[("EXPTIME", 1.0)]));
        encode(&mut pixels, &mut header).unwrap();
        let scale = FluxScale::from_header(&header).unwrap();
        assert_eq!((scale.bsoften, scale.boffset), (f64::from(81_234.57_f32), 0.0));
        for (&stored, &x) in pixels.iter().zip(&linear) {
            let error = (scale.flux(stored) - f64::from(x)).abs();
            assert!(x.is_nan() && stored.is_nan() || error <= 6.5e-8 * f64::from(x.abs()), "{x}: {error}");
        }
        assert!(header.history().join(" ").contains("asinh(x / (2 * BSOFTEN))"));
    }

    #[test]
    fn a_blank_plane_gets_a_softening_that_readers_accept() {
        for x in [0.0, f32::NAN] {
            let mut header = header(&[("EXPTIME", 1.0)]);
            encode(&mut array![[x]], &mut header).unwrap();
            assert_eq!(FluxScale::from_header(&header).unwrap().bsoften, 1.0);
        }
    }

    #[test]
    fn the_coding_is_told_or_refused_by_the_header() {
        let full = [("BSOFTEN", 70.0), ("BOFFSET", 3.0), ("EXPTIME", 900.0)];
        let told = |header: &Header, linear| coding(header, Kind::Image, linear);
        assert_eq!(told(&header(&full), false).unwrap(), Coding::Asinh);
        assert_eq!(told(&header(&full), true).unwrap(), Coding::Asinh, "a header that tells is believed");
        assert_eq!(coding(&header(&[]), Kind::Mask, false).unwrap(), Coding::Bits);
        for (cards, word) in [
            (&full[1..], "BSOFTEN"),
            (&[full[0], full[2]][..], "BOFFSET"),
            (&full[..2], "EXPTIME"),
            (&[full[0], full[1], ("EXPTIME", 0.0)], "EXPTIME"),
        ] {
            let refusal = told(&header(cards), true).unwrap_err();
            assert!(refusal.to_string().contains(word) && refusal.advice().is_some(), "{refusal}");
        }
    }

    #[test]
    fn floats_without_a_scale_are_linear_only_where_something_says_so() {
        let mut cutout = header(&[("EXPTIME", 900.0)]);
        assert!(coding(&cutout, Kind::Image, false).unwrap_err().advice().unwrap().contains("--linear"));
        assert_eq!(coding(&cutout, Kind::Image, true).unwrap(), Coding::Linear);
        cutout.push_history("Created by fitscut 1.4.2 (William Jon McCann)");
        assert_eq!(coding(&cutout, Kind::Variance, false).unwrap(), Coding::Linear);
        cutout.remove("EXPTIME");
        assert!(coding(&cutout, Kind::Image, false).unwrap_err().to_string().contains("EXPTIME"));
        let mut whole = header(&[("EXPTIME", 900.0)]);
        whole.set("BITPIX", 16_i64, "").unwrap();
        assert!(coding(&whole, Kind::Image, true).unwrap_err().to_string().contains("integers"));
    }

    #[test]
    fn mask_values_above_16_bits_are_refused() {
        assert_eq!(bits(&array![[0, 65_535]]).unwrap(), array![[0, 65_535]]);
        assert!(bits(&array![[65_536]]).unwrap_err().to_string().contains("65536"));
    }

    #[test]
    fn the_stored_header_scales_nothing_and_keeps_the_rest() {
        let mut input = header(&[("BSCALE", 2.0), ("BZERO", 3.0), ("BLANK", 32767.0), ("BSOFTEN", 70.0)]);
        input.set("CELL.GAIN", "NaN", "").unwrap();
        let stored = without_scaling(input);
        assert!(["BSCALE", "BZERO", "BLANK"].iter().all(|key| !stored.contains(key)));
        assert_eq!(stored.text("CELL.GAIN").unwrap().as_deref(), Some("NaN"));
        assert!(stored.contains("BSOFTEN"));
    }
}
