//! The way from a pixel of the target to the sky and on to the pixels of the source, exact, and back.

use crate::error::{Error, ErrorKind, Result};
use crate::wcs::{Conversion, SkyLonLat, Wcs};

/// A position that comes back so far from where it began is none: it lies on the far side of a projection that
/// shows both. As `reproject` has it.
const FARTHEST_BACK_PX: f64 = 1.0;

/// Both ways between the pixels of two images.
#[derive(Clone, Debug)]
pub(super) struct Way {
    source: Wcs,
    target: Wcs,
    /// From the frame of the target to that of the source, and back; `None` where they have one frame.
    frames: Option<(Conversion, Conversion)>,
}

impl Way {
    /// # Errors
    /// [`ErrorKind::Unsupported`] where a frame cannot be converted, or the sky is not on the axes of the plane.
    pub fn new(source: &Wcs, target: &Wcs) -> Result<Self> {
        for (wcs, which) in [(source, "source"), (target, "target")] {
            let [x, y] = wcs.pixel_axes();
            if [x, y] != [1, 2] {
                let what = format!("the sky of the {which} is on the axes {x} and {y}, not on those of a plane");
                return Err(Error::new(ErrorKind::Unsupported, what).help("bring the celestial axes to the front"));
            }
        }
        let (from, to) = (target.frame(), source.frame());
        let frames = match from == to {
            true => None,
            false => Some((Conversion::new(from, to)?, Conversion::new(to, from)?)),
        };
        Ok(Self { source: source.clone(), target: target.clone(), frames })
    }

    /// Replaces positions in the target by those in the source, both counted from 0; NaN where there is none.
    pub fn to_source(&self, x: &mut [f64], y: &mut [f64]) {
        let start = (x.to_vec(), y.to_vec());
        self.there(x, y);
        let (mut back_x, mut back_y) = (x.to_vec(), y.to_vec());
        self.back(&mut back_x, &mut back_y);
        keep_those_that_come_back(x, y, (&start.0, &start.1), (&back_x, &back_y));
    }

    /// Replaces positions in the source by those in the target, both counted from 0; NaN where there is none.
    pub fn to_target(&self, x: &mut [f64], y: &mut [f64]) {
        let start = (x.to_vec(), y.to_vec());
        self.back(x, y);
        let (mut again_x, mut again_y) = (x.to_vec(), y.to_vec());
        self.there(&mut again_x, &mut again_y);
        keep_those_that_come_back(x, y, (&start.0, &start.1), (&again_x, &again_y));
    }

    fn there(&self, x: &mut [f64], y: &mut [f64]) {
        self.target.pixels_to_sky(x, y);
        convert(self.frames.as_ref().map(|(there, _)| there), x, y);
        self.source.sky_to_pixels(x, y);
    }

    fn back(&self, x: &mut [f64], y: &mut [f64]) {
        self.source.pixels_to_sky(x, y);
        convert(self.frames.as_ref().map(|(_, back)| back), x, y);
        self.target.sky_to_pixels(x, y);
    }
}

fn keep_those_that_come_back(x: &mut [f64], y: &mut [f64], start: (&[f64], &[f64]), end: (&[f64], &[f64])) {
    for i in 0..x.len() {
        let is_back =
            (end.0[i] - start.0[i]).abs() <= FARTHEST_BACK_PX && (end.1[i] - start.1[i]).abs() <= FARTHEST_BACK_PX;
        if !is_back {
            (x[i], y[i]) = (f64::NAN, f64::NAN);
        }
    }
}

fn convert(conversion: Option<&Conversion>, lon: &mut [f64], lat: &mut [f64]) {
    let Some(conversion) = conversion else { return };
    for (lon, lat) in lon.iter_mut().zip(lat) {
        let sky = SkyLonLat::new(*lon, *lat).map(|sky| conversion.apply(sky));
        (*lon, *lat) = sky.map_or((f64::NAN, f64::NAN), |sky| (sky.lon_deg(), sky.lat_deg()));
    }
}
