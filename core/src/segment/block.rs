//! Blocks of a segment in memory: built row by row and encoded, or decoded and read. `format` has the bytes.

use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_select::filter::FilterBuilder;

use super::format::{
    BLOCK_BYTES_MAX, BLOCK_BYTES_TARGET, BLOCK_MAGIC, BLOCK_ROWS, BlockId, Bytes, Detail, PAGE_BYTES,
};
use crate::column::{Column, ColumnBuf, ColumnView, Layout};
use crate::key::{KEY_BYTES_MAX, KeySpan};
use crate::row::Malformed;
use crate::stamp::{Sight, Stamp};
use crate::types::PgType;

const HEADER_BYTES: usize = 64;
const DIRECTORY_ENTRY_BYTES: usize = 16;
const LENGTHS_DIFFER: u16 = u16::MAX;

const _: () = assert!(KEY_BYTES_MAX < LENGTHS_DIFFER as usize);

/// A block that is being filled.
#[derive(Debug)]
pub(super) struct BlockBuilder {
    keys: Vec<u8>,
    /// Where each key ends.
    key_ends: Vec<u32>,
    begins: Vec<u64>,
    columns: Vec<ColumnBuf>,
    /// About the bytes of keys and values.
    bytes: usize,
}

impl BlockBuilder {
    pub(super) fn new(types: &[PgType]) -> BlockBuilder {
        let column = |pg_type: &PgType| ColumnBuf::with_capacity(*pg_type, BLOCK_ROWS, 0);
        BlockBuilder {
            keys: Vec::new(),
            key_ends: Vec::with_capacity(BLOCK_ROWS),
            begins: Vec::with_capacity(BLOCK_ROWS),
            columns: types.iter().map(column).collect(),
            bytes: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.begins.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows() == BLOCK_ROWS || self.bytes >= BLOCK_BYTES_TARGET
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.key_ends[row - 1] as usize };
        &self.keys[start..self.key_ends[row] as usize]
    }

    /// The last key and begin.
    pub(super) fn last(&self) -> Option<(&[u8], u64)> {
        let row = self.rows().checked_sub(1)?;
        Some((self.key(row), self.begins[row]))
    }

    /// Appends a version. Values are as `ColumnBuf::push` takes them, one for each column.
    pub(super) fn push<'a>(
        &mut self,
        key: &[u8],
        begin: u64,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        self.keys.extend_from_slice(key);
        self.key_ends.push(u32::try_from(self.keys.len()).expect("BLOCK_ROWS keys"));
        self.begins.push(begin);
        self.bytes += key.len();
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
            self.bytes += value.map_or(size_of::<u64>(), <[u8]>::len);
        }
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.key_ends.clear();
        self.begins.clear();
        self.columns.iter_mut().for_each(ColumnBuf::clear);
        self.bytes = 0;
    }

    /// Appends the block's bytes, padded to whole pages.
    pub(super) fn encode(&self, id: BlockId, out: &mut Vec<u8>) {
        let start = out.len();
        let rows = u32::try_from(self.rows()).expect("at most BLOCK_ROWS");
        let columns = u32::try_from(self.columns.len()).expect("at most COLUMNS_MAX");
        out.resize(start + HEADER_BYTES + self.columns.len() * DIRECTORY_ENTRY_BYTES, 0);
        let begin = self.begins.iter().max().copied().unwrap_or(0);
        let constant = self.begins.iter().all(|other| *other == begin);
        let begins_at = if constant { 0 } else { align(out, start) };
        if !constant {
            self.begins.iter().for_each(|begin| out.extend_from_slice(&begin.to_le_bytes()));
        }
        let keys_at = align(out, start);
        let (common, rest) = self.encode_keys(out);
        let keys_bytes = offset(out, start) - keys_at;
        let header = &mut out[start..];
        put_u32(header, 0, BLOCK_MAGIC);
        put_u32(header, 4, rows);
        header[8..16].copy_from_slice(&id.segment.0.to_le_bytes());
        put_u32(header, 16, id.block);
        put_u32(header, 20, columns);
        header[24..32].copy_from_slice(&begin.to_le_bytes());
        put_u32(header, 32, begins_at);
        header[36..38].copy_from_slice(&common.to_le_bytes());
        header[38..40].copy_from_slice(&rest.to_le_bytes());
        put_u32(header, 40, keys_at);
        put_u32(header, 44, keys_bytes);
        for (index, column) in self.columns.iter().enumerate() {
            encode_column(column.view(), index, out, start);
        }
        out.resize(start + (out.len() - start).next_multiple_of(PAGE_BYTES), 0);
        assert!(out.len() - start <= BLOCK_BYTES_MAX, "a block of {} bytes", out.len() - start);
    }

    /// Answers the length of what all keys begin with, and of the rest of each.
    fn encode_keys(&self, out: &mut Vec<u8>) -> (u16, u16) {
        let length = |bytes: usize| u16::try_from(bytes).expect("at most KEY_BYTES_MAX");
        let (first, last) = (self.key(0), self.key(self.rows() - 1));
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        out.extend_from_slice(&first[..common]);
        let same = (1..self.rows()).all(|row| self.key(row).len() == first.len());
        if !same {
            let mut end = 0;
            for row in 0..self.rows() {
                end += u32::from(length(self.key(row).len() - common));
                out.extend_from_slice(&end.to_le_bytes());
            }
        }
        (0..self.rows()).for_each(|row| out.extend_from_slice(&self.key(row)[common..]));
        (length(common), if same { length(first.len() - common) } else { LENGTHS_DIFFER })
    }
}

fn offset(out: &[u8], start: usize) -> u32 {
    u32::try_from(out.len() - start).expect("below BLOCK_BYTES_MAX")
}

/// Fills up to a multiple of 8; answers the offset in the block.
fn align(out: &mut Vec<u8>, start: usize) -> u32 {
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    offset(out, start)
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn encode_column(column: ColumnView<'_>, index: usize, out: &mut Vec<u8>, start: usize) {
    let values_at = align(out, start);
    out.extend_from_slice(column.values());
    let values_bytes = offset(out, start) - values_at;
    let valid_at = column.valid().map_or(0, |valid| {
        let at = align(out, start);
        out.extend_from_slice(valid);
        at
    });
    let mut offsets_at = 0;
    if !column.offsets().is_empty() {
        offsets_at = align(out, start);
        column.offsets().iter().for_each(|offset| out.extend_from_slice(&offset.to_le_bytes()));
    }
    let entry = &mut out[start + HEADER_BYTES + index * DIRECTORY_ENTRY_BYTES..];
    for (field, value) in [values_at, values_bytes, valid_at, offsets_at].into_iter().enumerate() {
        put_u32(entry, field * 4, value);
    }
}

/// Begins of the versions of a block.
#[derive(Debug)]
enum Begins {
    /// All the same.
    Constant(u64),
    /// Each, and the latest.
    Each(ScalarBuffer<u64>, u64),
}

/// Keys of a block.
#[derive(Debug)]
struct Keys {
    bytes: Buffer,
    common: usize,
    /// Where the rests begin in `bytes`.
    rests_at: usize,
    lengths: Lengths,
}

#[derive(Debug)]
enum Lengths {
    Same(usize),
    /// Where each rest ends, counted from `rests_at`.
    Ends(Vec<u32>),
}

impl Keys {
    fn decode(bytes: Buffer, rows: usize, common: u16, rest: u16) -> Option<Keys> {
        let common = usize::from(common);
        let payload = bytes.len().checked_sub(common)?;
        let (rests_at, lengths) = if rest == LENGTHS_DIFFER {
            let ends = Bytes(&bytes).slice(common, rows * 4)?.chunks_exact(4);
            let ends: Vec<u32> =
                ends.map(|end| u32::from_le_bytes(end.try_into().expect("4 bytes"))).collect();
            let rests = payload - rows * 4;
            let keys_fit = std::iter::once(&0).chain(&ends).zip(&ends).all(|(start, end)| {
                end.checked_sub(*start).is_some_and(|length| length as usize + common <= KEY_BYTES_MAX)
            });
            if !keys_fit || ends.last().is_none_or(|last| *last as usize != rests) {
                return None;
            }
            (common + rows * 4, Lengths::Ends(ends))
        } else {
            let rest = usize::from(rest);
            if payload != rest * rows || common + rest > KEY_BYTES_MAX {
                return None;
            }
            (common, Lengths::Same(rest))
        };
        Some(Keys { bytes, common, rests_at, lengths })
    }

    fn common(&self) -> &[u8] {
        &self.bytes[..self.common]
    }

    /// What follows the common bytes.
    fn rest(&self, row: usize) -> &[u8] {
        let range = match &self.lengths {
            Lengths::Same(length) => row * length..(row + 1) * length,
            Lengths::Ends(ends) => {
                let start = if row == 0 { 0 } else { ends[row - 1] as usize };
                start..ends[row] as usize
            }
        };
        &self.bytes[self.rests_at + range.start..self.rests_at + range.end]
    }

    /// How many of the `rows` keys are below `key`; with `or_equal`, at most `key`.
    fn count_below(&self, rows: usize, key: &[u8], or_equal: bool) -> usize {
        match key[..self.common.min(key.len())].cmp(self.common()) {
            Ordering::Less => return 0,
            Ordering::Greater => return rows,
            Ordering::Equal => {}
        }
        let wanted = &key[self.common..];
        let mut low = 0;
        let mut high = rows;
        while low < high {
            let middle = low + (high - low) / 2;
            let rest = self.rest(middle);
            if rest < wanted || (or_equal && rest == wanted) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// A block, decoded.
#[derive(Debug)]
pub struct Block {
    rows: usize,
    bytes: usize,
    begins: Begins,
    keys: Keys,
    columns: Vec<Column>,
}

impl Block {
    /// Decodes block `id`, which holds `rows` rows of these types, and keeps a copy of the bytes that arrays can share.
    /// The checksum was verified.
    ///
    /// # Errors
    /// If the bytes are not that block. What passes can be read without a panic, whatever it holds.
    pub fn decode(block: &[u8], id: BlockId, rows: usize, types: &[PgType]) -> Result<Block, Detail> {
        let bytes = Bytes(block);
        if bytes.u32(0) != Some(BLOCK_MAGIC) {
            return Err("not a block");
        }
        if bytes.u64(8) != Some(id.segment.0) || bytes.u32(16) != Some(id.block) {
            return Err("a block of another place");
        }
        if bytes.size(4) != Some(rows)
            || bytes.size(20) != Some(types.len())
            || !(1..=BLOCK_ROWS).contains(&rows)
        {
            return Err("a block of other rows or columns");
        }
        Block::decode_sections(&Buffer::from_slice_ref(block), rows, types).ok_or("malformed block")
    }

    fn decode_sections(buffer: &Buffer, rows: usize, types: &[PgType]) -> Option<Block> {
        let bytes = Bytes(buffer);
        let begin = bytes.u64(24)?;
        let begins = match bytes.size(32)? {
            0 => Begins::Constant(begin),
            at => Begins::Each(scalars::<u64>(buffer, at, rows)?, begin),
        };
        let begins_ok = match &begins {
            Begins::Constant(_) => true,
            Begins::Each(each, latest) => each.iter().max() == Some(latest),
        };
        let keys = section(buffer, bytes.size(40)?, bytes.size(44)?)?;
        let keys = Keys::decode(keys, rows, bytes.u16(36)?, bytes.u16(38)?)?;
        if !begins_ok || begin >= Stamp::LIVE.to_bits() || !bytes.zeros(48..HEADER_BYTES) {
            return None;
        }
        let column = |(index, pg_type): (usize, &PgType)| {
            decode_column(buffer, HEADER_BYTES + index * DIRECTORY_ENTRY_BYTES, rows, *pg_type)
        };
        let columns = types.iter().enumerate().map(column).collect::<Option<Vec<Column>>>()?;
        Some(Block { rows, bytes: buffer.len(), begins, keys, columns })
    }

    /// Reads all of it: keys must rise, within a key begins must not, and columns must hold values of their types.
    ///
    /// # Errors
    /// If they do not: the block was written wrongly, since its checksum is right.
    pub fn verify(&self) -> Result<(), Detail> {
        let (mut last, mut key) = (Vec::new(), Vec::new());
        for row in 0..self.rows {
            key.clear();
            self.append_key(row, &mut key);
            let in_order = row == 0 || last < key || (last == key && self.begin(row) <= self.begin(row - 1));
            if !in_order || !self.find(&key).contains(&row) {
                return Err("versions out of order");
            }
            std::mem::swap(&mut last, &mut key);
        }
        let bad = self.columns.iter().any(|column| column.array().is_err());
        if bad { Err("a column with values not of its type") } else { Ok(()) }
    }

    /// Versions in it.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes of memory it holds, with arrays that are made later.
    pub fn size_bytes(&self) -> usize {
        const ARRAY_BYTES: usize = 128;
        let ends =
            if let Lengths::Ends(ends) = &self.keys.lengths { ends.len() * size_of::<u32>() } else { 0 };
        self.bytes + ends + size_of::<Block>() + self.columns.len() * (size_of::<Column>() + ARRAY_BYTES)
    }

    /// When a version begins.
    pub fn begin(&self, row: usize) -> Stamp {
        Stamp::from_bits(match &self.begins {
            Begins::Constant(begin) => *begin,
            Begins::Each(begins, _) => begins[row],
        })
    }

    /// Appends the key of a version.
    pub fn append_key(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.keys.common());
        out.extend_from_slice(self.keys.rest(row));
    }

    /// The versions of a key.
    pub fn find(&self, key: &[u8]) -> Range<usize> {
        let start = self.keys.count_below(self.rows, key, false);
        let is_key = |row: &usize| *row < self.rows && self.keys.rest(*row) == &key[self.keys.common..];
        if start == self.rows || !key.starts_with(self.keys.common()) || !is_key(&start) {
            return start..start;
        }
        // Most keys have one version.
        start..(start + 1..).find(|row| !is_key(row)).unwrap_or(self.rows)
    }

    /// The versions whose keys lie in the span.
    pub fn rows_in(&self, span: &KeySpan) -> Range<usize> {
        let start =
            if span.start.is_empty() { 0 } else { self.keys.count_below(self.rows, &span.start, false) };
        let end = span.end.as_ref().map_or(self.rows, |end| self.keys.count_below(self.rows, end, false));
        start..end.max(start)
    }

    pub(super) fn view(&self, column: usize) -> ColumnView<'_> {
        self.columns[column].view()
    }

    /// The columns of a version, as `row` encodes them.
    pub fn values(&self, row: usize) -> impl Iterator<Item = Option<&[u8]>> {
        self.columns.iter().map(move |column| column.view().value(row))
    }

    /// Which of these rows are visible, given the ends that are not LIVE, rows rising; `None` means all.
    pub(super) fn visible(
        &self,
        rows: &Range<usize>,
        ends: &[(u16, Stamp)],
        sight: Sight,
    ) -> Option<Vec<bool>> {
        let begun = |begin: u64| sight.sees_commit(begin);
        let mut mask = match &self.begins {
            Begins::Constant(begin) if !begun(*begin) => vec![false; rows.len()],
            Begins::Each(begins, latest) if !begun(*latest) => {
                begins[rows.clone()].iter().map(|begin| begun(*begin)).collect()
            }
            _ if ends.iter().all(|(_, end)| !sight.sees(end.to_bits())) => return None,
            _ => vec![true; rows.len()],
        };
        for (row, end) in ends {
            let row = usize::from(*row);
            if rows.contains(&row) && sight.sees(end.to_bits()) {
                mask[row - rows.start] = false;
            }
        }
        Some(mask)
    }

    /// Arrays of some columns of these rows, or of those with a set mask.
    ///
    /// # Errors
    /// If the bytes of a column are not values of its type.
    pub(super) fn arrays(
        &self,
        rows: Range<usize>,
        columns: &[usize],
        mask: Option<Vec<bool>>,
    ) -> Result<Vec<ArrayRef>, Malformed> {
        let mask = mask.map(BooleanArray::from);
        let filter = mask.as_ref().map(|mask| FilterBuilder::new(mask).optimize().build());
        let array = |column: &usize| {
            let whole = self.columns[*column].array()?;
            let part =
                if rows.len() == self.rows { whole.clone() } else { whole.slice(rows.start, rows.len()) };
            Ok(match &filter {
                Some(filter) => filter.filter(&part).expect("mask and array have one length"),
                None => part,
            })
        };
        columns.iter().map(array).collect()
    }
}

/// A part of a block that begins at a multiple of 8.
fn section(buffer: &Buffer, at: usize, length: usize) -> Option<Buffer> {
    Bytes(buffer).slice(at, length)?;
    (at.is_multiple_of(8) && at >= HEADER_BYTES).then(|| buffer.slice_with_length(at, length))
}

fn scalars<T: arrow_buffer::ArrowNativeType>(
    buffer: &Buffer,
    at: usize,
    count: usize,
) -> Option<ScalarBuffer<T>> {
    Some(ScalarBuffer::new(section(buffer, at, count * size_of::<T>())?, 0, count))
}

fn decode_column(buffer: &Buffer, entry: usize, rows: usize, pg_type: PgType) -> Option<Column> {
    let bytes = Bytes(buffer);
    let values = section(buffer, bytes.size(entry)?, bytes.size(entry + 4)?)?;
    let valid = match bytes.size(entry + 8)? {
        0 => None,
        at => Some(section(buffer, at, rows.div_ceil(8))?),
    };
    let offsets = match (bytes.size(entry + 12)?, Layout::of(pg_type)) {
        (at, Layout::Bytes) => scalars::<i32>(buffer, at, rows + 1)?,
        (0, _) => ScalarBuffer::from(Vec::new()),
        _ => return None,
    };
    Column::check_buffers(pg_type, rows, &values, &offsets, valid.as_deref()).ok()?;
    Some(Column::new(pg_type, rows, values, offsets, valid))
}
