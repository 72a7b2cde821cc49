//! The reader's side.

use std::ops::Range;
use std::rc::Rc;

use arrow_buffer::Buffer;

use super::super::format::{BLOCK_ROWS, Bytes, Detail};
use super::{DictionaryId, Section, Tables};
use crate::column::{ColumnBuf, Layout};
use crate::row::RowBuilder;
use crate::types::PgType;

/// A column of a block.
#[derive(Debug)]
struct Encoded {
    pg_type: PgType,
    layout: Layout,
    valid: Option<Range<usize>>,
    offsets: usize,
    values: Range<usize>,
}

/// The columns of a block as they were written; shares the block's bytes.
#[derive(Debug)]
pub(crate) struct EncodedBlock {
    buffer: Buffer,
    rows: usize,
    columns: Vec<Encoded>,
    tables: Rc<Tables>,
}

impl EncodedBlock {
    /// Finds the columns in the bytes of a block of `rows` rows.
    ///
    /// # Errors
    /// If the bytes are not sections of columns of these types. What passes can be read without a panic.
    pub(crate) fn decode(
        buffer: &Buffer,
        sections: &[Section],
        rows: usize,
        types: &[PgType],
        tables: &Rc<Tables>,
    ) -> Result<EncodedBlock, Detail> {
        if sections.len() != types.len() || !(1..=BLOCK_ROWS).contains(&rows) {
            return Err("a block of other rows or columns");
        }
        let decode =
            |(section, pg_type): (&Section, &PgType)| decode_column(buffer, *section, rows, *pg_type);
        let columns = sections.iter().zip(types).map(decode).collect::<Option<_>>();
        let columns = columns.ok_or("malformed column")?;
        Ok(EncodedBlock { buffer: buffer.clone(), rows, columns, tables: Rc::clone(tables) })
    }

    /// Rows of the block.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory beside the block's bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<EncodedBlock>() + self.columns.len() * size_of::<Encoded>()
    }

    /// What the block shares with others.
    pub(crate) fn tables(&self) -> &Rc<Tables> {
        &self.tables
    }

    /// Whether the value is not NULL.
    #[inline]
    pub(crate) fn is_valid(&self, column: usize, row: usize) -> bool {
        self.valid(column).is_none_or(|valid| valid[row / 8] >> (row % 8) & 1 == 1)
    }

    /// Appends a value to a row that is being built.
    pub(crate) fn push_to(&self, column: usize, row: usize, out: &mut RowBuilder) {
        let encoded = &self.columns[column];
        if !self.is_valid(column, row) {
            return out.push_null();
        }
        let bytes = self.bytes(encoded, row);
        match encoded.layout {
            Layout::Bytes => out.push_var(bytes),
            Layout::Bits | Layout::Fixed(_) => out.push_fixed(bytes),
        }
    }

    /// Appends a value as `row.rs` encodes it; false if it is NULL.
    pub(crate) fn value(&self, column: usize, row: usize, out: &mut Vec<u8>) -> bool {
        let valid = self.is_valid(column, row);
        if valid {
            out.extend_from_slice(self.bytes(&self.columns[column], row));
        }
        valid
    }

    fn bytes(&self, encoded: &Encoded, row: usize) -> &[u8] {
        let values = &self.buffer[encoded.values.clone()];
        match encoded.layout {
            Layout::Bits if values[row / 8] >> (row % 8) & 1 == 1 => &[1],
            Layout::Bits => &[0],
            Layout::Fixed(size) => &values[row * size..(row + 1) * size],
            Layout::Bytes => {
                let offset = |row: usize| Bytes(&self.buffer).size(encoded.offsets + row * 4).unwrap_or(0);
                values.get(offset(row)..offset(row + 1)).unwrap_or(&[])
            }
        }
    }

    /// An integer-like value that is not NULL; 0 for columns of other types.
    #[inline]
    pub(crate) fn int(&self, column: usize, row: usize) -> i64 {
        let encoded = &self.columns[column];
        int_of(encoded.pg_type, self.bytes(encoded, row)).unwrap_or(0)
    }

    /// The first of these rows whose integer is at least `value`; their integers rise.
    pub(crate) fn int_lower_bound(&self, column: usize, rows: Range<usize>, value: i64) -> usize {
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.int(column, middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends the values of some rows.
    pub(crate) fn append_to(&self, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
        rows.for_each(|row| self.push_value(column, row, out));
    }

    /// Appends the values of these rows, which rise.
    pub(crate) fn gather_to(&self, column: usize, rows: &[u16], out: &mut ColumnBuf) {
        rows.iter().for_each(|row| self.push_value(column, usize::from(*row), out));
    }

    fn push_value(&self, column: usize, row: usize, out: &mut ColumnBuf) {
        out.push(self.is_valid(column, row).then(|| self.bytes(&self.columns[column], row)));
    }

    /// The integers of some rows, anything for NULL; false if the column is not integer-like.
    pub(crate) fn ints(&self, column: usize, rows: Range<usize>, out: &mut [i64]) -> bool {
        if !is_int(self.columns[column].pg_type) {
            return false;
        }
        out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.int(column, row));
        true
    }

    /// The floats of some rows, anything for NULL; false if the column is of another type.
    pub(crate) fn floats(&self, column: usize, rows: Range<usize>, out: &mut [f64]) -> bool {
        let encoded = &self.columns[column];
        if !matches!(encoded.pg_type, PgType::Float4 | PgType::Float8) {
            return false;
        }
        for (out, row) in out.iter_mut().zip(rows) {
            let bytes = self.bytes(encoded, row);
            *out = match (bytes.try_into(), bytes.try_into()) {
                (Ok(bytes), _) => f64::from_le_bytes(bytes),
                (_, Ok(bytes)) => f64::from(f32::from_le_bytes(bytes)),
                _ => 0.0,
            };
        }
        true
    }

    /// The codes of some rows, anything for NULL, and their dictionary, if the column is dictionary-coded.
    pub(crate) fn codes(
        &self,
        _column: usize,
        _rows: Range<usize>,
        _out: &mut [u32],
    ) -> Option<DictionaryId> {
        None
    }

    /// Validity bits, least significant first, if there is a NULL.
    #[inline]
    pub(crate) fn valid(&self, column: usize) -> Option<&[u8]> {
        self.columns[column].valid.clone().map(|range| &self.buffer[range])
    }

    /// Whether all values are known to be the same one.
    pub(crate) fn is_constant(&self, _column: usize) -> bool {
        false
    }
}

fn is_int(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Date
            | PgType::Time
            | PgType::Timestamp
            | PgType::Timestamptz
    )
}

fn int_of(pg_type: PgType, bytes: &[u8]) -> Option<i64> {
    Some(match pg_type {
        PgType::Int2 => i64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
        PgType::Int4 | PgType::Date => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        _ if is_int(pg_type) => i64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

fn decode_column(buffer: &Buffer, section: Section, rows: usize, pg_type: PgType) -> Option<Encoded> {
    let (start, bytes) = (section.offset as usize, section.bytes as usize);
    let section = Bytes(buffer).slice(start, bytes)?;
    let end = start + bytes;
    let valid = match *section.first()? {
        0 => None,
        1 => Some(start + 1..start + 1 + rows.div_ceil(8)),
        _ => return None,
    };
    let mut at = valid.as_ref().map_or(start + 1, |valid| valid.end);
    let layout = Layout::of(pg_type);
    let offsets = at;
    let fits = match layout {
        Layout::Bits => at + rows.div_ceil(8) == end,
        Layout::Fixed(size) => at + rows * size == end,
        Layout::Bytes => {
            at += (rows + 1) * size_of::<u32>();
            at <= end
        }
    };
    fits.then_some(Encoded { pg_type, layout, valid, offsets, values: at..end })
}
