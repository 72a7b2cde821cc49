//! Floats as decimal integers (ALP: Afroozeh, Kuffó, Boncz 2023): `digits * 10^f * 10^-e` in this order gives the float bit
//! by bit, or the float is odd and stands as it is.
//!
//! Written here, since the crate `alp` (0.0.4) writes through uninitialised slices, which takes `unsafe`, and brings its
//! own patches and chunks; what is left of it is this page.

/// Decimal exponents of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Exponents {
    e: u8,
    f: u8,
}

const E_MAX: u8 = 18;

const TENS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];
const TENTHS: [f64; 19] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15,
    1e-16, 1e-17, 1e-18,
];

/// Adding and subtracting it rounds a float below 2^51 to an integer.
const ROUNDING: f64 = (1u64 << 52) as f64 + (1u64 << 51) as f64;

impl Exponents {
    pub(super) fn new(e: u8, f: u8) -> Option<Exponents> {
        (f <= e && e <= E_MAX).then_some(Exponents { e, f })
    }

    pub(super) fn to_bytes(self) -> [u8; 2] {
        [self.e, self.f]
    }

    /// The float of these digits.
    #[inline]
    pub(super) fn float(self, digits: i64) -> f64 {
        digits as f64 * TENS[usize::from(self.f)] * TENTHS[usize::from(self.e)]
    }

    /// About the digits of a float.
    pub(super) fn digits_near(self, float: f64) -> f64 {
        float * TENS[usize::from(self.e)] * TENTHS[usize::from(self.f)]
    }

    /// The floats of digits.
    pub(super) fn floats(self, digits: &[i64], out: &mut [f64]) {
        let (ten, tenth) = (TENS[usize::from(self.f)], TENTHS[usize::from(self.e)]);
        out.iter_mut().zip(digits).for_each(|(out, digits)| *out = *digits as f64 * ten * tenth);
    }

    /// Digits that give the float bit by bit; with `narrow`, as `f32`.
    #[inline]
    pub(super) fn digits(self, float: f64, narrow: bool) -> Option<i64> {
        let scaled = float * TENS[usize::from(self.e)] * TENTHS[usize::from(self.f)];
        if scaled.is_nan() || scaled.abs() >= (1u64 << 51) as f64 {
            return None;
        }
        let digits = (scaled + ROUNDING - ROUNDING) as i64;
        let again = self.float(digits);
        let same = if narrow {
            (again as f32).to_bits() == (float as f32).to_bits()
        } else {
            again.to_bits() == float.to_bits()
        };
        same.then_some(digits)
    }

    /// The exponents that serve most of these floats, and with the fewest digits.
    pub(super) fn search(floats: &[f64], narrow: bool) -> Exponents {
        let step = (floats.len() / 32).max(1);
        let mut best = (usize::MAX, u64::MAX, Exponents { e: 0, f: 0 });
        for e in 0..=E_MAX {
            for f in 0..=e {
                let exponents = Exponents { e, f };
                let (mut odd, mut largest) = (0, 0);
                for float in floats.iter().step_by(step) {
                    match exponents.digits(*float, narrow) {
                        Some(digits) => largest = largest.max(digits.unsigned_abs()),
                        None => odd += 1,
                    }
                    if odd > best.0 {
                        break;
                    }
                }
                if (odd, largest) < (best.0, best.1) {
                    best = (odd, largest, exponents);
                }
            }
        }
        best.2
    }
}
