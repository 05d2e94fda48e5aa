//! From pixel value to colour: stretch, colour map, and the colour of missing pixels.

use super::limits::Limits;
use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;

/// The curve from the place between the limits, 0 to 1, to the tone, 0 to 1; formulas as astropy's stretches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stretch {
    /// t
    #[default]
    Linear,
    /// asinh(t / 0.1) / asinh(1 / 0.1)
    Asinh,
    /// ln(1000 t + 1) / ln(1001)
    Log,
    /// The square root of t.
    Sqrt,
}

impl Stretch {
    /// The names that [`FromStr`] takes.
    pub const NAMES: [&str; 4] = ["linear", "asinh", "log", "sqrt"];
    const ASINH_SOFTENING: f64 = 0.1;
    const LOG_FACTOR: f64 = 1000.0;

    /// The tone at `t`, both 0 to 1.
    pub fn tone(self, t: f64) -> f64 {
        match self {
            Self::Linear => t,
            Self::Asinh => (t / Self::ASINH_SOFTENING).asinh() / Self::ASINH_SOFTENING.recip().asinh(),
            Self::Log => (Self::LOG_FACTOR * t).ln_1p() / Self::LOG_FACTOR.ln_1p(),
            Self::Sqrt => t.sqrt(),
        }
    }
}

impl FromStr for Stretch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "linear" => Ok(Self::Linear),
            "asinh" => Ok(Self::Asinh),
            "log" => Ok(Self::Log),
            "sqrt" => Ok(Self::Sqrt),
            _ => Err(not_one_of(text, "stretch", &Self::NAMES)),
        }
    }
}

/// Colours from dark to bright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colormap {
    #[default]
    Gray,
    Viridis,
    Magma,
    Inferno,
    Plasma,
    Cividis,
    Turbo,
}

impl Colormap {
    /// The names that [`FromStr`] takes.
    pub const NAMES: [&str; 7] = ["gray", "viridis", "magma", "inferno", "plasma", "cividis", "turbo"];

    /// The colour (red, green, blue) at `tone`, 0 to 1.
    pub fn color(self, tone: f64) -> [u8; 3] {
        let gradient = match self {
            Self::Gray => return [(tone * 255.0).round() as u8; 3],
            Self::Viridis => colorous::VIRIDIS,
            Self::Magma => colorous::MAGMA,
            Self::Inferno => colorous::INFERNO,
            Self::Plasma => colorous::PLASMA,
            Self::Cividis => colorous::CIVIDIS,
            Self::Turbo => colorous::TURBO,
        };
        gradient.eval_continuous(tone).as_array()
    }
}

impl FromStr for Colormap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        use Colormap::{Cividis, Gray, Inferno, Magma, Plasma, Turbo, Viridis};
        let maps = [Gray, Viridis, Magma, Inferno, Plasma, Cividis, Turbo];
        let index = Self::NAMES.iter().position(|&name| name == text);
        index.map(|index| maps[index]).ok_or_else(|| not_one_of(text, "colour map", &Self::NAMES))
    }
}

/// A colour with opacity: red, green, blue, alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgba(pub [u8; 4]);

impl Rgba {
    /// A muted blue that no gray picture contains.
    pub const MUTED_BLUE: Self = Self([0x40, 0x60, 0xa0, 0xff]);
    /// Nothing at all.
    pub const TRANSPARENT: Self = Self([0; 4]);
}

impl FromStr for Rgba {
    type Err = Error;

    /// `#RRGGBB` or `RRGGBB`, `#RRGGBBAA`, or `transparent`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "transparent" {
            return Ok(Self::TRANSPARENT);
        }
        // The advice is part of the sentence: the command line's parser shows nothing else.
        let choices = "write it as #4060a0 or #4060a080, or transparent";
        let refused = || Error::new(ErrorKind::Parameter, format!("{text:?} is no colour; {choices}"));
        let digits = text.strip_prefix('#').unwrap_or(text);
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u32::from_str_radix(digits, 16).ok().filter(|_| plain).ok_or_else(refused)?;
        match digits.len() {
            6 => Ok(Self(((value << 8) | 0xff).to_be_bytes())),
            8 => Ok(Self(value.to_be_bytes())),
            _ => Err(refused()),
        }
    }
}

/// The tones of a picture as 256 colours, looked up by value.
pub struct Palette {
    limits: Limits,
    stretch: Stretch,
    colors: Vec<Rgba>,
    missing: Rgba,
}

impl Palette {
    const N_COLORS: usize = 256;

    /// `invert` turns the colour map around; `missing` is shown for NaN and infinities.
    pub fn new(limits: Limits, stretch: Stretch, colormap: Colormap, invert: bool, missing: Rgba) -> Self {
        let color = |index: usize| {
            let tone = index as f64 / (Self::N_COLORS - 1) as f64;
            let [red, green, blue] = colormap.color(if invert { 1.0 - tone } else { tone });
            Rgba([red, green, blue, 0xff])
        };
        Self { limits, stretch, colors: (0..Self::N_COLORS).map(color).collect(), missing }
    }

    /// The colour of a pixel; values beyond the limits take the tone of the limit.
    pub fn color(&self, value: f32) -> Rgba {
        if !value.is_finite() {
            return self.missing;
        }
        let Limits { low, high } = self.limits;
        let above = f64::from(value) - low;
        // Equal limits (a constant image) leave a step, not a division by zero.
        let t = if high > low { (above / (high - low)).clamp(0.0, 1.0) } else { f64::from(u8::from(above > 0.0)) };
        let index = self.stretch.tone(t) * (Self::N_COLORS - 1) as f64;
        self.colors[(index.round() as usize).min(Self::N_COLORS - 1)]
    }
}

fn not_one_of(text: &str, what: &str, names: &[&str]) -> Error {
    Error::new(ErrorKind::Parameter, format!("{text:?} is no {what}")).help(format!("take one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_those_of_astropy() {
        // astropy 8.0.2, AsinhStretch() and LogStretch().
        for (t, asinh, log) in [
            (0.0, 0.0, 0.0),
            (0.05, 0.160_499_013, 0.569_107_713),
            (0.3, 0.606_508_085, 0.826_069_306),
            (1.0, 1.0, 1.0),
        ] {
            assert!((Stretch::Asinh.tone(t) - asinh).abs() < 1e-8, "{t}");
            assert!((Stretch::Log.tone(t) - log).abs() < 1e-8, "{t}");
        }
        assert_eq!(Stretch::Sqrt.tone(0.25), 0.5);
    }

    #[test]
    fn every_listed_name_is_taken() {
        for name in Stretch::NAMES {
            name.parse::<Stretch>().unwrap();
        }
        for name in Colormap::NAMES {
            assert_eq!(format!("{:?}", name.parse::<Colormap>().unwrap()).to_lowercase(), name);
        }
        assert!("jet".parse::<Colormap>().is_err());
    }

    #[test]
    fn colors_are_read_as_hex_and_nonsense_refused() {
        assert_eq!("#4060a0".parse::<Rgba>().unwrap(), Rgba::MUTED_BLUE);
        assert_eq!("01020380".parse::<Rgba>().unwrap(), Rgba([1, 2, 3, 128]));
        for text in ["", "#12", "blue", "#+12345", "#1234567", "1234567890"] {
            assert!(text.parse::<Rgba>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_beyond_the_limits_take_the_end_tones() {
        let limits = Limits { low: 0.0, high: 10.0 };
        let gray = Palette::new(limits, Stretch::Linear, Colormap::Gray, false, Rgba::MUTED_BLUE);
        let level = |value: f32| gray.color(value).0[0];
        assert_eq!([level(-3.0), level(0.0), level(2.0), level(10.0), level(1e30)], [0, 0, 51, 255, 255]);
        assert_eq!(gray.color(f32::NAN), Rgba::MUTED_BLUE);
        let turned = Palette::new(limits, Stretch::Linear, Colormap::Gray, true, Rgba::MUTED_BLUE);
        assert_eq!(turned.color(0.0).0[0], 255);
    }
}
