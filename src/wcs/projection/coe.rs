//! COE: conic equal area, section 5.4.2.

use super::conic::Cone;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Coe {
    /// Sum and product of the sines of the two latitudes.
    sum: f64,
    product: f64,
}

impl Cone for Coe {
    const CODE: &'static str = "COE";

    fn new(middle: f64, half: f64) -> Option<Self> {
        let (a, b) = ((middle - half).sin(), (middle + half).sin());
        Some(Self { sum: a + b, product: a * b })
    }

    fn narrowing(&self) -> f64 {
        0.5 * self.sum
    }

    fn radius(&self, lat: f64) -> f64 {
        2.0 / self.sum * (1.0 + self.product - self.sum * lat.sin()).max(0.0).sqrt()
    }

    fn latitude(&self, radius: f64) -> f64 {
        let sine = (1.0 + self.product) / self.sum - 0.25 * self.sum * radius * radius;
        // At a pole the sum may be rounded beyond 1.
        if sine.abs() > 1.0 && sine.abs() < 1.0 + 1e-12 { 1.0_f64.copysign(sine).asin() } else { sine.asin() }
    }
}
