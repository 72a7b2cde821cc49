//! The values of a column in the batch of a scan.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::types::UInt16Type;
use arrow_array::{Array, ArrayRef, Decimal64Array, DictionaryArray, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;

use super::super::encoding::{DictionaryId, EncodedBlock, Tables};
use super::super::format::BLOCK_ROWS;
use super::Scratch;
use crate::column::ColumnBuf;
use crate::fragment::{CODES_MAX, COEFFICIENTS_SCALE_MAX, numerics_of};
use crate::row::Malformed;
use crate::segment::encoding::is_int;
use crate::types::{Numeric, PgType};

/// Digits of a `Decimal64` (Arrow columnar format, Schema.fbs).
const DECIMAL64_DIGITS: u8 = 18;

/// A column of a batch, which grows.
#[derive(Debug)]
pub(super) enum Values {
    /// Coefficients of numerics of one scale, none of them NULL.
    Coefficients { pg_type: PgType, scale: u8, ints: Vec<i64> },
    /// Codes of texts, none of them NULL, and the texts, unless there are no codes yet.
    Codes { pg_type: PgType, codes: Vec<u16>, texts: Option<Arc<StringArray>> },
    /// All else, and what is still empty.
    Plain(ColumnBuf),
}

/// The texts of a dictionary, which many blocks share.
#[derive(Clone, Debug, Default)]
pub(super) struct DictionaryTexts {
    /// Of which dictionary; none are known at first, or if it has too many or what is no text.
    of: Option<(Rc<Tables>, DictionaryId)>,
    texts: Option<Arc<StringArray>>,
}

impl DictionaryTexts {
    /// The texts of a column of a block, if they come from a dictionary that has not too many. Behind the last is one for
    /// all codes that no value has: a block may hold any.
    fn of(&mut self, block: &EncodedBlock, column: usize) -> Option<&Arc<StringArray>> {
        let id = block.dictionary(column)?;
        let tables = block.tables();
        if !self.of.as_ref().is_some_and(|(of, known)| Rc::ptr_eq(of, tables) && *known == id) {
            self.of = Some((Rc::clone(tables), id));
            let count = tables.dictionary_len(id);
            self.texts = (count < CODES_MAX).then(|| texts_of(tables, id, count + 1)).flatten().map(Arc::new);
        }
        self.texts.as_ref()
    }
}

/// The first `count` texts of a dictionary; `None` if not all are text.
fn texts_of(tables: &Tables, id: DictionaryId, count: usize) -> Option<StringArray> {
    let texts = || (0..count).map(|code| tables.dictionary_value(id, code as u32));
    let offsets = OffsetBuffer::from_lengths(texts().map(<[u8]>::len));
    StringArray::try_new(offsets, texts().collect::<Vec<_>>().concat().into(), None).ok()
}

impl Values {
    /// An empty column with room for `rows` values, and `bytes` bytes if their length varies.
    pub(super) fn with_capacity(pg_type: PgType, rows: usize, bytes: usize) -> Values {
        match pg_type {
            PgType::Numeric(_) => Values::Coefficients { pg_type, scale: 0, ints: Vec::with_capacity(rows) },
            _ => Values::Plain(ColumnBuf::with_capacity(pg_type, rows, bytes)),
        }
    }

    /// An empty column of codes with room for `rows`.
    pub(super) fn codes(pg_type: PgType, rows: usize) -> Values {
        Values::Codes { pg_type, codes: Vec::with_capacity(rows), texts: None }
    }

    /// Bytes of values whose length varies.
    pub(super) fn bytes_len(&self) -> usize {
        match self {
            Values::Coefficients { .. } | Values::Codes { .. } => 0,
            Values::Plain(values) => values.bytes_len(),
        }
    }

    /// The values, from here on in no other form.
    fn plain(&mut self) -> &mut ColumnBuf {
        if let Values::Coefficients { pg_type, scale, ints } = self {
            let mut values = ColumnBuf::with_capacity(*pg_type, ints.capacity(), 0);
            values.extend_numerics(*scale, ints.iter().copied());
            *self = Values::Plain(values);
        }
        if let Values::Codes { pg_type, codes, texts } = self {
            let mut values = ColumnBuf::with_capacity(*pg_type, codes.capacity(), 0);
            if let Some(texts) = texts {
                let text = |code: u32| texts.value(code as usize).as_bytes();
                values.extend_coded(codes.iter().map(|code| u32::from(*code)), texts.len(), text);
            }
            *self = Values::Plain(values);
        }
        match self {
            Values::Plain(values) => values,
            Values::Coefficients { .. } | Values::Codes { .. } => unreachable!("they have become plain"),
        }
    }

    /// Appends the codes of some rows of a block; false if it has none, or those of other texts than before.
    fn append_codes(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        range: &Range<usize>,
        texts: Option<&mut DictionaryTexts>,
        unpacked: &mut Vec<u32>,
        selected: Option<&[u16]>,
    ) -> bool {
        let (Values::Codes { codes, texts: own, .. }, Some(texts)) = (self, texts) else { return false };
        let Some(texts) = texts.of(block, column).filter(|_| block.valid(column).is_none()) else {
            return false;
        };
        match own {
            Some(own) if Arc::ptr_eq(own, texts) => {}
            Some(_) => return false,
            None => *own = Some(Arc::clone(texts)),
        }
        unpacked.resize(BLOCK_ROWS, 0);
        let unpacked = &mut unpacked[..range.len()];
        if block.codes(column, range.clone(), unpacked).is_none() {
            return false;
        }
        let beyond = texts.len() - 1;
        let known = |code: u32| (code as usize).min(beyond) as u16;
        match selected {
            None => codes.extend(unpacked.iter().map(|code| known(*code))),
            Some(rows) => {
                codes.extend(rows.iter().map(|row| known(unpacked[usize::from(*row) - range.start])))
            }
        }
        true
    }

    /// Room for the coefficients of numerics of some rows of a block, if they are of the scale of those before.
    fn coefficients(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        rows: &Range<usize>,
    ) -> Option<&mut Vec<i64>> {
        let Values::Coefficients { scale, ints, .. } = self else { return None };
        let own = block.coefficients_scale(column, rows)?;
        if ints.is_empty() {
            *scale = own;
        }
        (*scale == own).then_some(ints)
    }

    /// Appends the values of some rows; `texts` are those met last, if codes of them are wanted.
    pub(super) fn append(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        rows: Range<usize>,
        texts: Option<&mut DictionaryTexts>,
        scratch: &mut Scratch,
    ) {
        if self.append_codes(block, column, &rows, texts, &mut scratch.codes, None) {
            return;
        }
        match self.coefficients(block, column, &rows) {
            Some(ints) => {
                let start = ints.len();
                ints.resize(start + rows.len(), 0);
                block.coefficients(column, rows, &mut ints[start..]);
            }
            None => block.append_to(column, rows, self.plain()),
        }
    }

    /// Appends the values of the rows in `scratch`, which rise: in bulk if they are many or numbers, else one by one.
    pub(super) fn gather(
        &mut self,
        block: &EncodedBlock,
        column: usize,
        pg_type: PgType,
        texts: Option<&mut DictionaryTexts>,
        scratch: &mut Scratch,
    ) {
        /// Decoding all values of a block costs what decoding one in so many costs one by one.
        const BULK_PART: usize = 32;
        let (rows, selected) = (block.rows(), &scratch.rows);
        let is_many = selected.len() * BULK_PART >= rows;
        let selected_rows = || selected.iter().map(|row| usize::from(*row));
        if let (Some(first), Some(last)) = (selected.first(), selected.last()) {
            let range = usize::from(*first)..usize::from(*last) + 1;
            if self.append_codes(block, column, &range, texts, &mut scratch.codes, Some(selected)) {
                return;
            }
            if let Some(ints) = self.coefficients(block, column, &range) {
                if !is_many {
                    return ints.extend(selected_rows().map(|row| block.coefficient(column, row)));
                }
                scratch.ints.resize(BLOCK_ROWS, 0);
                let unpacked = &mut scratch.ints[..range.len()];
                block.coefficients(column, range.clone(), unpacked);
                return ints.extend(selected_rows().map(|row| unpacked[row - range.start]));
            }
        }
        let out = self.plain();
        let is_plain = block.valid(column).is_none() && !out.has_nulls();
        if is_plain && is_int(pg_type) {
            if !is_many {
                return out.extend_ints(selected_rows().map(|row| block.int(column, row)));
            }
            scratch.ints.resize(BLOCK_ROWS, 0);
            if block.ints(column, 0..rows, &mut scratch.ints[..rows]) {
                return out.extend_ints(selected_rows().map(|row| scratch.ints[row]));
            }
        }
        if is_plain && is_many && matches!(pg_type, PgType::Float4 | PgType::Float8) {
            scratch.floats.resize(BLOCK_ROWS, 0.0);
            if block.floats(column, 0..rows, &mut scratch.floats[..rows]) {
                return out.extend_floats(selected_rows().map(|row| scratch.floats[row]));
            }
        }
        block.gather_to(column, selected, out);
    }

    /// The values as an Arrow array; with `coefficients` as such, if they are (`Fragment::reads_coefficients`).
    ///
    /// # Errors
    /// If some are not values of their type.
    pub(super) fn into_array(self, coefficients: bool) -> Result<ArrayRef, Malformed> {
        match self {
            Values::Plain(values) => values.freeze().array().cloned(),
            Values::Codes { codes, texts: Some(texts), .. } => {
                let coded = DictionaryArray::<UInt16Type>::try_new(codes.into(), texts);
                coded.map(|coded| Arc::new(coded) as ArrayRef).map_err(|_| Malformed)
            }
            Values::Codes { pg_type, texts: None, .. } => {
                ColumnBuf::with_capacity(pg_type, 0, 0).freeze().array().cloned()
            }
            Values::Coefficients { scale, .. } if u32::from(scale) > Numeric::DIGITS_MAX => Err(Malformed),
            Values::Coefficients { scale, ints, .. } if coefficients && scale <= COEFFICIENTS_SCALE_MAX => {
                let pg_type = DataType::Decimal64(DECIMAL64_DIGITS, scale.cast_signed());
                Ok(Arc::new(Decimal64Array::from(ints).with_data_type(pg_type)))
            }
            Values::Coefficients { scale, ints, .. } => Ok(numerics_of(scale, &ints)),
        }
    }
}
