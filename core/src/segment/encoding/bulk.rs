//! Reads of many rows into columns.

use std::ops::Range;

use super::super::format::BLOCK_ROWS;
use super::block::{EncodedBlock, part};
use super::values::is_int;
use super::{DictionaryId, Tables};
use crate::column::{ColumnBuf, Layout};
use crate::types::Numeric;
use crate::types::numeric::NUMERIC_BYTES;

/// Up to this many rows are unpacked for one that is wanted.
const GATHER_SPREAD_MAX: usize = 8;

/// Appends the values of some rows.
pub(super) fn append_to(block: &EncodedBlock, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
    let (pg_type, layout) = block.shape(column);
    match layout {
        Layout::Fixed(size) if is_int(pg_type) => append_ints(block, column, rows, size, out),
        Layout::Fixed(size) if block.alp(column).is_some() || block.raw(column).is_some() => {
            append_floats_or_raw(block, column, rows, size, out);
        }
        Layout::Fixed(_) if block.scaled(column).is_some() => append_scaled(block, column, rows, out),
        Layout::Bytes if block.strings(column).is_some() => append_strings(block, column, rows, out),
        Layout::Bytes if append_codes(block, column, &rows, out) => {}
        _ => {
            let mut value = Vec::new();
            for row in rows {
                value.clear();
                let valid = block.value(column, row, &mut value);
                out.push(valid.then_some(value.as_slice()));
            }
        }
    }
}

/// Calls `zero` with the place of each NULL of some rows, counted from the first.
fn each_null(valid: Option<&[u8]>, rows: &Range<usize>, mut zero: impl FnMut(usize)) {
    let Some(valid) = valid else { return };
    for (at, row) in rows.clone().enumerate() {
        if valid[row / 8] >> (row % 8) & 1 == 0 {
            zero(at);
        }
    }
}

fn append_ints(block: &EncodedBlock, column: usize, rows: Range<usize>, size: usize, out: &mut ColumnBuf) {
    let mut ints = [0; BLOCK_ROWS];
    let ints = &mut ints[..rows.len()];
    block.ints(column, rows.clone(), ints);
    let valid = block.valid(column);
    each_null(valid, &rows, |at| ints[at] = 0);
    let valid = valid.map(|valid| (valid, rows.start));
    match size {
        2 => {
            let mut narrow = [0; BLOCK_ROWS];
            narrow.iter_mut().zip(&*ints).for_each(|(narrow, int)| *narrow = *int as i16);
            out.extend_fixed(&narrow[..rows.len()], rows.len(), valid);
        }
        4 => {
            let mut narrow = [0; BLOCK_ROWS];
            narrow.iter_mut().zip(&*ints).for_each(|(narrow, int)| *narrow = *int as i32);
            out.extend_fixed(&narrow[..rows.len()], rows.len(), valid);
        }
        _ => out.extend_fixed(ints, rows.len(), valid),
    }
}

fn append_floats_or_raw(
    block: &EncodedBlock,
    column: usize,
    rows: Range<usize>,
    size: usize,
    out: &mut ColumnBuf,
) {
    let valid = block.valid(column).map(|valid| (valid, rows.start));
    if let Some(raw) = block.raw(column) {
        // NULLs are zeros there.
        return out.extend_fixed(&raw[rows.start * size..rows.end * size], rows.len(), valid);
    }
    let Some((exponents, digits, odd)) = block.alp(column) else { return };
    let (mut ints, mut floats) = ([0; BLOCK_ROWS], [0.0; BLOCK_ROWS]);
    digits.fill(block, rows.clone(), &mut ints[..rows.len()]);
    let floats = &mut floats[..rows.len()];
    exponents.floats(&ints[..rows.len()], floats);
    // Odd values are moved and never computed with, which would change some NaNs.
    if size == 8 {
        for (at, value) in odd.each(block.bytes(), rows.clone()) {
            floats[at] = f64::from_le_bytes(*value.first_chunk().expect("8 bytes"));
        }
        each_null(block.valid(column), &rows, |at| floats[at] = 0.0);
        return out.extend_fixed(floats, rows.len(), valid);
    }
    let mut narrow = [0.0; BLOCK_ROWS];
    narrow.iter_mut().zip(&*floats).for_each(|(narrow, float)| *narrow = *float as f32);
    for (at, value) in odd.each(block.bytes(), rows.clone()) {
        narrow[at] = f32::from_le_bytes(*value.first_chunk().expect("4 bytes"));
    }
    each_null(block.valid(column), &rows, |at| narrow[at] = 0.0);
    out.extend_fixed(&narrow[..rows.len()], rows.len(), valid);
}

fn append_scaled(block: &EncodedBlock, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
    let Some((scale, coefficients, odd)) = block.scaled(column) else { return };
    let mut ints = [0; BLOCK_ROWS];
    let ints = &mut ints[..rows.len()];
    block.fill(column, coefficients, rows.clone(), ints);
    let has_odd = odd.each(block.bytes(), rows.clone()).next().is_some();
    if block.valid(column).is_none() && !has_odd {
        return out.extend_numerics(scale, ints.iter().copied());
    }
    let mut bytes = vec![0; rows.len() * NUMERIC_BYTES];
    for (bytes, int) in bytes.as_chunks_mut().0.iter_mut().zip(&*ints) {
        Numeric::write_small(scale, *int, bytes);
    }
    let place = |at: usize| at * NUMERIC_BYTES..(at + 1) * NUMERIC_BYTES;
    for (at, value) in odd.each(block.bytes(), rows.clone()) {
        bytes[place(at)].copy_from_slice(value);
    }
    let valid = block.valid(column);
    each_null(valid, &rows, |at| bytes[place(at)].fill(0));
    out.extend_fixed(&bytes, rows.len(), valid.map(|valid| (valid, rows.start)));
}

/// Appends strings of a dictionary; false if the column has none.
fn append_codes(block: &EncodedBlock, column: usize, rows: &Range<usize>, out: &mut ColumnBuf) -> bool {
    let mut codes = [0; BLOCK_ROWS];
    let codes = &mut codes[..rows.len()];
    let Some(id) = block.codes(column, rows.clone(), codes) else { return false };
    let tables = block.tables();
    match block.valid(column) {
        None if !out.has_nulls() => push_codes(tables, id, codes.iter().copied(), out),
        None => codes.iter().for_each(|code| out.push(Some(tables.dictionary_value(id, *code)))),
        Some(valid) => {
            for (code, row) in codes.iter().zip(rows.clone()) {
                let is_valid = valid[row / 8] >> (row % 8) & 1 == 1;
                out.push(is_valid.then(|| tables.dictionary_value(id, *code)));
            }
        }
    }
    true
}

/// Appends strings of a dictionary, none of them NULL, to those of a column without NULLs.
fn push_codes(
    tables: &Tables,
    id: DictionaryId,
    codes: impl Iterator<Item = u32> + Clone,
    out: &mut ColumnBuf,
) {
    // The code beyond the last stands for all that no value has: a block may hold any.
    let beyond = u32::try_from(tables.dictionary_len(id)).unwrap_or(u32::MAX);
    let count = tables.dictionary_len(id) + 1;
    out.extend_coded(codes.map(|code| code.min(beyond)), count, |code| tables.dictionary_value(id, code));
}

/// Appends the values of these rows, which rise.
pub(super) fn gather_to(block: &EncodedBlock, column: usize, rows: &[u16], out: &mut ColumnBuf) {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let range = usize::from(*first)..usize::from(*last).max(usize::from(*first)) + 1;
    // Rows that lie close together are unpacked with those between them.
    if rows.len() * GATHER_SPREAD_MAX >= range.len() && gather_unpacked(block, column, rows, range, out) {
        return;
    }
    let mut value = Vec::new();
    for row in rows {
        value.clear();
        let valid = block.value(column, usize::from(*row), &mut value);
        out.push(valid.then_some(value.as_slice()));
    }
}

/// As `gather_to` for values that are made of integers, all of which are unpacked from the first row to the last; false
/// for others.
fn gather_unpacked(
    block: &EncodedBlock,
    column: usize,
    rows: &[u16],
    range: Range<usize>,
    out: &mut ColumnBuf,
) -> bool {
    let (pg_type, layout) = block.shape(column);
    let mut ints = [0; BLOCK_ROWS];
    let ints = &mut ints[..range.len()];
    let at = |row: &u16| usize::from(*row).saturating_sub(range.start);
    let is_valid = |row: &u16| block.is_valid(column, usize::from(*row));
    match layout {
        Layout::Fixed(size) if is_int(pg_type) => {
            block.ints(column, range.clone(), ints);
            for row in rows {
                let bytes = ints[at(row)].to_le_bytes();
                out.push(is_valid(row).then_some(&bytes[..size]));
            }
        }
        Layout::Fixed(_) if let Some((scale, coefficients, odd)) = block.scaled(column) => {
            if block.valid(column).is_some() || odd.each(block.bytes(), range.clone()).next().is_some() {
                return false;
            }
            block.fill(column, coefficients, range.clone(), ints);
            out.extend_numerics(scale, rows.iter().map(|row| ints[at(row)]));
        }
        Layout::Bytes => {
            let mut codes = [0; BLOCK_ROWS];
            let codes = &mut codes[..range.len()];
            let Some(id) = block.codes(column, range.clone(), codes) else { return false };
            let tables = block.tables();
            if block.valid(column).is_none() && !out.has_nulls() {
                push_codes(tables, id, rows.iter().map(|row| codes[at(row)]), out);
                return true;
            }
            for row in rows {
                out.push(is_valid(row).then(|| tables.dictionary_value(id, codes[at(row)])));
            }
        }
        _ => return false,
    }
    true
}

fn append_strings(block: &EncodedBlock, column: usize, rows: Range<usize>, out: &mut ColumnBuf) {
    let Some((table, ends, bytes)) = block.strings(column) else { return };
    let symbols = table.and_then(|table| block.tables().symbols(table));
    let mut last = if rows.start == 0 { 0 } else { ends.get(block, rows.start - 1) };
    let mut all = [0; BLOCK_ROWS];
    let all = &mut all[..rows.len()];
    ends.fill(block, rows.clone(), all);
    let mut value = Vec::new();
    for (end, row) in all.iter().zip(rows) {
        // What does not rise is empty, so that no byte is taken twice.
        let part = &bytes[part(last, *end, bytes.len())];
        last = last.max(*end);
        if !block.is_valid(column, row) {
            out.push(None);
            continue;
        }
        match symbols {
            None => out.push(Some(part)),
            Some(symbols) => {
                value.clear();
                symbols.decompress(part, &mut value);
                out.push(Some(&value));
            }
        }
    }
}
