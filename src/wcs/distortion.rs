//! What the distortions share: a smooth map of the plane, and its inverse by Newton's rule.

use super::dss::Dss;
use super::tpv::Tpv;

/// A map of the plane that is near the identity.
pub(super) trait Distortion {
    /// The map at (x, y), and its derivatives: of both results by x, of both by y.
    fn apply(&self, x: f64, y: f64) -> ([f64; 2], [[f64; 2]; 2]);

    /// The point that the map takes to `target`, from a guess.
    ///
    /// NaN where Newton's rule finds none: beyond the field for which the map was made it may turn back.
    fn undo(&self, target: [f64; 2], guess: [f64; 2]) -> [f64; 2] {
        let [mut x, mut y] = guess;
        let size = target[0].abs().max(target[1].abs());
        let mut last_step = f64::INFINITY;
        for _ in 0..MAX_STEPS {
            let (found, [by_x, by_y]) = self.apply(x, y);
            let (off_x, off_y) = (found[0] - target[0], found[1] - target[1]);
            let determinant = by_x[0] * by_y[1] - by_y[0] * by_x[1];
            let step_x = (off_x * by_y[1] - off_y * by_y[0]) / determinant;
            let step_y = (off_y * by_x[0] - off_x * by_x[1]) / determinant;
            (x, y) = (x - step_x, y - step_y);
            let step = step_x.abs().max(step_y.abs());
            if !step.is_finite() {
                break;
            }
            // Once the steps are rounding alone they no longer shrink.
            let is_rounding = step <= CLOSE * size && step >= 0.5 * last_step;
            if step <= f64::EPSILON * size || is_rounding {
                return [x, y];
            }
            last_step = step;
        }
        [f64::NAN; 2]
    }
}

/// Newton's rule takes 3 to 5 steps where the distortion is small.
const MAX_STEPS: usize = 50;
/// Steps below this part of the target may be rounding.
const CLOSE: f64 = 1e-13;

/// The distortions between the linear step and the projection, in degrees.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PlaneDistortion {
    Tpv(Tpv),
    Dss(Box<Dss>),
}

impl Distortion for PlaneDistortion {
    fn apply(&self, x: f64, y: f64) -> ([f64; 2], [[f64; 2]; 2]) {
        match self {
            Self::Tpv(tpv) => tpv.apply(x, y),
            Self::Dss(dss) => dss.apply(x, y),
        }
    }
}
