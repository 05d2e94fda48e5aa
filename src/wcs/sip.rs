//! SIP: a polynomial distortion of pixels about CRPIX, before the linear step.
//!
//! A_p_q and B_p_q lead to the sky. The way back solves them to the last digits; AP_p_q and BP_p_q, which headers
//! give as an approximation to a hundredth of a pixel or so, are its first guess alone.
//!
//! Source: Shupe et al. 2005, ASPC 347, 491, "The SIP Convention".

use super::cards::{Cards, refused};
use super::distortion::Distortion;
use crate::error::Result;

/// The largest order that the convention has.
const MAX_ORDER: i64 = 9;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sip {
    forward: [Polynomial; 2],
    guess: Option<[Polynomial; 2]>,
}

impl Sip {
    /// The distortion of a header, `None` without one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Header`] for an order or a term that is none, and for one of A and B without the other.
    pub fn read(cards: &Cards) -> Result<Option<Self>> {
        let forward = pair(cards, ["A", "B"])?;
        let Some(forward) = forward else { return Ok(None) };
        Ok(Some(Self { forward, guess: pair(cards, ["AP", "BP"])? }))
    }

    /// Where the linear step finds a pixel; both from CRPIX.
    pub fn to_linear(&self, x: f64, y: f64) -> [f64; 2] {
        self.apply(x, y).0
    }

    /// The pixel that the linear step finds at (x, y); NaN where there is none.
    pub fn to_pixel(&self, x: f64, y: f64) -> [f64; 2] {
        let guess = self.guess.as_ref().map_or([x, y], |[a, b]| [x + a.at(x, y).0, y + b.at(x, y).0]);
        let found = self.undo([x, y], guess);
        // A guess that leads astray is worse than none.
        if found[0].is_nan() && self.guess.is_some() { self.undo([x, y], [x, y]) } else { found }
    }
}

impl Distortion for Sip {
    fn apply(&self, x: f64, y: f64) -> ([f64; 2], [[f64; 2]; 2]) {
        let ((a, a_x, a_y), (b, b_x, b_y)) = (self.forward[0].at(x, y), self.forward[1].at(x, y));
        ([x + a, y + b], [[1.0 + a_x, b_x], [a_y, 1.0 + b_y]])
    }
}

/// A polynomial in x and y: the terms of x^p y^q by p, then by q.
#[derive(Clone, Debug, PartialEq)]
struct Polynomial(Vec<Vec<f64>>);

impl Polynomial {
    /// The value and its derivatives by x and by y.
    fn at(&self, x: f64, y: f64) -> (f64, f64, f64) {
        let (mut value, mut by_x, mut by_y) = (0.0, 0.0, 0.0);
        for row in self.0.iter().rev() {
            let (mut sum, mut slope) = (0.0, 0.0);
            for term in row.iter().rev() {
                slope = slope * y + sum;
                sum = sum * y + term;
            }
            by_x = by_x * x + value;
            value = value * x + sum;
            by_y = by_y * x + slope;
        }
        (value, by_x, by_y)
    }
}

/// Both polynomials of a direction; `None` where neither is there.
fn pair(cards: &Cards, [first, second]: [&str; 2]) -> Result<Option<[Polynomial; 2]>> {
    match (polynomial(cards, first)?, polynomial(cards, second)?) {
        (Some(a), Some(b)) => Ok(Some([a, b])),
        (None, None) => Ok(None),
        (a, _) => {
            let (there, absent) = if a.is_some() { (first, second) } else { (second, first) };
            Err(refused(format!("{there}_ORDER is there without {absent}_ORDER"))
                .help("add the other polynomial of the SIP distortion, or remove both"))
        }
    }
}

fn polynomial(cards: &Cards, name: &str) -> Result<Option<Polynomial>> {
    let key = format!("{name}_ORDER");
    let Some(order) = cards.i64(&key)? else { return Ok(None) };
    if !(0..=MAX_ORDER).contains(&order) {
        return Err(refused(format!("{key} is {order}, expected 0 to {MAX_ORDER}")).help("mend the SIP cards"));
    }
    let row = |p: i64| (0..=order - p).map(|q| Ok(cards.f64(&format!("{name}_{p}_{q}"))?.unwrap_or(0.0))).collect();
    (0..=order).map(row).collect::<Result<_>>().map(|rows| Some(Polynomial(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(guess: Option<[Polynomial; 2]>) -> Sip {
        let a = Polynomial(vec![vec![0.0, 0.0, 3e-6], vec![0.0, -2e-6], vec![5e-6]]);
        let b = Polynomial(vec![vec![0.0, 0.0, -1e-6], vec![0.0, 4e-6], vec![2e-6]]);
        Sip { forward: [a, b], guess }
    }

    #[test]
    fn the_terms_stand_for_their_powers() {
        let [x, y] = sip(None).to_linear(100.0, -50.0);
        assert!((x - (100.0 + 3e-6 * 2500.0 + 2e-6 * 5000.0 + 5e-6 * 10_000.0)).abs() < 1e-12);
        assert!((y - (-50.0 - 1e-6 * 2500.0 - 4e-6 * 5000.0 + 2e-6 * 10_000.0)).abs() < 1e-12);
        let (_, [by_x, by_y]) = sip(None).apply(100.0, -50.0);
        let near = |step_x: f64, step_y: f64| sip(None).to_linear(100.0 + step_x, -50.0 + step_y);
        for i in 0..2 {
            assert!((by_x[i] - (near(0.5, 0.0)[i] - near(-0.5, 0.0)[i])).abs() < 1e-10);
            assert!((by_y[i] - (near(0.0, 0.5)[i] - near(0.0, -0.5)[i])).abs() < 1e-10);
        }
    }

    #[test]
    fn the_way_back_is_exact_with_any_guess() {
        let wrong = Polynomial(vec![vec![300.0]]);
        for sip in [sip(None), sip(Some([wrong.clone(), wrong]))] {
            for (x, y) in [(0.0, 0.0), (2000.0, 1500.0), (-1800.0, 7.0)] {
                let [u, v] = sip.to_linear(x, y);
                let [back_x, back_y] = sip.to_pixel(u, v);
                assert!((back_x - x).abs() < 1e-11 && (back_y - y).abs() < 1e-11);
                assert!(x == 0.0 || (u - x).abs() > 1.0, "the distortion does something");
            }
        }
        assert!(sip(None).to_pixel(-1e7, 0.0)[0].is_nan(), "the polynomial turns back");
    }
}
