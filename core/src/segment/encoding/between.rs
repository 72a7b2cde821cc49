//! Rows whose number lies in a range, found among the packed codes: where greater codes stand for greater numbers, the
//! range is turned into one of codes, and no number is computed but those of exceptions and odd rows.

use std::ops::Bound;

use super::super::format::BLOCK_ROWS;
use super::alp::Exponents;
use super::block::EncodedBlock;
use super::ints::Rising;
use super::values::float_of;
use crate::filter::{FloatTest, mask};
use crate::types::Numeric;

impl EncodedBlock {
    /// Clears the rows whose integer is below `low` or above `high`; those of NULL rows hold anything. False, and nothing
    /// done, if the column is not written in a way that allows for it.
    pub(crate) fn retain_ints(&self, column: usize, low: i64, high: i64, mask: &mut [u64]) -> bool {
        let Some(rising) = self.int_codes(column).and_then(|ints| ints.rising()) else { return false };
        let rows = mask.to_vec();
        retain_rising(self, &rising, low, high, &rows, mask);
        true
    }

    /// As `retain_ints` for numerics between two bounds; `accepts` says it of a value as rows store it. `scratch` may hold
    /// anything.
    pub(crate) fn retain_numerics(
        &self,
        column: usize,
        (low, high): (&Bound<Numeric>, &Bound<Numeric>),
        accepts: impl Fn(&[u8]) -> bool,
        mask: &mut [u64],
        scratch: &mut Vec<i64>,
    ) -> bool {
        let Some((scale, coefficients, odd)) = self.scaled(column) else { return false };
        let Some((low, high)) = coefficients_between(low, high, scale) else { return false };
        let rows = mask.to_vec();
        match coefficients.rising() {
            Some(rising) => retain_rising(self, &rising, low, high, &rows, mask),
            None => {
                scratch.resize(BLOCK_ROWS, 0);
                let values = &mut scratch[..self.rows()];
                self.fill(column, coefficients, 0..self.rows(), values);
                mask::retain_values(mask, values, |value| (low <= value) & (value <= high));
            }
        }
        for (row, value) in odd.each(self.bytes(), 0..self.rows()) {
            put(&rows, row, accepts(value), mask);
        }
        true
    }

    /// As `retain_ints` for a test of floats.
    pub(crate) fn retain_floats(&self, column: usize, test: &FloatTest, mask: &mut [u64]) -> bool {
        let FloatTest::Range { low, high, .. } = test else { return false };
        let Some((exponents, digits, odd)) = self.alp(column) else { return false };
        let Some(rising) = digits.rising() else { return false };
        let is_narrow = self.shape(column).0.row_size() == Some(size_of::<f32>());
        let number = |digits: i64| {
            let float = exponents.float(digits);
            if is_narrow { f64::from(float as f32) } else { float }
        };
        let number_of = |code: u64| number(rising.value(code));
        let from = first_code(&rising, guess(&rising, exponents, *low), |code| number_of(code) >= *low);
        let behind = first_code(&rising, guess(&rising, exponents, *high), |code| number_of(code) > *high);
        // A bound that is NaN lets nothing through.
        let to = behind.checked_sub(1).filter(|_| low <= high);
        let rows = mask.to_vec();
        retain_codes(self, &rising, from, to, mask);
        rising
            .each_exception(self.bytes(), |row, digits| put(&rows, row, test.accepts(number(digits)), mask));
        for (row, value) in odd.each(self.bytes(), 0..self.rows()) {
            put(&rows, row, test.accepts(float_of(value)), mask);
        }
        true
    }
}

/// Clears the rows of `rows`, which `mask` is, whose number is below `low` or above `high`.
fn retain_rising(block: &EncodedBlock, rising: &Rising, low: i64, high: i64, rows: &[u64], mask: &mut [u64]) {
    let before = (low <= rising.base, high < rising.base || high < low);
    let unit = rising.scale.cast_unsigned();
    let from = if before.0 { 0 } else { (low.wrapping_sub(rising.base) as u64).div_ceil(unit) };
    let to = if before.1 { None } else { Some(high.wrapping_sub(rising.base) as u64 / unit) };
    retain_codes(block, rising, from, to, mask);
    rising.each_exception(block.bytes(), |row, value| {
        put(rows, row, (low <= value) & (value <= high), mask);
    });
}

/// The least and the greatest coefficient of numerics of a scale that lie between two bounds; the first is above the second
/// if none does. `None` for bounds that are no numbers, and scales that no numeric has.
fn coefficients_between(low: &Bound<Numeric>, high: &Bound<Numeric>, scale: u8) -> Option<(i64, i64)> {
    let low = match low {
        Bound::Unbounded => i128::MIN,
        Bound::Included(bound) => {
            let (floor, is_exact) = coefficient_at(*bound, scale)?;
            floor.saturating_add(i128::from(!is_exact))
        }
        Bound::Excluded(bound) => coefficient_at(*bound, scale)?.0.saturating_add(1),
    };
    let high = match high {
        Bound::Unbounded => i128::MAX,
        Bound::Included(bound) => coefficient_at(*bound, scale)?.0,
        Bound::Excluded(bound) => {
            let (floor, is_exact) = coefficient_at(*bound, scale)?;
            floor.saturating_sub(i128::from(is_exact))
        }
    };
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    if low > most || high < least {
        return Some((i64::MAX, i64::MIN));
    }
    // Both fit now.
    Some((low.max(least) as i64, high.min(most) as i64))
}

/// The greatest coefficient of a scale that is not above a number, and whether it is that number.
fn coefficient_at(number: Numeric, scale: u8) -> Option<(i128, bool)> {
    if number.is_nan() || u32::from(scale) > Numeric::DIGITS_MAX {
        return None;
    }
    let (coefficient, own) = (number.coefficient(), number.scale());
    if own <= scale {
        let factor = 10i128.pow(u32::from(scale - own));
        return Some((coefficient.saturating_mul(factor), true));
    }
    let divisor = 10i128.pow(u32::from(own - scale));
    Some((coefficient.div_euclid(divisor), coefficient.rem_euclid(divisor) == 0))
}

/// Clears the rows whose code is below `from`, or above `to`, which nothing is if it is `None`.
fn retain_codes(block: &EncodedBlock, rising: &Rising, from: u64, to: Option<u64>, mask: &mut [u64]) {
    match to.map(|to| to.min(rising.top)) {
        Some(to) if from == 0 && to == rising.top => {}
        Some(to) if from <= to => rising.codes.retain(block.bytes(), from, to, mask),
        _ => mask.fill(0),
    }
}

/// Says of a row that was left before whether it still is.
fn put(before: &[u64], row: usize, keep: bool, mask: &mut [u64]) {
    let bit = 1 << (row % 64);
    if let (Some(before), Some(word)) = (before.get(row / 64), mask.get_mut(row / 64)) {
        *word = *word & !bit | if keep { before & bit } else { 0 };
    }
}

/// The code of about this float.
fn guess(rising: &Rising, exponents: Exponents, float: f64) -> u64 {
    ((exponents.digits_near(float) - rising.base as f64) / rising.scale as f64) as u64
}

/// The first code that passes, one behind the last if none does; all behind one that passes do. Steps that grow lead
/// from the guess to both sides of it.
fn first_code(rising: &Rising, guess: u64, passes: impl Fn(u64) -> bool) -> u64 {
    let guess = guess.min(rising.top);
    let (mut low, mut high) = (0, rising.top + 1);
    let mut step = 1;
    if passes(guess) {
        high = guess;
        while high > low {
            let code = high.saturating_sub(step);
            if !passes(code) {
                low = code + 1;
                break;
            }
            (high, step) = (code, step * 4);
        }
    } else {
        low = guess + 1;
        while low < high {
            let code = (low + step - 1).min(high - 1);
            if passes(code) {
                high = code;
                break;
            }
            (low, step) = (code + 1, step * 4);
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if passes(middle) { high = middle } else { low = middle + 1 }
    }
    low
}
