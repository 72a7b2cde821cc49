//! `numeric`: a decimal of up to 38 digits with its own display scale, and NaN.

/// Bytes of a numeric in rows and Arrow arrays: scale u8 (255 = NaN), coefficient i128 little-endian.
pub const NUMERIC_BYTES: usize = 17;

const NAN_SCALE: u8 = u8::MAX;

/// `coefficient * 10^-scale`, displayed with `scale` fractional digits.
/// Invariant: `|coefficient| < 10^38` and `scale <= 38`, or the value is NaN.
/// Equality of fields is not SQL equality (`1.0 = 1.00`); see [`Numeric::cmp`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Numeric {
    coefficient: i128,
    scale: u8,
}

impl Numeric {
    /// Largest number of significant digits.
    pub const DIGITS_MAX: u32 = 38;
    /// Zero with no fractional digits.
    pub const ZERO: Numeric = Numeric { coefficient: 0, scale: 0 };
    /// Not a number: equal to itself and above every number (PG 15, chapter 8.1.2).
    pub const NAN: Numeric = Numeric { coefficient: 0, scale: NAN_SCALE };

    /// `coefficient * 10^-scale`, or `None` if it breaks the invariant.
    pub fn new(coefficient: i128, scale: u8) -> Option<Numeric> {
        let fits = coefficient.unsigned_abs() < 10u128.pow(Self::DIGITS_MAX);
        (fits && u32::from(scale) <= Self::DIGITS_MAX).then_some(Numeric { coefficient, scale })
    }

    /// The unscaled value; 0 for NaN.
    pub fn coefficient(self) -> i128 {
        self.coefficient
    }

    /// Fractional digits displayed; 0 for NaN.
    pub fn scale(self) -> u8 {
        if self.is_nan() { 0 } else { self.scale }
    }

    /// Whether this is NaN.
    pub fn is_nan(self) -> bool {
        self.scale == NAN_SCALE
    }

    /// Bytes for rows and arrays.
    pub fn to_bytes(self) -> [u8; NUMERIC_BYTES] {
        let mut bytes = [0; NUMERIC_BYTES];
        bytes[0] = self.scale;
        bytes[1..].copy_from_slice(&self.coefficient.to_le_bytes());
        bytes
    }

    /// Inverse of [`Numeric::to_bytes`]; `None` if the bytes break the invariant.
    pub fn from_bytes(bytes: [u8; NUMERIC_BYTES]) -> Option<Numeric> {
        let [scale, rest @ ..] = bytes;
        let coefficient = i128::from_le_bytes(rest);
        if scale == NAN_SCALE {
            return (coefficient == 0).then_some(Numeric::NAN);
        }
        Numeric::new(coefficient, scale)
    }
}
