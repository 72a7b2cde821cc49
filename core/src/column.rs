//! Columns of values in memory, as memtable chunks and segment blocks hold them: buffers that Arrow arrays share.
//!
//! A value has the same bytes here as in a row (`row.rs`), except booleans, which are bits. A NULL of fixed size takes
//! its place as zeros; a NULL of varying length takes no bytes.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};
use arrow_schema::{Field, Schema, SchemaRef};

use crate::catalog::TableSchema;
use crate::row::{Malformed, RowBuilder, RowReader, check_array};
use crate::types::numeric::NUMERIC_BYTES;
use crate::types::{Numeric, PgType};

const _: () = assert!(cfg!(target_endian = "little"), "values lie in memory as they lie in rows");

/// How the values of a type lie in a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// One bit each.
    Bits,
    /// This many bytes each.
    Fixed(usize),
    /// As many bytes as they need, between two offsets.
    Bytes,
}

impl Layout {
    pub(crate) fn of(pg_type: PgType) -> Layout {
        match (pg_type, pg_type.row_size()) {
            (PgType::Bool, _) => Layout::Bits,
            (_, Some(size)) => Layout::Fixed(size),
            (_, None) => Layout::Bytes,
        }
    }
}

/// Whether these bytes of a row are a value of the type.
pub(crate) fn check_value(pg_type: PgType, bytes: &[u8]) -> Result<(), Malformed> {
    let ok = match pg_type {
        PgType::Bool => matches!(bytes, [0 | 1]),
        PgType::Numeric(_) => bytes.try_into().is_ok_and(|bytes| Numeric::from_bytes(bytes).is_some()),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
            std::str::from_utf8(bytes).is_ok()
        }
        PgType::Array(_) => check_array(pg_type, bytes).is_ok(),
        _ => pg_type.row_size().is_none_or(|size| size == bytes.len()),
    };
    if ok { Ok(()) } else { Err(Malformed) }
}

/// As `check_value` for numerics that lie side by side. Most have coefficients of 64 bits: some of those are looked at
/// together, without a jump for each.
fn check_numerics(values: &[u8]) -> Result<(), Malformed> {
    const TOGETHER: usize = 32;
    let is_small = |value: &[u8; NUMERIC_BYTES]| {
        let [scale, coefficient @ ..] = value;
        let coefficient = i128::from_le_bytes(*coefficient);
        (u32::from(*scale) <= Numeric::DIGITS_MAX) & (i128::from(coefficient as i64) == coefficient)
    };
    let all_small = |some: &[[u8; NUMERIC_BYTES]]| some.iter().fold(true, |all, value| all & is_small(value));
    let all_valid =
        |some: &[[u8; NUMERIC_BYTES]]| some.iter().all(|value| Numeric::from_bytes(*value).is_some());
    let (values, rest) = values.as_chunks();
    let ok = rest.is_empty() && values.chunks(TOGETHER).all(|some| all_small(some) || all_valid(some));
    if ok { Ok(()) } else { Err(Malformed) }
}

/// Whether the bytes are a row of these types.
pub(crate) fn check_row(types: &[PgType], row: &[u8]) -> Result<(), Malformed> {
    let mut reader = RowReader::new(row, types.len())?;
    for pg_type in types {
        if let Some(bytes) = reader.next_bytes(*pg_type)? {
            check_value(*pg_type, bytes)?;
        }
    }
    if reader.is_at_end() { Ok(()) } else { Err(Malformed) }
}

/// Values to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnView<'a> {
    layout: Layout,
    values: &'a [u8],
    offsets: &'a [i32],
    valid: Option<&'a [u8]>,
}

impl<'a> ColumnView<'a> {
    /// The value of a row as `row.rs` encodes it, or `None` for NULL.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> Option<&'a [u8]> {
        if self.valid.is_some_and(|valid| !bit(valid, row)) {
            return None;
        }
        Some(match self.layout {
            Layout::Bits => {
                if bit(self.values, row) {
                    &[1]
                } else {
                    &[0]
                }
            }
            Layout::Fixed(size) => &self.values[row * size..(row + 1) * size],
            Layout::Bytes => &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize],
        })
    }

    pub(crate) fn values(&self) -> &'a [u8] {
        self.values
    }

    /// Empty unless the length of values varies.
    pub(crate) fn offsets(&self) -> &'a [i32] {
        self.offsets
    }

    /// Validity bits, if there is a NULL.
    pub(crate) fn valid(&self) -> Option<&'a [u8]> {
        self.valid
    }

    /// Appends the value of a row to a row that is being built.
    #[inline]
    pub(crate) fn push_to(&self, row: usize, out: &mut RowBuilder) {
        match self.value(row) {
            None => out.push_null(),
            Some(bytes) if self.layout == Layout::Bytes => out.push_var(bytes),
            Some(bytes) => out.push_fixed(bytes),
        }
    }
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

#[inline]
fn fixed<const N: usize>(values: &[u8], row: usize) -> [u8; N] {
    values[row * N..].first_chunk().copied().expect("a row of the column")
}

/// Appends bit number `index`, which is the number of bits so far.
#[inline]
fn push_bit(bits: &mut MutableBuffer, index: usize, set: bool) {
    if index.is_multiple_of(8) {
        bits.push(0u8);
    }
    bits.as_slice_mut()[index / 8] |= u8::from(set) << (index % 8);
}

/// Most bytes of a short value.
const SHORT_BYTES: usize = 16;

/// A few short values, each in as many bytes as the longest may have, with its length.
struct ShortValues {
    values: [([u8; SHORT_BYTES], u8); ShortValues::COUNT_MAX],
}

impl ShortValues {
    /// A power of two.
    const COUNT_MAX: usize = 32;

    /// The first `count` values; `None` if they are too many or too long.
    fn of<'a>(count: usize, value: impl Fn(u32) -> &'a [u8]) -> Option<ShortValues> {
        let mut values = [([0; SHORT_BYTES], 0); ShortValues::COUNT_MAX];
        for (code, place) in (0..u32::try_from(count).ok()?).zip(values.get_mut(..count)?) {
            let value = value(code);
            place.0.get_mut(..value.len())?.copy_from_slice(value);
            place.1 = u8::try_from(value.len()).ok()?;
        }
        Some(ShortValues { values })
    }

    /// The value of a code; beyond the last an empty one or another.
    #[inline]
    fn get(&self, code: u32) -> &([u8; SHORT_BYTES], u8) {
        &self.values[code as usize % ShortValues::COUNT_MAX]
    }
}

/// A column that grows.
#[derive(Debug)]
pub(crate) struct ColumnBuf {
    pg_type: PgType,
    layout: Layout,
    len: usize,
    values: MutableBuffer,
    /// `Layout::Bytes`: where each value begins, and where the last one ends. Else empty.
    offsets: Vec<i32>,
    /// Validity bits, once there is a NULL.
    valid: Option<MutableBuffer>,
}

impl ColumnBuf {
    /// An empty column with room for `rows` values, and `bytes` bytes if their length varies.
    pub(crate) fn with_capacity(pg_type: PgType, rows: usize, bytes: usize) -> ColumnBuf {
        let layout = Layout::of(pg_type);
        let (size, offsets) = match layout {
            Layout::Bits => (rows.div_ceil(8), 0),
            Layout::Fixed(size) => (rows * size, 0),
            Layout::Bytes => (bytes, rows + 1),
        };
        let mut offsets = Vec::with_capacity(offsets);
        if layout == Layout::Bytes {
            offsets.push(0);
        }
        ColumnBuf {
            pg_type,
            layout,
            len: 0,
            values: MutableBuffer::with_capacity(size),
            offsets,
            valid: None,
        }
    }

    /// Bytes of values whose length varies.
    pub(crate) fn bytes_len(&self) -> usize {
        if self.layout == Layout::Bytes { self.values.len() } else { 0 }
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        let valid = self.valid.as_ref().map_or(0, MutableBuffer::capacity);
        self.values.capacity() + self.offsets.capacity() * size_of::<i32>() + valid
    }

    /// Appends a value that `check_value` has passed, or NULL. The caller keeps the bytes of a column below `i32::MAX`.
    #[inline]
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        let Some(bytes) = value else { return self.push_null() };
        match self.layout {
            Layout::Bits => push_bit(&mut self.values, self.len, bytes[0] == 1),
            Layout::Fixed(_) => push_fixed(&mut self.values, bytes),
            Layout::Bytes => {
                self.values.extend_from_slice(bytes);
                self.push_offset();
            }
        }
        if let Some(valid) = &mut self.valid {
            push_bit(valid, self.len, true);
        }
        self.len += 1;
    }

    /// Appends values of a fixed size, none of them NULL, each from a column of the same type and a row in it.
    /// Cheaper than `extend` where rows do not lie side by side.
    pub(crate) fn gather<'a>(&mut self, from: impl Iterator<Item = (&'a [u8], usize)>) {
        assert!(self.valid.is_none(), "a column with NULLs gets its values one by one");
        let before = self.values.len();
        let size = match self.layout {
            Layout::Fixed(8) => {
                self.values.extend(from.map(|(values, row)| i64::from_le_bytes(fixed(values, row))));
                8
            }
            Layout::Fixed(4) => {
                self.values.extend(from.map(|(values, row)| i32::from_le_bytes(fixed(values, row))));
                4
            }
            Layout::Fixed(size) => {
                from.for_each(|(values, row)| {
                    self.values.extend_from_slice(&values[row * size..(row + 1) * size])
                });
                size
            }
            layout => panic!("values that lie as {layout:?} have no fixed size"),
        };
        self.len += (self.values.len() - before) / size;
    }

    /// Appends integers that a column of their type can hold, none of them NULL.
    pub(crate) fn extend_ints(&mut self, ints: impl ExactSizeIterator<Item = i64>) {
        assert!(self.valid.is_none(), "a column with NULLs gets its values one by one");
        self.len += ints.len();
        match self.layout {
            Layout::Fixed(8) => self.values.extend(ints),
            Layout::Fixed(4) => self.values.extend(ints.map(|int| int as i32)),
            Layout::Fixed(2) => self.values.extend(ints.map(|int| int as i16)),
            layout => panic!("values that lie as {layout:?} are not integers"),
        }
    }

    /// Appends floats, none of them NULL.
    pub(crate) fn extend_floats(&mut self, floats: impl ExactSizeIterator<Item = f64>) {
        assert!(self.valid.is_none(), "a column with NULLs gets its values one by one");
        self.len += floats.len();
        match self.layout {
            Layout::Fixed(8) => self.values.extend(floats),
            Layout::Fixed(4) => self.values.extend(floats.map(|float| float as f32)),
            layout => panic!("values that lie as {layout:?} are not floats"),
        }
    }

    /// Appends numerics of one scale with coefficients of 64 bits, none of them NULL.
    pub(crate) fn extend_numerics(&mut self, scale: u8, coefficients: impl ExactSizeIterator<Item = i64>) {
        assert_eq!(self.layout, Layout::Fixed(NUMERIC_BYTES), "values of {} are no numerics", self.pg_type);
        let (start, rows) = (self.values.len(), coefficients.len());
        self.values.resize(start + rows * NUMERIC_BYTES, 0);
        let places = self.values.as_slice_mut()[start..].as_chunks_mut().0;
        for (place, coefficient) in places.iter_mut().zip(coefficients) {
            Numeric::write_small(scale, coefficient, place);
        }
        self.extend_validity(rows, None);
    }

    /// Appends values of varying length, none of them NULL, by their codes. `count` values have codes, `value` tells them;
    /// it is asked for others too, if they are among the codes.
    pub(crate) fn extend_coded<'a>(
        &mut self,
        codes: impl Iterator<Item = u32> + Clone,
        count: usize,
        value: impl Fn(u32) -> &'a [u8],
    ) {
        assert!(self.valid.is_none(), "a column with NULLs gets its values one by one");
        assert_eq!(self.layout, Layout::Bytes, "values of {} have one size", self.pg_type);
        if let Some(values) = ShortValues::of(count, &value) {
            let start = self.values.len();
            let total: usize = codes.clone().map(|code| usize::from(values.get(code).1)).sum();
            self.values.resize(start + total + SHORT_BYTES, 0);
            let mut end = start;
            let bytes = self.values.as_slice_mut();
            self.offsets.extend(codes.map(|code| {
                // All bytes, of which the next value overwrites what is too much: a copy of one size is one instruction.
                let (value, len) = values.get(code);
                bytes[end..end + SHORT_BYTES].copy_from_slice(value);
                end += usize::from(*len);
                i32::try_from(end).expect("a column's bytes are bounded by its owner")
            }));
            self.values.truncate(end);
        } else {
            for code in codes {
                self.values.extend_from_slice(value(code));
                self.push_offset();
            }
        }
        self.len = self.offsets.len() - 1;
    }

    /// Whether it has a NULL.
    pub(crate) fn has_nulls(&self) -> bool {
        self.valid.is_some()
    }

    /// Appends some values of a column of the same type.
    pub(crate) fn extend(&mut self, from: &ColumnView<'_>, rows: Range<usize>) {
        if from.valid.is_some() || self.valid.is_some() || self.layout == Layout::Bits {
            return rows.for_each(|row| self.push(from.value(row)));
        }
        match self.layout {
            Layout::Bits => {}
            Layout::Fixed(size) => {
                self.values.extend_from_slice(&from.values[rows.start * size..rows.end * size]);
            }
            Layout::Bytes => {
                let (start, end) = (from.offsets[rows.start], from.offsets[rows.end]);
                let base =
                    i32::try_from(self.values.len()).expect("a column's bytes are bounded by its owner");
                self.values.extend_from_slice(&from.values[start as usize..end as usize]);
                self.offsets
                    .extend(from.offsets[rows.start + 1..=rows.end].iter().map(|at| at - start + base));
            }
        }
        self.len += rows.len();
    }

    #[cold]
    fn push_null(&mut self) {
        if self.valid.is_none() {
            let mut valid = MutableBuffer::with_capacity(self.len.div_ceil(8) + 1);
            (0..self.len).for_each(|row| push_bit(&mut valid, row, true));
            self.valid = Some(valid);
        }
        match self.layout {
            Layout::Bits => push_bit(&mut self.values, self.len, false),
            Layout::Fixed(size) => self.values.extend_zeros(size),
            Layout::Bytes => self.push_offset(),
        }
        let valid = self.valid.as_mut().expect("made above");
        push_bit(valid, self.len, false);
        self.len += 1;
    }

    /// Appends `rows` values of fixed size, which lie in `values` as in the column and are zeros where they are NULL.
    /// Validity bits begin at a bit of theirs; none: no value is NULL.
    pub(crate) fn extend_fixed<T: ArrowNativeType>(
        &mut self,
        values: &[T],
        rows: usize,
        valid: Option<(&[u8], usize)>,
    ) {
        let Layout::Fixed(size) = self.layout else { panic!("values of {} differ in size", self.pg_type) };
        assert_eq!(size_of_val(values), rows * size, "{rows} values of {}", self.pg_type);
        self.values.extend_from_slice(values);
        self.extend_validity(rows, valid);
    }

    fn extend_validity(&mut self, rows: usize, valid: Option<(&[u8], usize)>) {
        let valid = valid.filter(|(bits, start)| (*start..start + rows).any(|row| !bit(bits, row)));
        if self.valid.is_none() && valid.is_some() {
            let mut before = MutableBuffer::with_capacity((self.len + rows).div_ceil(8));
            (0..self.len).for_each(|row| push_bit(&mut before, row, true));
            self.valid = Some(before);
        }
        if let Some(own) = &mut self.valid {
            for row in 0..rows {
                push_bit(own, self.len + row, valid.is_none_or(|(bits, start)| bit(bits, start + row)));
            }
        }
        self.len += rows;
    }

    fn push_offset(&mut self) {
        self.offsets
            .push(i32::try_from(self.values.len()).expect("a column's bytes are bounded by its owner"));
    }

    pub(crate) fn view(&self) -> ColumnView<'_> {
        ColumnView {
            layout: self.layout,
            values: self.values.as_slice(),
            offsets: &self.offsets,
            valid: self.valid.as_ref().map(MutableBuffer::as_slice),
        }
    }

    /// The first `rows` values, copied.
    pub(crate) fn copy(&self, rows: usize) -> Column {
        assert!(rows <= self.len, "{rows} values of {}", self.len);
        let size = match self.layout {
            Layout::Bits => rows.div_ceil(8),
            Layout::Fixed(size) => rows * size,
            Layout::Bytes => self.offsets[rows] as usize,
        };
        let offsets = if self.layout == Layout::Bytes { &self.offsets[..=rows] } else { &[] };
        Column::new(
            self.pg_type,
            rows,
            Buffer::from_slice_ref(&self.values.as_slice()[..size]),
            ScalarBuffer::from(offsets.to_vec()),
            self.valid.as_ref().map(|valid| Buffer::from_slice_ref(&valid.as_slice()[..rows.div_ceil(8)])),
        )
    }

    /// The column, which grows no more. Gives back memory if much of it is unused.
    pub(crate) fn freeze(mut self) -> Column {
        if self.values.capacity() - self.values.len() > self.values.capacity() / 8 {
            self.values.shrink_to_fit();
        }
        self.offsets.shrink_to_fit();
        let (values, valid) = (Buffer::from(self.values), self.valid.map(Buffer::from));
        Column::new(self.pg_type, self.len, values, ScalarBuffer::from(self.offsets), valid)
    }

    /// Forgets the values and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.offsets.truncate(1);
        self.valid = None;
        self.len = 0;
    }
}

/// Rows of one batch, whose columns are read one after another, each of all rows.
pub(crate) struct RowCursors<'a> {
    bytes: &'a [u8],
    rows: Vec<RowCursor>,
    has_nulls: bool,
}

struct RowCursor {
    /// Where the row begins, with its null bitmap.
    start: usize,
    /// Where the next column begins.
    at: usize,
    end: usize,
}

impl<'a> RowCursors<'a> {
    /// Rows of `columns` columns that lie there in `bytes`.
    ///
    /// # Errors
    /// If one is too short for its null bitmap.
    pub(crate) fn new(
        bytes: &'a [u8],
        columns: usize,
        places: impl Iterator<Item = Range<usize>>,
    ) -> Result<RowCursors<'a>, Malformed> {
        let bitmap = columns.div_ceil(8);
        let mut rows = Vec::with_capacity(places.size_hint().0);
        let mut null_bits = 0;
        for Range { start, end } in places {
            let nulls = bytes[start..end].get(..bitmap).ok_or(Malformed)?;
            null_bits |= nulls.iter().fold(0, |bits, byte| bits | byte);
            rows.push(RowCursor { start, at: start + bitmap, end });
        }
        Ok(RowCursors { bytes, rows, has_nulls: null_bits != 0 })
    }

    /// Whether every byte of every row has been read.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_ends(&self) -> Result<(), Malformed> {
        if self.rows.iter().all(|row| row.at == row.end) { Ok(()) } else { Err(Malformed) }
    }

    /// Bytes of all rows.
    pub(crate) fn bytes_total(&self) -> usize {
        self.rows.iter().map(|row| row.end - row.start).sum()
    }

    /// Bytes of the largest row.
    pub(crate) fn bytes_max(&self) -> usize {
        self.rows.iter().map(|row| row.end - row.start).max().unwrap_or(0)
    }

    /// The next `N` bytes of each row; bytes beyond the end of one set `bad`.
    fn take_fixed<const N: usize>(&mut self, bad: &mut bool) -> impl Iterator<Item = [u8; N]> {
        let bytes = self.bytes;
        self.rows.iter_mut().map(move |row| {
            let value = bytes.get(row.at..row.at + N).and_then(|value| value.first_chunk());
            row.at += N;
            *bad |= row.at > row.end;
            value.copied().unwrap_or([0; N])
        })
    }
}

impl ColumnBuf {
    /// Appends the next column of each row, checked as `check_value` does. After an error some may have been appended.
    ///
    /// # Errors
    /// If a row ends before or the bytes are not a value of the type.
    pub(crate) fn push_rows(
        &mut self,
        pg_type: PgType,
        index: usize,
        rows: &mut RowCursors<'_>,
    ) -> Result<(), Malformed> {
        let plain = !rows.has_nulls && self.valid.is_none();
        let mut bad = false;
        match (plain, self.layout) {
            (true, Layout::Fixed(8)) => {
                self.values.extend(rows.take_fixed(&mut bad).map(i64::from_le_bytes));
                self.len += rows.rows.len();
            }
            (true, Layout::Fixed(4)) => {
                self.values.extend(rows.take_fixed(&mut bad).map(i32::from_le_bytes));
                self.len += rows.rows.len();
            }
            _ => return self.push_rows_singly(pg_type, index, rows),
        }
        if bad { Err(Malformed) } else { Ok(()) }
    }

    fn push_rows_singly(
        &mut self,
        pg_type: PgType,
        index: usize,
        rows: &mut RowCursors<'_>,
    ) -> Result<(), Malformed> {
        let RowCursors { bytes, rows, has_nulls } = rows;
        let fixed = pg_type.row_size();
        for row in rows {
            if *has_nulls && bit(&bytes[row.start..], index) {
                self.push_null();
                continue;
            }
            let rest = bytes.get(row.at..row.end).ok_or(Malformed)?;
            let (value, taken) = match fixed {
                Some(size) => (rest.get(..size).ok_or(Malformed)?, size),
                None => {
                    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
                    let length = u32::from_le_bytes(*length) as usize;
                    (rest.get(..length).ok_or(Malformed)?, 4 + length)
                }
            };
            row.at += taken;
            check_value(pg_type, value)?;
            self.push(Some(value));
        }
        Ok(())
    }

    /// Forgets the values after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        match self.layout {
            Layout::Bits => truncate_bits(&mut self.values, len),
            Layout::Fixed(size) => self.values.truncate(len * size),
            Layout::Bytes => {
                self.values.truncate(self.offsets[len] as usize);
                self.offsets.truncate(len + 1);
            }
        }
        if let Some(valid) = &mut self.valid {
            truncate_bits(valid, len);
        }
        self.len = len;
    }
}

/// Bits beyond the last are zero, since bits are appended by setting them.
fn truncate_bits(bits: &mut MutableBuffer, len: usize) {
    bits.truncate(len.div_ceil(8));
    if !len.is_multiple_of(8)
        && let Some(last) = bits.as_slice_mut().last_mut()
    {
        *last &= (1 << (len % 8)) - 1;
    }
}

/// Copies of a known size compile to a move.
#[inline]
fn push_fixed(values: &mut MutableBuffer, bytes: &[u8]) {
    if let Ok(bytes) = bytes.try_into() {
        values.push(i64::from_le_bytes(bytes));
    } else if let Ok(bytes) = bytes.try_into() {
        values.push(i32::from_le_bytes(bytes));
    } else if let Ok(bytes) = bytes.try_into() {
        values.push(i16::from_le_bytes(bytes));
    } else {
        values.extend_from_slice(bytes);
    }
}

/// A column that is complete. Its Arrow array is made when first asked for, and kept.
#[derive(Debug)]
pub(crate) struct Column {
    pg_type: PgType,
    layout: Layout,
    len: usize,
    values: Buffer,
    offsets: ScalarBuffer<i32>,
    valid: Option<Buffer>,
    array: OnceCell<ArrayRef>,
}

impl Column {
    /// A column of `len` values from its buffers, whose sizes and offsets the caller has checked (`check_buffers`).
    pub(crate) fn new(
        pg_type: PgType,
        len: usize,
        values: Buffer,
        offsets: ScalarBuffer<i32>,
        valid: Option<Buffer>,
    ) -> Column {
        Column { pg_type, layout: Layout::of(pg_type), len, values, offsets, valid, array: OnceCell::new() }
    }

    pub(crate) fn view(&self) -> ColumnView<'_> {
        ColumnView {
            layout: self.layout,
            values: self.values.as_slice(),
            offsets: &self.offsets,
            valid: self.valid.as_ref().map(Buffer::as_slice),
        }
    }

    /// Bytes of values whose length varies.
    pub(crate) fn bytes_len(&self) -> usize {
        if self.layout == Layout::Bytes { self.values.len() } else { 0 }
    }

    /// Bytes of memory, if it shares its buffers with no other column.
    pub(crate) fn size_bytes(&self) -> usize {
        let valid = self.valid.as_ref().map_or(0, Buffer::capacity);
        self.values.capacity() + self.offsets.inner().capacity() + valid
    }

    /// The values as an Arrow array of the type's `PgType::arrow`, sharing the bytes.
    ///
    /// # Errors
    /// If the bytes are not values of the type; impossible for those that passed `check_value`.
    pub(crate) fn array(&self) -> Result<&ArrayRef, Malformed> {
        if let Some(array) = self.array.get() {
            return Ok(array);
        }
        let array = self.build_array()?;
        Ok(self.array.get_or_init(|| array))
    }

    fn build_array(&self) -> Result<ArrayRef, Malformed> {
        let nulls = self.valid.clone().map(|valid| NullBuffer::new(BooleanBuffer::new(valid, 0, self.len)));
        let values = self.values.clone();
        Ok(match self.pg_type {
            PgType::Bool => Arc::new(BooleanArray::new(BooleanBuffer::new(values, 0, self.len), nulls)),
            PgType::Int2 => self.primitive::<Int16Type>(nulls)?,
            PgType::Int4 => self.primitive::<Int32Type>(nulls)?,
            PgType::Int8 => self.primitive::<Int64Type>(nulls)?,
            PgType::Float4 => self.primitive::<Float32Type>(nulls)?,
            PgType::Float8 => self.primitive::<Float64Type>(nulls)?,
            PgType::Date => self.primitive::<Date32Type>(nulls)?,
            PgType::Time => self.primitive::<Time64MicrosecondType>(nulls)?,
            PgType::Timestamp | PgType::Timestamptz => self.primitive::<TimestampMicrosecondType>(nulls)?,
            PgType::Numeric(_) | PgType::Interval | PgType::Uuid => {
                let Layout::Fixed(size) = self.layout else { return Err(Malformed) };
                if matches!(self.pg_type, PgType::Numeric(_)) {
                    check_numerics(&values)?;
                }
                let size = i32::try_from(size).map_err(|_| Malformed)?;
                Arc::new(FixedSizeBinaryArray::try_new(size, values, nulls).map_err(|_| Malformed)?)
            }
            PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => {
                Arc::new(StringArray::try_new(self.arrow_offsets(), values, nulls).map_err(|_| Malformed)?)
            }
            PgType::Bytea | PgType::Array(_) => {
                Arc::new(BinaryArray::try_new(self.arrow_offsets(), values, nulls).map_err(|_| Malformed)?)
            }
        })
    }

    fn arrow_offsets(&self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(self.offsets.clone())
    }

    fn primitive<T: ArrowPrimitiveType>(&self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Malformed> {
        let values = ScalarBuffer::new(self.values.clone(), 0, self.len);
        let array = PrimitiveArray::<T>::try_new(values, nulls).map_err(|_| Malformed)?;
        Ok(Arc::new(array.with_data_type(self.pg_type.arrow())))
    }
}

/// The Arrow schema of the columns that a scan asked for last: a scan asks for the same ones with each call.
#[derive(Debug, Default)]
pub(crate) struct BatchSchema {
    last: RefCell<Option<(Box<[usize]>, SchemaRef)>>,
}

impl BatchSchema {
    /// The schema of a batch of these columns of the table. Every column may be NULL to Arrow.
    pub(crate) fn of(&self, table: &TableSchema, columns: &[usize]) -> SchemaRef {
        let mut last = self.last.borrow_mut();
        if let Some((of, schema)) = &*last
            && **of == *columns
        {
            return Arc::clone(schema);
        }
        let field = |index: &usize| {
            let column = &table.columns[*index];
            Field::new(&column.name, column.pg_type.arrow(), true)
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        *last = Some((columns.into(), Arc::clone(&schema)));
        schema
    }

    /// A batch of `rows` rows.
    pub(crate) fn batch(
        &self,
        table: &TableSchema,
        columns: &[usize],
        arrays: Vec<ArrayRef>,
        rows: usize,
    ) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut schema = self.of(table, columns);
        let is_other = |(field, array): (&Arc<Field>, &ArrayRef)| field.data_type() != array.data_type();
        if schema.fields().iter().zip(&arrays).any(is_other) {
            // Numerics as coefficients, whose type tells their scale.
            let own = |(field, array): (&Arc<Field>, &ArrayRef)| {
                field.as_ref().clone().with_data_type(array.data_type().clone())
            };
            schema = Arc::new(Schema::new(schema.fields().iter().zip(&arrays).map(own).collect::<Vec<_>>()));
        }
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .expect("arrays have the columns' types and length")
    }
}
