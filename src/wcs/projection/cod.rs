//! COD: conic equidistant, section 5.4.3.

use super::conic::Cone;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Cod {
    narrowing: f64,
    /// Latitude of radius 0.
    apex: f64,
}

impl Cone for Cod {
    const CODE: &'static str = "COD";

    fn new(middle: f64, half: f64) -> Option<Self> {
        // half / tan(half) and sin(half) / half are 1 at 0.
        let (over_tan, sin_over) = if half == 0.0 { (1.0, 1.0) } else { (half / half.tan(), half.sin() / half) };
        Some(Self { narrowing: middle.sin() * sin_over, apex: middle + over_tan / middle.tan() })
    }

    fn narrowing(&self) -> f64 {
        self.narrowing
    }

    fn radius(&self, lat: f64) -> f64 {
        self.apex - lat
    }

    fn latitude(&self, radius: f64) -> f64 {
        self.apex - radius
    }
}
