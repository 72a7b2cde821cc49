//! Encoded columns of a block: where they lie, and reading them.

use std::ops::Range;
use std::rc::Rc;

use super::super::format::{BLOCK_ROWS, Detail};
use super::alp::Exponents;
use super::front::Front;
use super::images::Images;
use super::ints::{Cursor, Ints, u16_at};
use super::invert::lower_bound;
use super::values::{Odd, float_of, int_of, is_int};
use super::{DictionaryId, Section, Tables};
use crate::column::{ColumnBuf, Layout};
use crate::row::RowBuilder;
use crate::types::PgType;

pub(super) const RAW: u8 = 0;
pub(super) const RAW_VAR: u8 = 1;
pub(super) const INTS: u8 = 2;
pub(super) const SCALED: u8 = 3;
pub(super) const ALP: u8 = 4;
pub(super) const DICTIONARY: u8 = 5;
pub(super) const FSST: u8 = 6;
pub(super) const FRONT: u8 = 7;
pub(super) const SAME: u8 = 8;

pub(super) const VALID_ALL: u8 = 0;
pub(super) const VALID_NONE: u8 = 1;
pub(super) const VALID_BITS: u8 = 2;
pub(super) const VALID_EXCEPT: u8 = 3;
pub(super) const VALID_AS: u8 = 4;

/// Most columns that a column is computed from through others, itself not counted.
pub(super) const DEPTH_MAX: usize = 3;

/// How far from where it is looked for first a string may lie.
const STRAY_BYTES: usize = 32;

const NO_BITS: [u8; BLOCK_ROWS / 8] = [0; BLOCK_ROWS / 8];

#[derive(Debug)]
enum Valid {
    All,
    None,
    Bits(Range<usize>),
    /// All but a few.
    Few(Box<[u8; BLOCK_ROWS / 8]>),
    /// As another column, which is not of this kind.
    As(usize),
}

#[derive(Clone, Debug)]
enum Data {
    /// No values, or one for all rows.
    Same(Range<usize>),
    Raw(Range<usize>),
    RawVar {
        ends: Ints,
        bytes: Range<usize>,
    },
    Ints(Ints),
    Scaled {
        scale: u8,
        coefficients: Ints,
        odd: Odd,
    },
    Alp {
        exponents: Exponents,
        digits: Ints,
        odd: Odd,
    },
    Dictionary(Ints),
    Fsst {
        table: u16,
        ends: Ints,
        bytes: Range<usize>,
    },
    Front(Box<Front>),
}

/// A column of a block.
#[derive(Debug)]
struct Encoded {
    pg_type: PgType,
    layout: Layout,
    valid: Valid,
    data: Data,
    /// Whether others are predicted from it.
    is_source: bool,
}

impl Encoded {
    /// Looks at all of it.
    #[inline]
    fn touch(&self) -> u64 {
        let valid = matches!(self.valid, Valid::All);
        let data = matches!(self.data, Data::Same(_));
        u64::from(valid) + u64::from(data) + u64::from(self.layout == Layout::Bytes)
    }

    fn all_ints(&self) -> impl Iterator<Item = &Ints> {
        let (first, second) = match &self.data {
            Data::Same(_) | Data::Raw(_) => (None, None),
            Data::RawVar { ends: ints, .. }
            | Data::Ints(ints)
            | Data::Scaled { coefficients: ints, .. }
            | Data::Alp { digits: ints, .. }
            | Data::Dictionary(ints)
            | Data::Fsst { ends: ints, .. } => (Some(ints), None),
            Data::Front(front) => (Some(&front.prefixes), Some(&front.ends)),
        };
        first.into_iter().chain(second)
    }
}

/// The columns of a block as they were written; shares the block's bytes.
/// A copy shares all of it but the images, of which it has none at first.
#[derive(Clone, Debug)]
pub(crate) struct EncodedBlock {
    columns: Rc<[Encoded]>,
    bytes: Rc<[u8]>,
    tables: Rc<Tables>,
    images: Images,
    rows: u16,
}

impl EncodedBlock {
    /// Finds the columns in the bytes of a block of `rows` rows.
    ///
    /// # Errors
    /// If the bytes are not sections of columns of these types. What passes can be read without a panic.
    pub(crate) fn decode(
        bytes: Rc<[u8]>,
        sections: &[Section],
        rows: usize,
        types: &[PgType],
        tables: &Rc<Tables>,
    ) -> Result<EncodedBlock, Detail> {
        if sections.len() != types.len() || !(1..=BLOCK_ROWS).contains(&rows) {
            return Err("a block of other rows or columns");
        }
        let decode = |(column, (section, pg_type)): (usize, (&Section, &PgType))| {
            decode_column(&bytes, *section, rows, column, *pg_type, tables)
        };
        let columns = sections.iter().zip(types).enumerate().map(decode).collect::<Option<Vec<_>>>();
        let mut columns = columns.ok_or("malformed column")?;
        if !references_end(&columns) {
            return Err("columns that refer to each other");
        }
        mark_sources(&mut columns);
        let rows = u16::try_from(rows).map_err(|_| "a block of too many rows")?;
        Ok(EncodedBlock {
            columns: columns.into(),
            bytes,
            tables: Rc::clone(tables),
            images: Images::default(),
            rows,
        })
    }

    /// Rows of the block.
    pub(crate) fn rows(&self) -> usize {
        usize::from(self.rows)
    }

    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<EncodedBlock>() + self.bytes.len() + self.columns.len() * size_of::<Encoded>()
    }

    /// What the block shares with others.
    pub(crate) fn tables(&self) -> &Rc<Tables> {
        &self.tables
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the value is not NULL.
    #[inline]
    pub(crate) fn is_valid(&self, column: usize, row: usize) -> bool {
        self.valid(column).is_none_or(|valid| valid[row / 8] >> (row % 8) & 1 == 1)
    }

    /// Looks at what reading a row of these columns needs, as far as it is known beforehand, so that it comes from memory
    /// side by side, not one after another; `row` may be a guess.
    pub(crate) fn touch(&self, columns: impl Iterator<Item = usize> + Clone, row: usize) {
        let row = row.min(self.rows() - 1);
        let kinds = columns.clone().fold(0, |sum, column| sum + self.columns[column].touch());
        let sum = columns.fold(kinds, |sum, column| sum ^ self.touch_data(&self.columns[column].data, row));
        std::hint::black_box(sum);
    }

    #[inline]
    fn touch_data(&self, data: &Data, row: usize) -> u64 {
        let bytes = self.bytes();
        let byte = |at: usize| bytes.get(at).map_or(0, |byte| u64::from(*byte));
        match data {
            Data::Same(range) => byte(range.start),
            Data::Raw(range) => byte(range.start + range.len() / self.rows() * row),
            Data::Ints(ints) | Data::Dictionary(ints) => ints.touch(bytes, row),
            Data::Scaled { coefficients: ints, .. } | Data::Alp { digits: ints, .. } => {
                ints.touch(bytes, row)
            }
            Data::RawVar { ends, bytes: range } | Data::Fsst { ends, bytes: range, .. } => {
                // Strings of a column are about as long as each other.
                let at = range.start + range.len() * row / self.rows();
                ends.touch(bytes, row) ^ byte(at.saturating_sub(STRAY_BYTES)) ^ byte(at + STRAY_BYTES)
            }
            Data::Front(_) => 0,
        }
    }

    /// Appends a value to a row that is being built.
    pub(crate) fn push_to(&self, column: usize, row: usize, out: &mut RowBuilder) {
        if !self.is_valid(column, row) {
            return out.push_null();
        }
        let encoded = &self.columns[column];
        out.push_with(encoded.layout == Layout::Bytes, |out| self.append(encoded, column, row, out));
    }

    /// Appends a value as `row.rs` encodes it; false if it is NULL.
    pub(crate) fn value(&self, column: usize, row: usize, out: &mut Vec<u8>) -> bool {
        let valid = self.is_valid(column, row);
        if valid {
            self.append(&self.columns[column], column, row, out);
        }
        valid
    }

    fn append(&self, encoded: &Encoded, column: usize, row: usize, out: &mut Vec<u8>) {
        let bytes = self.bytes();
        match &encoded.data {
            Data::Same(range) => out.extend_from_slice(&bytes[range.clone()]),
            Data::Raw(range) => match encoded.layout {
                Layout::Fixed(size) => {
                    out.extend_from_slice(&bytes[range.start + row * size..range.start + (row + 1) * size]);
                }
                _ => out.push(bytes[range.start + row / 8] >> (row % 8) & 1),
            },
            Data::RawVar { ends, bytes: range } => {
                out.extend_from_slice(&bytes[range.clone()][self.part(ends, range, row)]);
            }
            Data::Ints(ints) => append_int(encoded.layout, ints.get(self, row), out),
            Data::Scaled { scale, coefficients, odd } => match odd.find(bytes, row) {
                Some(value) => out.extend_from_slice(value),
                None => {
                    out.push(*scale);
                    out.extend_from_slice(&i128::from(coefficients.get(self, row)).to_le_bytes());
                }
            },
            Data::Alp { exponents, digits, odd } => match odd.find(bytes, row) {
                Some(value) => out.extend_from_slice(value),
                None => append_float(encoded.layout, exponents.float(digits.get(self, row)), out),
            },
            Data::Dictionary(codes) => {
                let code = u32::try_from(codes.get(self, row)).unwrap_or(u32::MAX);
                let value = self.tables.dictionary_value(dictionary_of(column), code);
                match encoded.layout {
                    Layout::Fixed(size) if value.len() != size => out.resize(out.len() + size, 0),
                    _ => out.extend_from_slice(value),
                }
            }
            Data::Fsst { table, ends, bytes: range } => {
                let codes = &bytes[range.clone()][self.part(ends, range, row)];
                if let Some(symbols) = self.tables.symbols(*table) {
                    symbols.decompress(codes, out);
                }
            }
            Data::Front(front) => front.append(self, row, out),
        }
    }

    /// Where the bytes of a row are among the bytes of all; nowhere if the ends do not rise.
    #[inline]
    pub(super) fn part(&self, ends: &Ints, range: &Range<usize>, row: usize) -> Range<usize> {
        let start = if row == 0 { 0 } else { ends.get(self, row - 1) };
        part(start, ends.get(self, row), range.len())
    }

    /// An integer-like value that is not NULL; 0 for columns of other types.
    #[inline]
    pub(crate) fn int(&self, column: usize, row: usize) -> i64 {
        let encoded = &self.columns[column];
        match &encoded.data {
            Data::Ints(ints) => narrow(encoded.layout, ints.get(self, row)),
            Data::Dictionary(codes) => {
                self.tables.dictionary_int(dictionary_of(column), codes.get(self, row))
            }
            Data::Raw(range) if let Layout::Fixed(size) = encoded.layout => {
                let at = range.start + row * size;
                int_of(encoded.pg_type, &self.bytes()[at..at + size]).unwrap_or(0)
            }
            Data::Same(range) => int_of(encoded.pg_type, &self.bytes()[range.clone()]).unwrap_or(0),
            _ => 0,
        }
    }

    /// What other columns are predicted from.
    #[inline]
    pub(super) fn image(&self, column: usize, row: usize) -> i64 {
        match self.columns.get(column).map(|encoded| &encoded.data) {
            Some(Data::Ints(ints) | Data::Scaled { coefficients: ints, .. } | Data::Dictionary(ints)) => {
                ints.get(self, row)
            }
            _ => 0,
        }
    }

    /// `image` of some rows; `buffer` may be what holds them.
    pub(super) fn images<'a>(
        &'a self,
        column: usize,
        rows: &Range<usize>,
        buffer: &'a mut Vec<i64>,
    ) -> &'a [i64] {
        let data = self.columns.get(column).map(|encoded| &encoded.data);
        let ints = match data {
            Some(Data::Ints(ints) | Data::Scaled { coefficients: ints, .. } | Data::Dictionary(ints)) => {
                Some(ints)
            }
            _ => None,
        };
        if let Some(ints) = ints
            && let Some(images) = self.images.of(self, column, ints, rows)
        {
            return images;
        }
        buffer.clear();
        buffer.resize(rows.len(), 0);
        if let Some(ints) = ints {
            ints.fill(self, rows.clone(), buffer);
        }
        buffer
    }

    /// The integers that the values of some rows of a column are made of, which `image` is of one: computed once for a copy
    /// of the block if others are predicted from them.
    pub(super) fn fill(&self, column: usize, ints: &Ints, rows: Range<usize>, out: &mut [i64]) {
        if self.columns[column].is_source
            && let Some(images) = self.images.of(self, column, ints, &rows)
        {
            return out.copy_from_slice(images);
        }
        ints.fill(self, rows, out);
    }

    /// The first of these rows whose integer is at least `value`; their integers rise.
    pub(crate) fn int_lower_bound(&self, column: usize, rows: Range<usize>, value: i64) -> usize {
        let encoded = &self.columns[column];
        match &encoded.data {
            Data::Ints(ints) => {
                let get = |row| narrow(encoded.layout, ints.get(self, row));
                lower_bound(rows, value, ints.line(self.bytes(), value), get)
            }
            _ => lower_bound(rows, value, None, |row| self.int(column, row)),
        }
    }

    /// As `int_lower_bound`, by halves only.
    pub(crate) fn int_lower_bound_by_halves(&self, column: usize, rows: Range<usize>, value: i64) -> usize {
        lower_bound(rows, value, None, |row| self.int(column, row))
    }

    /// Appends the values of some rows.
    pub(crate) fn append_to(&self, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
        super::bulk::append_to(self, column, rows, out);
    }

    /// Appends the values of these rows, which rise.
    pub(crate) fn gather_to(&self, column: usize, rows: &[u16], out: &mut ColumnBuf) {
        super::bulk::gather_to(self, column, rows, out);
    }

    /// The integers of some rows, anything for NULL; false if the column is not integer-like.
    pub(crate) fn ints(&self, column: usize, rows: Range<usize>, out: &mut [i64]) -> bool {
        let encoded = &self.columns[column];
        if !is_int(encoded.pg_type) {
            return false;
        }
        match &encoded.data {
            Data::Ints(ints) => self.fill(column, ints, rows, out),
            Data::Dictionary(codes) => {
                self.fill(column, codes, rows, out);
                let id = dictionary_of(column);
                out.iter_mut().for_each(|out| *out = self.tables.dictionary_int(id, *out));
            }
            _ => out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.int(column, row)),
        }
        true
    }

    /// The floats of some rows, anything for NULL; false if the column is of another type.
    pub(crate) fn floats(&self, column: usize, rows: Range<usize>, out: &mut [f64]) -> bool {
        let encoded = &self.columns[column];
        if !matches!(encoded.pg_type, PgType::Float4 | PgType::Float8) {
            return false;
        }
        if let Data::Alp { exponents, digits, odd } = &encoded.data {
            let mut ints = [0; BLOCK_ROWS];
            let ints = &mut ints[..rows.len()];
            digits.fill(self, rows.clone(), ints);
            exponents.floats(ints, out);
            if encoded.layout == Layout::Fixed(4) {
                out.iter_mut().for_each(|out| *out = f64::from(*out as f32));
            }
            odd.each(self.bytes(), rows).for_each(|(at, value)| out[at] = float_of(value));
            return true;
        }
        if let Some(raw) = self.raw(column)
            && encoded.layout == Layout::Fixed(8)
        {
            let raw = &raw.as_chunks().0[rows];
            out.iter_mut().zip(raw).for_each(|(out, bytes)| *out = f64::from_le_bytes(*bytes));
            return true;
        }
        let mut value = Vec::with_capacity(8);
        for (out, row) in out.iter_mut().zip(rows) {
            value.clear();
            self.append(encoded, column, row, &mut value);
            *out = float_of(&value);
        }
        true
    }

    /// The dictionary of a column of texts, if it has one.
    pub(crate) fn dictionary(&self, column: usize) -> Option<DictionaryId> {
        let encoded = &self.columns[column];
        let is_coded = matches!(encoded.data, Data::Dictionary(_)) && encoded.layout == Layout::Bytes;
        is_coded.then(|| dictionary_of(column))
    }

    /// The codes of some rows, anything for NULL, and their dictionary, if the column is dictionary-coded.
    pub(crate) fn codes(&self, column: usize, rows: Range<usize>, out: &mut [u32]) -> Option<DictionaryId> {
        let Data::Dictionary(codes) = &self.columns[column].data else { return None };
        let mut ints = [0; BLOCK_ROWS];
        let ints = &mut ints[..rows.len()];
        self.fill(column, codes, rows, ints);
        out.iter_mut().zip(ints).for_each(|(out, code)| *out = *code as u32);
        Some(dictionary_of(column))
    }

    /// Validity bits, least significant first, if there is a NULL.
    #[inline]
    pub(crate) fn valid(&self, column: usize) -> Option<&[u8]> {
        let mut valid = &self.columns[column].valid;
        if let Valid::As(other) = valid {
            valid = &self.columns[*other].valid;
        }
        match valid {
            Valid::All | Valid::As(_) => None,
            Valid::None => Some(&NO_BITS),
            Valid::Bits(range) => Some(&self.bytes[range.clone()]),
            Valid::Few(bits) => Some(&bits[..]),
        }
    }

    /// Whether all values are known to be the same one.
    pub(crate) fn is_constant(&self, column: usize) -> bool {
        match &self.columns[column].data {
            Data::Same(_) => true,
            Data::Ints(ints) | Data::Dictionary(ints) => ints.is_constant(),
            _ => false,
        }
    }

    /// The codec of a column, for measurements.
    pub(crate) fn kind(&self, column: usize) -> String {
        let ints = Ints::kind;
        match &self.columns[column].data {
            Data::Same(_) => "same".into(),
            Data::Raw(_) => "raw".into(),
            Data::RawVar { .. } => "raw-var".into(),
            Data::Ints(codes) => ints(codes),
            Data::Scaled { coefficients, .. } => format!("scaled {}", ints(coefficients)),
            Data::Alp { digits, .. } => format!("alp {}", ints(digits)),
            Data::Dictionary(codes) => format!("dictionary {}", ints(codes)),
            Data::Fsst { ends, .. } => format!("fsst {}", ints(ends)),
            Data::Front(_) => "front".into(),
        }
    }

    /// The integers of a column that is written as such.
    pub(super) fn int_codes(&self, column: usize) -> Option<&Ints> {
        match &self.columns[column].data {
            Data::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// Exponents, digits and odd values of floats.
    pub(super) fn alp(&self, column: usize) -> Option<(Exponents, &Ints, &Odd)> {
        match &self.columns[column].data {
            Data::Alp { exponents, digits, odd } => Some((*exponents, digits, odd)),
            _ => None,
        }
    }

    /// The scale of the numerics of some rows, if all have it, coefficients of 64 bits and a value.
    pub(crate) fn coefficients_scale(&self, column: usize, rows: &Range<usize>) -> Option<u8> {
        let (scale, _, odd) = self.scaled(column)?;
        let is_even = odd.each(self.bytes(), rows.clone()).next().is_none();
        (is_even && self.valid(column).is_none()).then_some(scale)
    }

    /// The coefficients of the numerics of some rows that have a `coefficients_scale`.
    pub(crate) fn coefficients(&self, column: usize, rows: Range<usize>, out: &mut [i64]) {
        if let Some((_, coefficients, _)) = self.scaled(column) {
            self.fill(column, coefficients, rows, out);
        }
    }

    /// As `coefficients` of one row.
    pub(crate) fn coefficient(&self, column: usize, row: usize) -> i64 {
        self.scaled(column).map_or(0, |(_, coefficients, _)| coefficients.get(self, row))
    }

    /// Scale, coefficients and odd values of numerics.
    pub(super) fn scaled(&self, column: usize) -> Option<(u8, &Ints, &Odd)> {
        match &self.columns[column].data {
            Data::Scaled { scale, coefficients, odd } => Some((*scale, coefficients, odd)),
            _ => None,
        }
    }

    /// Type and layout of a column.
    pub(super) fn shape(&self, column: usize) -> (PgType, Layout) {
        (self.columns[column].pg_type, self.columns[column].layout)
    }

    /// The bytes of values of fixed size as they lie in a column.
    pub(super) fn raw(&self, column: usize) -> Option<&[u8]> {
        match (&self.columns[column].data, self.columns[column].layout) {
            (Data::Raw(range), Layout::Fixed(_)) => Some(&self.bytes()[range.clone()]),
            _ => None,
        }
    }

    /// Symbols if they are needed, ends and bytes of a column of strings that lie one after another.
    pub(super) fn strings(&self, column: usize) -> Option<(Option<u16>, &Ints, &[u8])> {
        match &self.columns[column].data {
            Data::RawVar { ends, bytes } => Some((None, ends, &self.bytes()[bytes.clone()])),
            Data::Fsst { table, ends, bytes } => Some((Some(*table), ends, &self.bytes()[bytes.clone()])),
            _ => None,
        }
    }
}

/// Whether no column refers to itself through others, and what is referred to is there.
fn references_end(columns: &[Encoded]) -> bool {
    let mut depths = vec![0; columns.len()];
    let mut refer = false;
    for _ in 0..=DEPTH_MAX {
        for (column, encoded) in columns.iter().enumerate() {
            if let Valid::As(other) = encoded.valid
                && columns.get(other).is_none_or(|other| matches!(other.valid, Valid::As(_)))
            {
                return false;
            }
            for other in encoded.all_ints().flat_map(Ints::references).flatten() {
                let Some(depth) = depths.get(usize::from(other)).copied() else { return false };
                refer = true;
                depths[column] = depths[column].max(depth + 1);
            }
        }
        if !refer {
            return true;
        }
    }
    // What refers to itself has grown with each pass.
    depths.iter().all(|depth| *depth <= DEPTH_MAX)
}

/// Notes of columns that others are predicted from them; all that is referred to is there.
fn mark_sources(columns: &mut [Encoded]) {
    for column in 0..columns.len() {
        let sources = columns[column].all_ints().flat_map(Ints::references).flatten();
        for source in sources.collect::<Vec<u16>>() {
            columns[usize::from(source)].is_source = true;
        }
    }
}

pub(super) fn dictionary_of(column: usize) -> DictionaryId {
    DictionaryId(u16::try_from(column).expect("at most COLUMNS_MAX"))
}

/// `start..end`, or nothing if it is not a part of `len` bytes.
#[inline]
pub(super) fn part(start: i64, end: i64, len: usize) -> Range<usize> {
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end && end <= len => start..end,
        _ => 0..0,
    }
}

/// What is left of an integer in a column of this layout: all of it, unless bytes were changed.
#[inline]
fn narrow(layout: Layout, value: i64) -> i64 {
    match layout {
        Layout::Fixed(2) => i64::from(value as i16),
        Layout::Fixed(4) => i64::from(value as i32),
        _ => value,
    }
}

#[inline]
fn append_int(layout: Layout, value: i64, out: &mut Vec<u8>) {
    match layout {
        Layout::Fixed(2) => out.extend_from_slice(&(value as i16).to_le_bytes()),
        Layout::Fixed(4) => out.extend_from_slice(&(value as i32).to_le_bytes()),
        Layout::Fixed(_) => out.extend_from_slice(&value.to_le_bytes()),
        Layout::Bits | Layout::Bytes => out.push(value as u8 & 1),
    }
}

#[inline]
fn append_float(layout: Layout, value: f64, out: &mut Vec<u8>) {
    match layout {
        Layout::Fixed(4) => out.extend_from_slice(&(value as f32).to_le_bytes()),
        _ => out.extend_from_slice(&value.to_le_bytes()),
    }
}

fn decode_column(
    bytes: &[u8],
    section: Section,
    rows: usize,
    column: usize,
    pg_type: PgType,
    tables: &Tables,
) -> Option<Encoded> {
    let start = section.offset as usize;
    let mut cursor = Cursor::new(bytes, start..start.checked_add(section.bytes as usize)?)?;
    let layout = Layout::of(pg_type);
    let kind = cursor.u8()?;
    let valid = decode_valid(bytes, &mut cursor, rows)?;
    let data = match (kind, layout) {
        (SAME, _) => {
            let range = cursor.rest();
            let fits = match layout {
                _ if matches!(valid, Valid::None) => range.is_empty(),
                Layout::Bits => false,
                Layout::Fixed(size) => range.len() == size,
                Layout::Bytes => true,
            };
            fits.then_some(Data::Same(range))?
        }
        (RAW, Layout::Bits) => Data::Raw(cursor.take(rows.div_ceil(8))?),
        (RAW, Layout::Fixed(size)) => Data::Raw(cursor.take(rows * size)?),
        (RAW_VAR, Layout::Bytes) => {
            let ends = Ints::decode(&mut cursor, rows)?;
            Data::RawVar { ends, bytes: cursor.rest() }
        }
        (INTS, _) if is_int(pg_type) || layout == Layout::Bits => {
            Data::Ints(Ints::decode(&mut cursor, rows)?)
        }
        (SCALED, Layout::Fixed(size)) if matches!(pg_type, PgType::Numeric(_)) => {
            let scale = cursor.u8()?;
            let odd = Odd::decode(&mut cursor, size)?;
            Data::Scaled { scale, coefficients: Ints::decode(&mut cursor, rows)?, odd }
        }
        (ALP, Layout::Fixed(size)) if matches!(pg_type, PgType::Float4 | PgType::Float8) => {
            let exponents = Exponents::new(cursor.u8()?, cursor.u8()?)?;
            let odd = Odd::decode(&mut cursor, size)?;
            Data::Alp { exponents, digits: Ints::decode(&mut cursor, rows)?, odd }
        }
        (DICTIONARY, Layout::Fixed(_) | Layout::Bytes) if tables.has_dictionary(dictionary_of(column)) => {
            Data::Dictionary(Ints::decode(&mut cursor, rows)?)
        }
        (FSST, Layout::Bytes) => {
            let table = cursor.u16()?;
            tables.symbols(table)?;
            let ends = Ints::decode(&mut cursor, rows)?;
            Data::Fsst { table, ends, bytes: cursor.rest() }
        }
        (FRONT, Layout::Bytes) => Data::Front(Box::new(Front::decode(&mut cursor, rows)?)),
        _ => return None,
    };
    cursor.is_at_end().then_some(Encoded { pg_type, layout, valid, data, is_source: false })
}

fn decode_valid(bytes: &[u8], cursor: &mut Cursor<'_>, rows: usize) -> Option<Valid> {
    Some(match cursor.u8()? {
        VALID_ALL => Valid::All,
        VALID_NONE => Valid::None,
        VALID_BITS => Valid::Bits(cursor.take(rows.div_ceil(8))?),
        VALID_EXCEPT => {
            let count = usize::from(cursor.u16()?);
            let at = cursor.take_at(count * 2)?;
            let mut bits = Box::new([u8::MAX; BLOCK_ROWS / 8]);
            for index in 0..count {
                let row = u16_at(bytes, at, index);
                *bits.get_mut(row / 8)? &= !(1 << (row % 8));
            }
            Valid::Few(bits)
        }
        VALID_AS => Valid::As(usize::from(cursor.u16()?)),
        _ => return None,
    })
}
