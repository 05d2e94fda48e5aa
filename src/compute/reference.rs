//! Slow, plain f64 versions: the judge in tests. They share no code with what they judge.

use super::gaussian::{EdgeRule, NanRule, Psf};
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// One convolution along `axis` of values that go on beyond the edge as `edge` says; beyond a
/// `Zero` edge lies `outside`.
fn convolve_axis(values: &Array2<f64>, axis: Axis, psf: &Psf, edge: EdgeRule, outside: f64) -> Array2<f64> {
    let radius = psf.radius_px() as i64;
    let weights: Vec<f64> =
        (-radius..=radius).map(|j| (-(j * j) as f64 / (2.0 * psf.sigma_px().powi(2))).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = values.clone();
    for mut lane in out.lanes_mut(axis) {
        let old: Array1<f64> = lane.to_owned();
        let len = old.len() as i64;
        let at = |i: i64| match edge {
            _ if (0..len).contains(&i) => old[i as usize],
            EdgeRule::Zero | EdgeRule::Renormalize => outside,
            EdgeRule::Nearest => old[i.clamp(0, len - 1) as usize],
            EdgeRule::Reflect => {
                let mut i = i;
                while !(0..len).contains(&i) {
                    i = if i < 0 { -1 - i } else { 2 * len - 1 - i };
                }
                old[i as usize]
            }
        };
        for i in 0..len {
            lane[i as usize] = weights.iter().zip(i - radius..).map(|(weight, j)| weight * at(j)).sum::<f64>() / total;
        }
    }
    out
}

fn convolve_both(values: &Array2<f64>, psf: &Psf, edge: EdgeRule, outside: f64) -> Array2<f64> {
    // The outside value holds beyond corners too: the first pass turns constant rows into themselves.
    let along_y = convolve_axis(values, Axis(0), psf, edge, outside);
    convolve_axis(&along_y, Axis(1), psf, edge, outside)
}

/// The exact convolution and its coverage G*m, by the definitions of [`NanRule`] and [`EdgeRule`].
pub fn convolve(
    plane: ArrayView2<f32>,
    psf: &Psf,
    nan: NanRule,
    edge: EdgeRule,
    min_coverage: f64,
    preserve_nan: bool,
) -> (Array2<f64>, Array2<f64>) {
    let flux = plane.mapv(|v| if v.is_finite() { f64::from(v) } else { 0.0 });
    let valid = plane.mapv(|v| if v.is_finite() { 1.0 } else { 0.0 });
    let sums = convolve_both(&flux, psf, edge, 0.0);
    let coverage = convolve_both(&valid, psf, edge, if edge == EdgeRule::Zero { 1.0 } else { 0.0 });
    let inside = match edge {
        EdgeRule::Renormalize => convolve_both(&Array2::ones(plane.dim()), psf, EdgeRule::Zero, 0.0),
        _ => Array2::ones(plane.dim()),
    };
    let radius = psf.radius_px();
    let (ny, nx) = plane.dim();
    let result = Array2::from_shape_fn(plane.dim(), |(y, x)| {
        let missing = valid[(y, x)] == 0.0;
        match nan {
            NanRule::Zero if missing => f64::NAN,
            NanRule::Zero => sums[(y, x)] / inside[(y, x)],
            NanRule::Interpolate if coverage[(y, x)] < min_coverage || (missing && preserve_nan) => f64::NAN,
            NanRule::Interpolate => sums[(y, x)] / coverage[(y, x)],
            NanRule::Propagate => {
                let rows = y.saturating_sub(radius)..(y + radius + 1).min(ny);
                let touched = rows
                    .into_iter()
                    .any(|v| (x.saturating_sub(radius)..(x + radius + 1).min(nx)).any(|u| valid[(v, u)] == 0.0));
                if touched { f64::NAN } else { sums[(y, x)] / inside[(y, x)] }
            }
        }
    });
    (result, coverage)
}
