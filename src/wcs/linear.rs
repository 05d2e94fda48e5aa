//! The linear step: pixels from the reference pixel to degrees on the projection plane, and back.

use super::cards::Cards;
use crate::error::Result;

/// A matrix of two rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix2(pub [[f64; 2]; 2]);

impl Matrix2 {
    #[inline(always)]
    pub fn times(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [[a, b], [c, d]] = self.0;
        [a * x + b * y, c * x + d * y]
    }

    pub fn determinant(&self) -> f64 {
        let [[a, b], [c, d]] = self.0;
        a * d - b * c
    }

    /// `None` where the rows are parallel as far as f64 can tell.
    pub fn inverse(&self) -> Option<Self> {
        let [[a, b], [c, d]] = self.0;
        let determinant = self.determinant();
        let is_regular = determinant.abs() > 4.0 * f64::EPSILON * ((a * d).abs() + (b * c).abs());
        // Divided, not multiplied with the reciprocal, which would round once more.
        let inverse = Self([[d / determinant, -b / determinant], [-c / determinant, a / determinant]]);
        (is_regular && inverse.0.iter().flatten().all(|term| term.is_finite())).then_some(inverse)
    }
}

/// How a header spells its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    Pc,
    Cd,
    /// By CDELT, and CROTA of the latitude axis where it is there.
    Crota,
}

/// The matrix of the header in degrees per pixel: rows longitude, latitude, columns the pixel axes.
///
/// `axes` are the longitude and the latitude axis, `pixel_axes` both in ascending order, `unit_deg` the units of
/// the rows in degrees. PCi_j goes before CDi_j, and both before CROTA, as in wcslib; PC and CD that say
/// different things are an error.
///
/// Source: FITS WCS paper I, section 2.1; paper II, section 6 (CROTA).
///
/// # Errors
/// [`crate::ErrorKind::Header`] for a value that is no number, a matrix that has no inverse, and PC beside CD.
pub(super) fn matrix(cards: &Cards, axes: [usize; 2], pixel_axes: [usize; 2], unit_deg: [f64; 2]) -> Result<Matrix2> {
    let cdelt = [cards.cdelt(axes[0])?, cards.cdelt(axes[1])?];
    let (pc, cd) = (pc(cards, axes, pixel_axes)?, cd(cards, axes, pixel_axes)?);
    let scaled = |rows: [[f64; 2]; 2]| scale(rows, cdelt);
    let (rows, spelling) = match (pc, cd) {
        (Some(pc), Some(cd)) if !agree(scaled(pc), cd) => {
            let text = format!("PCi_j with CDELT says {}, CDi_j says {}", text(scaled(pc)), text(cd));
            return Err(super::cards::refused(text).help("remove those cards that are not right"));
        }
        (Some(pc), _) => (scaled(pc), Spelling::Pc),
        (None, Some(cd)) => (cd, Spelling::Cd),
        (None, None) => (scaled(rotation(cards, axes, cdelt)?), Spelling::Crota),
    };
    let matrix = Matrix2(scale(rows, unit_deg));
    if matrix.inverse().is_none() {
        let keys = match spelling {
            Spelling::Pc => format!("PCi_j and CDELT{}, CDELT{}", axes[0], axes[1]),
            Spelling::Cd => "CDi_j".to_owned(),
            Spelling::Crota => format!("CDELT{}, CDELT{}", axes[0], axes[1]),
        };
        let error = super::cards::refused(format!("{keys} make the matrix {}, which has no inverse", text(rows)));
        return Err(error.help("mend these cards: every pixel needs a place of its own on the sky"));
    }
    Ok(matrix)
}

fn scale([first, second]: [[f64; 2]; 2], factors: [f64; 2]) -> [[f64; 2]; 2] {
    [first.map(|term| term * factors[0]), second.map(|term| term * factors[1])]
}

/// PCi_j, or PC00i00j of old; `None` without any.
fn pc(cards: &Cards, axes: [usize; 2], pixel_axes: [usize; 2]) -> Result<Option<[[f64; 2]; 2]>> {
    let term = |i: usize, j: usize| match cards.f64(&format!("PC{i}_{j}"))? {
        Some(value) => Ok(Some(value)),
        None => cards.f64(&format!("PC{i:03}{j:03}")),
    };
    let rows = terms(axes, pixel_axes, term)?;
    let is_there = rows.iter().flatten().any(Option::is_some);
    let default = |row: usize, column: usize| if axes[row] == pixel_axes[column] { 1.0 } else { 0.0 };
    Ok(is_there.then(|| [0, 1].map(|row| [0, 1].map(|column| rows[row][column].unwrap_or(default(row, column))))))
}

/// CDi_j; `None` without any, 0 for those that are missing beside others.
fn cd(cards: &Cards, axes: [usize; 2], pixel_axes: [usize; 2]) -> Result<Option<[[f64; 2]; 2]>> {
    let rows = terms(axes, pixel_axes, |i, j| cards.f64(&format!("CD{i}_{j}")))?;
    let is_there = rows.iter().flatten().any(Option::is_some);
    Ok(is_there.then(|| rows.map(|row| row.map(|term| term.unwrap_or(0.0)))))
}

type Terms = [[Option<f64>; 2]; 2];

fn terms(
    axes: [usize; 2],
    pixel_axes: [usize; 2],
    term: impl Fn(usize, usize) -> Result<Option<f64>>,
) -> Result<Terms> {
    let row = |i: usize| Ok::<_, crate::Error>([term(i, pixel_axes[0])?, term(i, pixel_axes[1])?]);
    Ok([row(axes[0])?, row(axes[1])?])
}

/// The matrix that CROTA of the latitude axis means, to be multiplied with CDELT.
fn rotation(cards: &Cards, axes: [usize; 2], cdelt: [f64; 2]) -> Result<[[f64; 2]; 2]> {
    let (sin, cos) = super::trig::sin_cos_deg(cards.f64(&format!("CROTA{}", axes[1]))?.unwrap_or(0.0));
    let [lon, lat] = cdelt;
    let rows = if sin == 0.0 { [[cos, 0.0], [0.0, cos]] } else { [[cos, -sin * lat / lon], [sin * lon / lat, cos]] };
    Ok(if axes[0] < axes[1] { rows } else { rows.map(|[a, b]| [b, a]) })
}

/// Whether two matrices are the same but for the digits a header keeps.
fn agree(a: [[f64; 2]; 2], b: [[f64; 2]; 2]) -> bool {
    let largest = b.iter().flatten().fold(0.0_f64, |most, term| most.max(term.abs()));
    a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= 1e-6 * largest)
}

fn text(rows: [[f64; 2]; 2]) -> String {
    // Without the sign of a negative zero.
    let [[a, b], [c, d]] = rows.map(|row| row.map(|term| term + 0.0));
    format!("({a}, {b}; {c}, {d})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_of_a_skewed_matrix_gives_the_point_back() {
        let matrix = Matrix2([[-3e-4, 2e-5], [7e-5, 4e-4]]);
        let [x, y] = matrix.inverse().unwrap().times(matrix.times([123.0, -45.0]));
        assert!((x - 123.0).abs() < 1e-12 && (y + 45.0).abs() < 1e-12);
        let [[a, b], [c, d]] = matrix.0;
        let [x, y] = Matrix2([[a, c], [b, d]]).inverse().unwrap().times(matrix.times([123.0, -45.0]));
        assert!((x - 123.0).abs() > 1.0 && (y + 45.0).abs() > 1.0, "the transposed one does not");
    }

    #[test]
    fn parallel_rows_have_no_inverse() {
        for rows in [[[0.0, 0.0], [0.0, 1.0]], [[0.1, 0.3], [0.2, 0.6]], [[1e-320, 0.0], [0.0, 1e-320]]] {
            assert_eq!(Matrix2(rows).inverse(), None);
        }
    }
}
