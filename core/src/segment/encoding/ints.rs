//! Integers of a block: a model's prediction plus a packed difference. Values are 64 bits wide and wrap around.
//!
//! Where several things are present they follow each other in this order, with nothing between them:
//!
//! | part | bytes |
//! |---|---|
//! | model | u8: 0 none, 1 line, 2 pieces, 3 column, 4 sum, 5 difference, 6 map, 7 list, 8 product |
//! | width | u8: bits of a code, 0 to 64; 255: the codes are runs |
//! | flags | u8: bit 0 scale, bit 1 exceptions |
//! | shift | u8, below 64: of the slope |
//! | base | i64 |
//! | scale | i64, if its flag is set; else it is 1 |
//! | line | slope i64: predicts `slope * row >> shift` |
//! | pieces | count u16, first row of each u16 (rising), start u32 and slope i32 of each: predicts `start + (slope * (row - first) >> shift)` |
//! | column | column u16, slope i64: predicts `slope * value >> shift` of another column of the row |
//! | sum, difference | columns u16, u16: predicts `first + second` or `first - second` |
//! | map | column u16, table u16: predicts the map's value for another column of the row |
//! | list | column u16, table u16: the code is the place in the list of values for another column of the row |
//! | product | column u16, divisor u32, not 0: the code counts another column of the row, divided by the divisor |
//! | exceptions | count u16, width u8, base i64, rows u16 (rising), packed differences to that base |
//! | codes | packed; or runs: count u16, width u8, row at which each run ends u16 (rising), packed codes |
//!
//! Value of a row: the exception's; for line and pieces `base + scale * (prediction + code)`, for a list the one that the
//! code names, for a product `value / divisor * (base + scale * code)`, for others `prediction + base + scale * code`. What another column predicts from is its
//! integer, its dictionary code, or the coefficient of a numeric.

use std::hint::select_unpredictable;
use std::ops::Range;

use super::super::format::Bytes;
use super::bits::{Packed, packed_bytes};
use super::block::EncodedBlock;
use super::invert::Line;
use crate::learned::search::partition_point;

/// Binary digits of the slope of a piece behind the point.
pub(super) const PIECE_SHIFT: u8 = 12;
/// A line is followed if what lies along it strays by no more rows.
const LINE_ROWS_MAX: f64 = 256.0;
pub(super) const WIDTH_RUNS: u8 = u8::MAX;
pub(super) const FLAG_SCALE: u8 = 1;
pub(super) const FLAG_EXCEPTIONS: u8 = 2;

/// Reads the parts of a section; `None` beyond its end.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    /// Of the whole block or table, up to the section's end.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], range: Range<usize>) -> Option<Cursor<'a>> {
        (range.start <= range.end).then_some(())?;
        Some(Cursor { bytes: Bytes(bytes).slice(0, range.end)?, at: range.start })
    }

    /// Takes `count` bytes and says where they are.
    pub(super) fn take(&mut self, count: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        Some(std::mem::replace(&mut self.at, end)..end)
    }

    /// As `take`, but only where they begin.
    pub(super) fn take_at(&mut self, count: usize) -> Option<u32> {
        u32::try_from(self.take(count)?.start).ok()
    }

    pub(super) fn rest(&mut self) -> Range<usize> {
        let start = std::mem::replace(&mut self.at, self.bytes.len());
        start..self.bytes.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let range = self.take(N)?;
        self.bytes[range].first_chunk().copied()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn packed(&mut self, count: usize, width: u8) -> Option<Packed> {
        (width <= 64).then_some(())?;
        let range = self.take(packed_bytes(count, width))?;
        u32::try_from(range.start).ok()?;
        Some(Packed::new(range.start, count, width))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Model {
    None,
    Line { slope: i64 },
    Pieces { at: u32, count: u16 },
    Column { column: u16, slope: i64 },
    Sum { first: u16, second: u16, negative: bool },
    Map { column: u16, table: u16 },
    List { column: u16, table: u16 },
    Product { column: u16, divisor: u32 },
}

impl Model {
    /// The columns that it predicts from.
    pub(super) fn references(&self) -> [Option<u16>; 2] {
        match *self {
            Model::None | Model::Line { .. } | Model::Pieces { .. } => [None, None],
            Model::Column { column, .. }
            | Model::Map { column, .. }
            | Model::List { column, .. }
            | Model::Product { column, .. } => [Some(column), None],
            Model::Sum { first, second, .. } => [Some(first), Some(second)],
        }
    }
}

/// What a product is counted in: a value of another column, divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divider {
    divisor: i64,
    /// 2^64 divided by the divisor, rounded up: a product with it divides values below 2^32.
    reciprocal: u128,
}

impl Divider {
    pub(super) fn new(divisor: u32) -> Divider {
        let reciprocal = (1u128 << 64).div_ceil(u128::from(divisor.max(1)));
        Divider { divisor: i64::from(divisor.max(1)), reciprocal }
    }

    #[inline]
    pub(super) fn divide(self, value: i64) -> i64 {
        match u32::try_from(value) {
            Ok(value) => ((u128::from(value) * self.reciprocal) >> 64) as i64,
            Err(_) => value / self.divisor,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Codes {
    Packed(Packed),
    Runs { count: u16, ends: u32, values: Packed },
}

/// Rows that the model does not serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceptions {
    count: u16,
    rows: u32,
    base: i64,
    values: Packed,
}

/// Integers, where they lie in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ints {
    model: Model,
    shift: u8,
    base: i64,
    scale: i64,
    exceptions: Option<Exceptions>,
    codes: Codes,
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], at: u32, index: usize) -> usize {
    let at = at as usize + index * 2;
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |pair| usize::from(u16::from_le_bytes(*pair)))
}

/// How many of `count` rising u16 at `at` are at most `limit`.
#[inline]
pub(super) fn count_to(bytes: &[u8], at: u32, count: u16, limit: usize) -> usize {
    partition_point(0..usize::from(count), |index| u16_at(bytes, at, index) <= limit)
}

/// Packed codes that stand for integers in their order, but for exceptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rising {
    pub(super) codes: Packed,
    pub(super) base: i64,
    /// Above 0.
    pub(super) scale: i64,
    /// No code is greater.
    pub(super) top: u64,
    exceptions: Option<Exceptions>,
}

impl Rising {
    /// The integer of a code.
    #[inline]
    pub(super) fn value(&self, code: u64) -> i64 {
        self.base.wrapping_add(self.scale.wrapping_mul(code as i64))
    }

    /// Calls with the row and the integer of each exception.
    pub(super) fn each_exception(&self, bytes: &[u8], mut f: impl FnMut(usize, i64)) {
        let Some(exceptions) = &self.exceptions else { return };
        for index in 0..usize::from(exceptions.count) {
            f(u16_at(bytes, exceptions.rows, index), exceptions.value(bytes, index));
        }
    }
}

impl Exceptions {
    fn decode(cursor: &mut Cursor<'_>) -> Option<Exceptions> {
        let (count, width, base) = (cursor.u16()?, cursor.u8()?, cursor.i64()?);
        let rows = cursor.take_at(usize::from(count) * 2)?;
        Some(Exceptions { count, rows, base, values: cursor.packed(usize::from(count), width)? })
    }

    #[inline]
    fn value(&self, bytes: &[u8], index: usize) -> i64 {
        self.base.wrapping_add(self.values.get(bytes, index) as i64)
    }

    #[inline]
    fn find(&self, bytes: &[u8], row: usize) -> Option<i64> {
        let index = count_to(bytes, self.rows, self.count, row).checked_sub(1)?;
        (u16_at(bytes, self.rows, index) == row).then(|| self.value(bytes, index))
    }

    /// Replaces those of `range`, which `out` holds.
    fn apply(&self, bytes: &[u8], range: &Range<usize>, out: &mut [i64]) {
        let first =
            if range.start == 0 { 0 } else { count_to(bytes, self.rows, self.count, range.start - 1) };
        for index in first..usize::from(self.count) {
            let row = u16_at(bytes, self.rows, index);
            if row >= range.end {
                break;
            }
            if let Some(out) = row.checked_sub(range.start).and_then(|at| out.get_mut(at)) {
                *out = self.value(bytes, index);
            }
        }
    }
}

impl Codes {
    #[inline]
    fn get(&self, bytes: &[u8], row: usize) -> u64 {
        match self {
            Codes::Packed(packed) => packed.get(bytes, row),
            Codes::Runs { count, ends, values } => {
                let run = count_to(bytes, *ends, *count, row).min(usize::from(count.saturating_sub(1)));
                values.get(bytes, run)
            }
        }
    }

    /// Puts `f` of the codes into `out`.
    #[inline]
    fn each(&self, bytes: &[u8], range: Range<usize>, out: &mut [i64], f: impl Fn(u64) -> i64) {
        match self {
            Codes::Packed(packed) => packed.each(bytes, range, out, f),
            Codes::Runs { count, ends, values } => {
                let mut run = count_to(bytes, *ends, *count, range.start);
                let (mut row, start) = (range.start, range.start);
                while row < range.end {
                    let last = run + 1 >= usize::from(*count);
                    let end = if last { range.end } else { u16_at(bytes, *ends, run).min(range.end) };
                    let value = f(values.get(bytes, run.min(usize::from(count.saturating_sub(1)))));
                    if end > row {
                        out[row - start..end - start].fill(value);
                        row = end;
                    }
                    run += 1;
                }
            }
        }
    }
}

#[inline]
pub(super) fn along(slope: i64, by: i64, shift: u8) -> i64 {
    slope.wrapping_mul(by) >> shift
}

/// First row, start and slope of a piece.
#[inline]
fn piece(bytes: &[u8], at: u32, count: u16, index: usize) -> (usize, i64, i64) {
    let first = u16_at(bytes, at, index);
    let Some(bytes) =
        bytes.get(at as usize + usize::from(count) * 2 + index * 8..).and_then(<[u8]>::first_chunk)
    else {
        return (first, 0, 0);
    };
    let both = u64::from_le_bytes(*bytes);
    (first, i64::from(both as u32), i64::from((both >> 32) as i32))
}

impl Ints {
    /// Finds `rows` integers.
    pub(super) fn decode(cursor: &mut Cursor<'_>, rows: usize) -> Option<Ints> {
        let (model, width, flags, shift) = (cursor.u8()?, cursor.u8()?, cursor.u8()?, cursor.u8()?);
        (shift < 64 && flags <= FLAG_SCALE | FLAG_EXCEPTIONS).then_some(())?;
        let base = cursor.i64()?;
        let scale = if flags & FLAG_SCALE == 0 { 1 } else { cursor.i64()? };
        let model = match model {
            0 => Model::None,
            1 => Model::Line { slope: cursor.i64()? },
            2 => {
                let count = cursor.u16()?;
                Model::Pieces { at: cursor.take_at(usize::from(count) * 10)?, count }
            }
            3 => Model::Column { column: cursor.u16()?, slope: cursor.i64()? },
            4 | 5 => Model::Sum { first: cursor.u16()?, second: cursor.u16()?, negative: model == 5 },
            6 => Model::Map { column: cursor.u16()?, table: cursor.u16()? },
            7 => Model::List { column: cursor.u16()?, table: cursor.u16()? },
            8 => {
                let (column, divisor) = (cursor.u16()?, cursor.u32()?);
                (divisor != 0).then_some(Model::Product { column, divisor })?
            }
            _ => return None,
        };
        let exceptions = if flags & FLAG_EXCEPTIONS == 0 { None } else { Some(Exceptions::decode(cursor)?) };
        let codes = if width == WIDTH_RUNS {
            let (count, width) = (cursor.u16()?, cursor.u8()?);
            let ends = cursor.take_at(usize::from(count) * 2)?;
            Codes::Runs { count, ends, values: cursor.packed(usize::from(count), width)? }
        } else {
            Codes::Packed(cursor.packed(rows, width)?)
        };
        Some(Ints { model, shift, base, scale, exceptions, codes })
    }

    /// The columns that a model predicts from.
    pub(super) fn references(&self) -> [Option<u16>; 2] {
        self.model.references()
    }

    /// The codes, if they stand for the integers in their order and a full block of them is packed in up to 32 bits.
    pub(super) fn rising(&self) -> Option<Rising> {
        let Codes::Packed(codes) = self.codes else { return None };
        let top = codes.lanes_max().filter(|_| self.model == Model::None && self.scale > 0)?;
        self.base.checked_add(self.scale.checked_mul(i64::try_from(top).ok()?)?)?;
        Some(Rising { codes, base: self.base, scale: self.scale, top, exceptions: self.exceptions })
    }

    /// Whether all are known to be the same.
    pub(super) fn is_constant(&self) -> bool {
        let same = matches!(self.codes, Codes::Packed(packed) if packed.is_zero());
        same && self.exceptions.is_none() && self.model == Model::None
    }

    /// Looks at what the integer of a row is made of.
    #[inline]
    pub(super) fn touch(&self, bytes: &[u8], row: usize) -> u64 {
        let codes = match &self.codes {
            Codes::Packed(packed) => packed.get(bytes, row),
            Codes::Runs { count, ends, .. } => u16_at(bytes, *ends, usize::from(*count) / 2) as u64,
        };
        let exceptions = self
            .exceptions
            .as_ref()
            .map_or(0, |exceptions| u16_at(bytes, exceptions.rows, usize::from(exceptions.count) / 2) as u64);
        let pieces = match self.model {
            Model::Pieces { at, count } => u16_at(bytes, at, usize::from(count) * 2) as u64,
            _ => 0,
        };
        codes ^ exceptions ^ pieces
    }

    /// The integer of a row.
    #[inline]
    pub(super) fn get(&self, block: &EncodedBlock, row: usize) -> i64 {
        let bytes = block.bytes();
        if let Some(exceptions) = &self.exceptions
            && let Some(value) = exceptions.find(bytes, row)
        {
            return value;
        }
        let code = self.codes.get(bytes, row);
        let predicted = match self.model {
            Model::None => 0,
            Model::Line { slope } => along(slope, row as i64, self.shift),
            Model::Pieces { at, count } => {
                let index = count_to(bytes, at, count, row).saturating_sub(1);
                let (first, start, slope) = piece(bytes, at, count, index);
                start + along(slope, row as i64 - first as i64, self.shift)
            }
            _ => return self.get_referring(block, row, code),
        };
        self.base.wrapping_add(self.scale.wrapping_mul(predicted.wrapping_add(code as i64)))
    }

    #[inline(never)]
    fn get_referring(&self, block: &EncodedBlock, row: usize, code: u64) -> i64 {
        let rest = self.base.wrapping_add(self.scale.wrapping_mul(code as i64));
        let other = |column: u16| block.image(usize::from(column), row);
        let predicted = match self.model {
            Model::None | Model::Line { .. } | Model::Pieces { .. } => 0,
            Model::Column { column, slope } => along(slope, other(column), self.shift),
            Model::Sum { first, second, negative: false } => other(first).wrapping_add(other(second)),
            Model::Sum { first, second, negative: true } => other(first).wrapping_sub(other(second)),
            Model::Map { column, table } => block.tables().map(table, other(column)),
            Model::List { column, table } => return block.tables().list(table, other(column), code),
            Model::Product { column, divisor } => {
                return Divider::new(divisor).divide(other(column)).wrapping_mul(rest);
            }
        };
        rest.wrapping_add(predicted)
    }

    /// The integers of some rows.
    pub(super) fn fill(&self, block: &EncodedBlock, range: Range<usize>, out: &mut [i64]) {
        let bytes = block.bytes();
        let (base, scale) = (self.base, self.scale);
        let along_rows = matches!(self.model, Model::Line { .. } | Model::Pieces { .. });
        if matches!(self.model, Model::List { .. }) || (along_rows && scale != 1) {
            self.codes.each(bytes, range.clone(), out, |code| code as i64);
        } else if scale == 1 {
            self.codes.each(bytes, range.clone(), out, |code| base.wrapping_add(code as i64));
        } else {
            self.codes
                .each(bytes, range.clone(), out, |code| base.wrapping_add(scale.wrapping_mul(code as i64)));
        }
        self.predict(block, &range, out);
        if along_rows && scale != 1 {
            out.iter_mut().for_each(|out| *out = base.wrapping_add(scale.wrapping_mul(*out)));
        }
        if let Some(exceptions) = &self.exceptions {
            exceptions.apply(bytes, &range, out);
        }
    }

    /// Adds what the model predicts.
    fn predict(&self, block: &EncodedBlock, range: &Range<usize>, out: &mut [i64]) {
        let shift = self.shift;
        match self.model {
            Model::None => {}
            Model::Line { slope } => add_line(out, range.start as i64, 0, slope, shift),
            Model::Pieces { at, count } => {
                let mut index = count_to(block.bytes(), at, count, range.start).saturating_sub(1);
                let mut row = range.start;
                while row < range.end {
                    let (first, start, slope) = piece(block.bytes(), at, count, index);
                    index += 1;
                    let last = index >= usize::from(count);
                    let end = if last { range.end } else { u16_at(block.bytes(), at, index) };
                    let end = end.clamp(row, range.end);
                    let part = row - range.start..end - range.start;
                    add_line(&mut out[part], row as i64 - first as i64, start, slope, shift);
                    row = end;
                }
            }
            _ => self.predict_referring(block, range, out),
        }
    }

    #[inline(never)]
    fn predict_referring(&self, block: &EncodedBlock, range: &Range<usize>, out: &mut [i64]) {
        let mut buffer = Vec::new();
        let buffer = &mut buffer;
        let both = out.iter_mut();
        let tables = block.tables();
        match self.model {
            Model::None | Model::Line { .. } | Model::Pieces { .. } => {}
            Model::Column { column, slope } => {
                both.zip(block.images(usize::from(column), range, buffer)).for_each(|(out, other)| {
                    *out = out.wrapping_add(along(slope, *other, self.shift));
                })
            }
            Model::Sum { first, second, negative } => {
                both.zip(block.images(usize::from(first), range, buffer))
                    .for_each(|(out, other)| *out = out.wrapping_add(*other));
                let sign = if negative { -1 } else { 1 };
                let both = out.iter_mut().zip(block.images(usize::from(second), range, buffer));
                both.for_each(|(out, other)| *out = out.wrapping_add(other.wrapping_mul(sign)));
            }
            Model::Map { column, table } => {
                tables.add_mapped(table, block.images(usize::from(column), range, buffer), out)
            }
            Model::List { column, table } => {
                let both = both.zip(block.images(usize::from(column), range, buffer));
                both.for_each(|(out, other)| *out = tables.list(table, *other, *out as u64));
            }
            Model::Product { column, divisor } => {
                let divider = Divider::new(divisor);
                let both = both.zip(block.images(usize::from(column), range, buffer));
                both.for_each(|(out, other)| *out = divider.divide(*other).wrapping_mul(*out));
            }
        }
    }

    /// Model and width, for measurements.
    pub(super) fn kind(&self) -> String {
        let model = match self.model {
            Model::None => "none".to_owned(),
            Model::Line { .. } => "line".into(),
            Model::Pieces { .. } => "pieces".into(),
            Model::Column { column, .. } => format!("column({column})"),
            Model::Sum { first, second, negative } => {
                format!("{first}{}{second}", if negative { '-' } else { '+' })
            }
            Model::Map { column, .. } => format!("map({column})"),
            Model::List { column, .. } => format!("list({column})"),
            Model::Product { column, .. } => format!("product({column})"),
        };
        let codes = match self.codes {
            Codes::Packed(packed) => format!("{}", packed.width()),
            Codes::Runs { .. } => "runs".into(),
        };
        format!("{model} {codes}{}", if self.exceptions.is_some() { " exceptions" } else { "" })
    }

    /// The line that integers about `value` lie along, if one was fitted to them and says more than halving twice would.
    pub(super) fn line(&self, bytes: &[u8], value: i64) -> Option<Line> {
        let Codes::Packed(packed) = self.codes else { return None };
        let spread = 1_u64.checked_shl(u32::from(packed.width()))? as f64;
        let middle = self.base.wrapping_add(self.scale.wrapping_mul((spread / 2.0) as i64));
        let (row, start, slope) = match self.model {
            Model::Line { slope } => (0, 0, slope),
            Model::Pieces { at, count } => {
                // The last piece that starts at or below the value.
                let start_of = |index: usize| piece(bytes, at, count, index).1;
                let (mut low, mut high) = (0, usize::from(count));
                while high - low > 1 {
                    let piece = low + (high - low) / 2;
                    let is_below = middle.wrapping_add(self.scale.wrapping_mul(start_of(piece))) <= value;
                    low = select_unpredictable(is_below, piece, low);
                    high = select_unpredictable(is_below, high, piece);
                }
                piece(bytes, at, count, low)
            }
            _ => return None,
        };
        let rise = slope as f64 / (1_u64 << self.shift) as f64;
        let is_narrow = spread <= rise * LINE_ROWS_MAX;
        let start = middle.wrapping_add(self.scale.wrapping_mul(start));
        is_narrow.then_some(Line { row, start, rise: rise * self.scale as f64 })
    }
}

fn add_line(out: &mut [i64], row: i64, start: i64, slope: i64, shift: u8) {
    let mut sum = slope.wrapping_mul(row);
    for out in out {
        *out = out.wrapping_add(start.wrapping_add(sum >> shift));
        sum = sum.wrapping_add(slope);
    }
}
