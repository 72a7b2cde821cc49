//! Choosing how integers are written: each plausible model is tried, and the size of its differences computed.

use super::bits::{pack, packed_bytes, width_of};
use super::ints::{Divider, FLAG_EXCEPTIONS, FLAG_SCALE, Model, PIECE_SHIFT, WIDTH_RUNS};

/// Widths that are tried in vain before the search for a smaller one ends.
const WIDTHS_WORSE_MAX: usize = 3;
/// Fixed bytes of exceptions.
const EXCEPTIONS_BYTES: usize = 11;
const SCALE_BYTES: usize = 8;
/// Fewer rows are not worth a model.
const MODEL_ROWS_MIN: usize = 16;
/// Bytes of the fields that all integers have.
const HEAD_BYTES: usize = 12;

/// Fewer rows are not worth several lines.
const PIECES_ROWS_MIN: usize = 128;
const PIECES_MAX: usize = 64;
const PIECE_BYTES: usize = 10;

/// Stands for the count of a value that is no product: further from all others than twice what lies between them, which
/// is beyond all codes.
const NO_COUNT: i64 = i64::MIN;
const COUNT_MAX: u64 = 1 << 60;

/// Lines: first row, start and slope; and what they predict.
#[derive(Debug, Default)]
struct Pieces {
    lines: Vec<(u16, u32, i32)>,
    predicted: Vec<i64>,
}

/// How differences to a model are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Fit {
    pub(super) base: i64,
    pub(super) scale: u64,
    pub(super) width: u8,
    runs: bool,
    exceptions: bool,
    /// Of everything but the model.
    pub(super) bytes: usize,
}

/// The differences of rows that are not NULL, of `rows`.
pub(super) fn fit(dense: &[i64], rows: usize) -> Fit {
    let (mut min, mut max, mut runs) = (i64::MAX, i64::MIN, 1);
    for value in dense {
        min = min.min(*value);
        max = max.max(*value);
    }
    runs += dense.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if min >= max {
        return Fit {
            base: dense.first().copied().unwrap_or(0),
            scale: 1,
            bytes: HEAD_BYTES,
            ..Fit::default()
        };
    }
    let scale = divisor(dense, min);
    let width = width_of(max.wrapping_sub(min) as u64 / scale);
    let scale_bytes = if scale > 1 { SCALE_BYTES } else { 0 };
    let bytes = HEAD_BYTES + scale_bytes + packed_bytes(rows, width);
    let mut best = Fit { base: min, scale, width, runs: false, exceptions: false, bytes };
    let runs_bytes = HEAD_BYTES + scale_bytes + 3 + runs * 2 + packed_bytes(runs, width);
    if runs_bytes < best.bytes {
        best = Fit { runs: true, bytes: runs_bytes, ..best };
    }
    if width > 1 && dense.len() >= 32 && best.bytes > HEAD_BYTES + 32 && has_outliers(dense, scale, width) {
        with_exceptions(dense, rows, min, scale, width, &mut best);
    }
    best
}

/// Places in lists; those below 0, and those that would need too many bits, are exceptions.
pub(super) fn fit_list(places: &[i64], mask: Mask<'_>) -> Fit {
    let mut best = Fit { scale: 1, bytes: usize::MAX, ..Fit::default() };
    for width in 0..=4 {
        let counts = |row: usize| mask.is_none_or(|mask| mask[row]);
        let fits = |place: i64| (0..1 << width).contains(&place);
        let misses = (0..places.len()).filter(|row| counts(*row) && !fits(places[*row])).count();
        let bytes = HEAD_BYTES
            + packed_bytes(places.len(), width)
            + if misses > 0 { EXCEPTIONS_BYTES + misses * 5 } else { 0 };
        if bytes < best.bytes {
            best = Fit { width, bytes, ..best };
        }
    }
    best
}

/// The largest number that divides all differences to `min`.
pub(super) fn divisor(dense: &[i64], min: i64) -> u64 {
    let mut divisor = 0u64;
    for value in dense {
        let difference = value.wrapping_sub(min) as u64;
        if divisor != 0 && difference.is_multiple_of(divisor) {
            continue;
        }
        let (mut a, mut b) = (divisor, difference);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1)
}

/// Whether most of a sample lies in a smaller range.
fn has_outliers(dense: &[i64], scale: u64, width: u8) -> bool {
    let mut sample = [0; 64];
    let count = dense.len().min(64);
    let step = dense.len() / count;
    sample.iter_mut().zip(dense.iter().step_by(step)).for_each(|(to, from)| *to = *from);
    let sample = &mut sample[..count];
    sample.sort_unstable();
    let inner = sample[count - 1 - count / 12].wrapping_sub(sample[count / 12]) as u64;
    width_of(inner / scale) < width
}

/// Tries smaller widths, with what does not fit in them as exceptions.
fn with_exceptions(dense: &[i64], rows: usize, min: i64, scale: u64, width: u8, best: &mut Fit) {
    let mut sorted: Vec<u64> = dense.iter().map(|value| value.wrapping_sub(min) as u64 / scale).collect();
    sorted.sort_unstable();
    let last = sorted.len() - 1;
    let scale_bytes = if scale > 1 { SCALE_BYTES } else { 0 };
    let mut worse = 0;
    for width in (0..width).rev() {
        let span = (1u64 << width) - 1;
        let (mut from, mut found) = (0, (0, 0));
        for (index, value) in sorted.iter().enumerate() {
            while value - sorted[from] > span {
                from += 1;
            }
            if index - from >= found.1 - found.0 {
                found = (from, index);
            }
        }
        let (from, to) = found;
        let count = sorted.len() - (to - from + 1);
        let outside_from = if from == 0 { sorted[(to + 1).min(last)] } else { sorted[0] };
        let outside_to = if to == last { sorted[from.saturating_sub(1)] } else { sorted[last] };
        let outside = width_of((outside_to - outside_from).saturating_mul(scale));
        let bytes = HEAD_BYTES
            + scale_bytes
            + packed_bytes(rows, width)
            + EXCEPTIONS_BYTES
            + count * 2
            + packed_bytes(count, outside);
        if bytes < best.bytes {
            let base = min.wrapping_add((sorted[from] * scale) as i64);
            *best = Fit { base, scale, width, runs: false, exceptions: true, bytes };
            worse = 0;
        }
        worse += 1;
        if worse > WIDTHS_WORSE_MAX || count * 2 > best.bytes {
            break;
        }
    }
}

/// A model with how its differences are written.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) model: Model,
    /// Of model `Pieces`.
    pieces: Vec<(u16, u32, i32)>,
    pub(super) shift: u8,
    /// By row; empty: zeros.
    pub(super) predicted: Vec<i64>,
    /// By row, what codes count; empty: ones.
    factors: Vec<i64>,
    pub(super) fit: Fit,
}

fn model_bytes(model: Model) -> usize {
    match model {
        Model::None => 0,
        Model::Line { .. } => 8,
        Model::Pieces { count, .. } => 2 + usize::from(count) * PIECE_BYTES,
        Model::Column { .. } => 10,
        Model::Sum { .. } | Model::Map { .. } | Model::List { .. } => 4,
        Model::Product { .. } => 6,
    }
}

/// Which rows count: all, or those not NULL.
pub(super) type Mask<'a> = Option<&'a [bool]>;

/// The values of rows that count.
pub(super) fn dense<'a>(values: impl Iterator<Item = i64> + 'a, mask: Mask<'a>, out: &mut Vec<i64>) {
    out.clear();
    match mask {
        None => out.extend(values),
        Some(mask) => out.extend(values.zip(mask).filter(|(_, valid)| **valid).map(|(value, _)| value)),
    }
}

impl Choice {
    /// A model that predicts these values.
    pub(super) fn new(
        model: Model,
        shift: u8,
        predicted: Vec<i64>,
        values: &[i64],
        mask: Mask<'_>,
        scratch: &mut Vec<i64>,
    ) -> Choice {
        if predicted.is_empty() {
            dense(values.iter().copied(), mask, scratch);
        } else {
            dense(values.iter().zip(&predicted).map(|(v, p)| v.wrapping_sub(*p)), mask, scratch);
        }
        let fit = fit(scratch, values.len());
        Choice { model, pieces: Vec::new(), shift, predicted, factors: Vec::new(), fit }
    }

    /// A model whose differences are known.
    pub(super) fn with_fit(model: Model, predicted: Vec<i64>, fit: Fit) -> Choice {
        Choice { model, pieces: Vec::new(), shift: 0, predicted, factors: Vec::new(), fit }
    }

    /// Values as products with what `others` divided by `divisor` are, and the numbers that are multiplied with them.
    pub(super) fn product(
        model: Model,
        divisor: u32,
        others: &[i64],
        values: &[i64],
        mask: Mask<'_>,
        scratch: &mut Vec<i64>,
    ) -> (Choice, Vec<i64>) {
        let divider = Divider::new(divisor);
        let factors: Vec<i64> = others.iter().map(|other| divider.divide(*other)).collect();
        let count = |(value, factor): (&i64, &i64)| match value.checked_rem(*factor) {
            Some(0) => Some(value / factor).filter(|count| count.unsigned_abs() <= COUNT_MAX),
            _ => None,
        };
        let counts: Vec<i64> =
            values.iter().zip(&factors).map(|both| count(both).unwrap_or(NO_COUNT)).collect();
        dense(counts.iter().copied(), mask, scratch);
        let all = scratch.len();
        scratch.retain(|count| *count != NO_COUNT);
        let misses = all - scratch.len();
        let mut fit = fit(scratch, values.len());
        fit.bytes += if misses > 0 { EXCEPTIONS_BYTES + misses * (2 + size_of::<i64>()) } else { 0 };
        (Choice { model, pieces: Vec::new(), shift: 0, predicted: Vec::new(), factors, fit }, counts)
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.fit.bytes + model_bytes(self.model)
    }

    /// The best model that needs nothing but the values.
    pub(super) fn own(values: &[i64], mask: Mask<'_>, scratch: &mut Vec<i64>) -> Choice {
        let best = Choice::new(Model::None, 0, Vec::new(), values, mask, scratch);
        if values.len() < MODEL_ROWS_MIN || best.bytes() <= HEAD_BYTES + values.len() / 16 {
            return best;
        }
        if best.fit.scale == 1 {
            return Choice::along_rows(values, mask, best, scratch);
        }
        // Lines through the quotients, in the units of the divisor.
        let (base, scale) = (best.fit.base, best.fit.scale as i64);
        let units: Vec<i64> =
            values.iter().map(|value| (value.wrapping_sub(base) as u64 / best.fit.scale) as i64).collect();
        let plain = Choice::new(Model::None, 0, Vec::new(), &units, mask, scratch);
        let mut other = Choice::along_rows(&units, mask, plain, scratch);
        if other.model == Model::None || other.bytes() + SCALE_BYTES >= best.bytes() {
            return best;
        }
        other.fit.base = base.wrapping_add(other.fit.base.wrapping_mul(scale));
        other.fit.scale = best.fit.scale;
        other.fit.bytes += SCALE_BYTES;
        other.predicted.iter_mut().for_each(|predicted| *predicted = predicted.wrapping_mul(scale));
        other
    }

    /// Tries models of the row's number. A scale would be that of what they predict too, so that differences which
    /// happen to have a divisor are not divided.
    fn along_rows(values: &[i64], mask: Mask<'_>, mut best: Choice, scratch: &mut Vec<i64>) -> Choice {
        if let Some((slope, shift, predicted)) = line(values) {
            let other = Choice::new(Model::Line { slope }, shift, predicted, values, mask, scratch);
            if other.fit.scale == 1 && other.bytes() < best.bytes() {
                best = other;
            }
        }
        let linear = matches!(best.model, Model::Line { .. }) && best.fit.width > 4;
        if values.len() < PIECES_ROWS_MIN || !(linear || looks_smooth(values, best.fit.width)) {
            return best;
        }
        for width in [3, 5, 7] {
            let error = f64::from(1u32 << width) / 2.0;
            if best.fit.width <= width {
                continue;
            }
            let Some(pieces) = pieces(values, error) else { continue };
            let model = Model::Pieces { at: 0, count: pieces.lines.len() as u16 };
            let mut other = Choice::new(model, PIECE_SHIFT, pieces.predicted, values, mask, scratch);
            other.pieces = pieces.lines;
            if other.fit.scale == 1 && other.bytes() < best.bytes() {
                best = other;
            }
        }
        best
    }

    /// Appends the integers of rows, and puts into `values` what will be read for rows that do not count.
    pub(super) fn write(&self, values: &mut [i64], mask: Mask<'_>, out: &mut Vec<u8>) {
        self.write_codes(values, mask, out, |row, value| {
            value.wrapping_sub(self.predicted.get(row).copied().unwrap_or(0))
        });
    }

    /// As `write`, with the difference of a row to its prediction.
    pub(super) fn write_codes(
        &self,
        values: &mut [i64],
        mask: Mask<'_>,
        out: &mut Vec<u8>,
        difference: impl Fn(usize, i64) -> i64,
    ) {
        let fit = &self.fit;
        let mut codes = vec![0; values.len()];
        let (mut rows, mut exceptions) = (Vec::new(), Vec::new());
        let limit = if fit.width == 64 { u64::MAX } else { (1 << fit.width) - 1 };
        let mut code = 0;
        for (row, value) in values.iter_mut().enumerate() {
            // Runs go on in rows that do not count.
            code = if fit.runs { code } else { 0 };
            if mask.is_none_or(|mask| mask[row]) {
                let away = difference(row, *value).wrapping_sub(fit.base) as u64;
                code = away / fit.scale;
                if code > limit || !away.is_multiple_of(fit.scale) {
                    code = 0;
                    rows.push(u16::try_from(row).expect("below BLOCK_ROWS"));
                    exceptions.push(*value);
                }
            } else {
                let away = fit.base.wrapping_add(fit.scale.wrapping_mul(code) as i64);
                *value = match self.factors.get(row) {
                    Some(factor) => factor.wrapping_mul(away),
                    None => self.predicted.get(row).copied().unwrap_or(0).wrapping_add(away),
                };
            }
            codes[row] = code;
        }
        self.write_head(!rows.is_empty(), out);
        if !rows.is_empty() {
            write_exceptions(&rows, &exceptions, out);
        }
        if fit.runs { write_runs(&codes, fit.width, out) } else { pack(&codes, fit.width, out) }
    }

    fn write_head(&self, exceptions: bool, out: &mut Vec<u8>) {
        let fit = &self.fit;
        let model = match self.model {
            Model::None => 0,
            Model::Line { .. } => 1,
            Model::Pieces { .. } => 2,
            Model::Column { .. } => 3,
            Model::Sum { negative, .. } => 4 + u8::from(negative),
            Model::Map { .. } => 6,
            Model::List { .. } => 7,
            Model::Product { .. } => 8,
        };
        let flags = if fit.scale > 1 { FLAG_SCALE } else { 0 } | if exceptions { FLAG_EXCEPTIONS } else { 0 };
        let width = if fit.runs { WIDTH_RUNS } else { fit.width };
        out.extend_from_slice(&[model, width, flags, self.shift]);
        out.extend_from_slice(&fit.base.to_le_bytes());
        if fit.scale > 1 {
            out.extend_from_slice(&fit.scale.to_le_bytes());
        }
        match self.model {
            Model::None => {}
            Model::Line { slope } => out.extend_from_slice(&slope.to_le_bytes()),
            Model::Pieces { .. } => {
                out.extend_from_slice(&(self.pieces.len() as u16).to_le_bytes());
                self.pieces.iter().for_each(|(row, ..)| out.extend_from_slice(&row.to_le_bytes()));
                for (_, start, slope) in &self.pieces {
                    out.extend_from_slice(&start.to_le_bytes());
                    out.extend_from_slice(&slope.to_le_bytes());
                }
            }
            Model::Column { column, slope } => {
                out.extend_from_slice(&column.to_le_bytes());
                out.extend_from_slice(&slope.to_le_bytes());
            }
            Model::Sum { first, second, .. } => {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&second.to_le_bytes());
            }
            Model::Map { column, table } | Model::List { column, table } => {
                out.extend_from_slice(&column.to_le_bytes());
                out.extend_from_slice(&table.to_le_bytes());
            }
            Model::Product { column, divisor } => {
                out.extend_from_slice(&column.to_le_bytes());
                out.extend_from_slice(&divisor.to_le_bytes());
            }
        }
    }
}

fn write_exceptions(rows: &[u16], values: &[i64], out: &mut Vec<u8>) {
    let min = values.iter().min().copied().unwrap_or(0);
    let away: Vec<u64> = values.iter().map(|value| value.wrapping_sub(min) as u64).collect();
    let width = width_of(away.iter().max().copied().unwrap_or(0));
    out.extend_from_slice(&u16::try_from(rows.len()).expect("at most BLOCK_ROWS").to_le_bytes());
    out.push(width);
    out.extend_from_slice(&min.to_le_bytes());
    rows.iter().for_each(|row| out.extend_from_slice(&row.to_le_bytes()));
    pack(&away, width, out);
}

fn write_runs(codes: &[u64], width: u8, out: &mut Vec<u8>) {
    let (mut ends, mut values) = (Vec::new(), Vec::new());
    for (row, code) in codes.iter().enumerate() {
        let last = row + 1 == codes.len();
        if last || codes[row + 1] != *code {
            ends.push(u16::try_from(row + 1).expect("at most BLOCK_ROWS"));
            values.push(*code);
        }
    }
    out.extend_from_slice(&u16::try_from(ends.len()).expect("at most BLOCK_ROWS").to_le_bytes());
    out.push(width);
    ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
    pack(&values, width, out);
}

/// A line through about the first and last values; `None` if it is flat.
fn line(values: &[i64]) -> Option<(i64, u8, Vec<i64>)> {
    let count = values.len();
    let (first, last) = (values[0], values[count - 1]);
    let (slope, shift) = slope(first, last, count - 1)?;
    let mut sum = 0i64;
    let next = |_| {
        let predicted = sum >> shift;
        sum = sum.wrapping_add(slope);
        predicted
    };
    Some((slope, shift, (0..count).map(next).collect()))
}

/// `last - first` over `steps` as a fixed-point number. A product with a row may wrap around only if there is no shift.
fn slope(first: i64, last: i64, steps: usize) -> Option<(i64, u8)> {
    let rise = i128::from(last) - i128::from(first);
    if rise == 0 {
        return None;
    }
    let used = 128 - rise.unsigned_abs().leading_zeros();
    let shift = 61u32.saturating_sub(used).min(20) as u8;
    Some((i64::try_from((rise << shift) / steps as i128).ok()?, shift))
}

/// Whether neighbours lie closer together than all values: lines through parts may serve.
fn looks_smooth(values: &[i64], width: u8) -> bool {
    let mut steps: Vec<u64> =
        values.windows(2).step_by(16).map(|pair| pair[1].wrapping_sub(pair[0]).unsigned_abs()).collect();
    steps.sort_unstable();
    width_of(steps[steps.len() * 3 / 4]) + 2 < width
}

/// Lines for consecutive values, each not further than `error` from its values before rounding; `None` if there are many.
fn pieces(values: &[i64], error: f64) -> Option<Pieces> {
    let min = values.iter().min().copied().unwrap_or(0);
    let mut found = Pieces::default();
    let mut first = 0;
    while first < values.len() {
        let (end, slope) = longest_line(values, first, error);
        let start = u32::try_from(values[first].wrapping_sub(min)).ok()?;
        let slope = (slope * (1i64 << PIECE_SHIFT) as f64).round();
        if slope.abs() >= f64::from(i32::MAX) || found.lines.len() == PIECES_MAX {
            return None;
        }
        found.lines.push((u16::try_from(first).ok()?, start, slope as i32));
        let line = |row: usize| i64::from(start) + ((slope as i64 * row as i64) >> PIECE_SHIFT);
        found.predicted.extend((0..end - first).map(line));
        first = end;
    }
    Some(found)
}

/// The end of the values from `first` that a line through the first serves, and its slope (shrinking cone).
fn longest_line(values: &[i64], first: usize, error: f64) -> (usize, f64) {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for (steps, value) in values[first + 1..].iter().enumerate() {
        let steps = (steps + 1) as f64;
        let rise = value.wrapping_sub(values[first]) as f64;
        let (from, to) = ((rise - error) / steps, (rise + error) / steps);
        if from > high || to < low {
            return (first + steps as usize, middle(low, high));
        }
        low = low.max(from);
        high = high.min(to);
    }
    (values.len(), middle(low, high))
}

fn middle(low: f64, high: f64) -> f64 {
    if low.is_finite() { (low + high) / 2.0 } else { 0.0 }
}
