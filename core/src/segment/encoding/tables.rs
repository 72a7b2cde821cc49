//! What the blocks of a segment share: it stands in the footer and stays in memory.
//!
//! | part | bytes |
//! |---|---|
//! | count | u32: tables |
//! | table | column u16, kind u8 (1 dictionary, 2 symbols, 3 map, 4 list), 0 u8, bytes u32, then the bytes |
//!
//! Dictionaries, at most one for a column, which is their number: count u32; if the length of the type's values varies,
//! where each value ends u32; the values as `row.rs` encodes them, in order of first appearance.
//!
//! Symbols of FSST, numbered in order over all columns: count u8, length of each u8 (1 to 8), their bytes.
//!
//! Maps, numbered in order with the lists: first key i64, count u32, width u8, base i64, packed values of consecutive keys.
//! Lists: first key i64, count u32, width of starts u8, width of values u8, base i64, count of values u32, packed starts
//! (one more than keys), packed values.

use std::ops::Range;

use super::super::format::Detail;
use super::bits::Packed;
use super::fsst::Symbols;
use super::ints::Cursor;
use crate::types::PgType;

pub(super) const DICTIONARY: u8 = 1;
pub(super) const SYMBOLS: u8 = 2;
pub(super) const MAP: u8 = 3;
pub(super) const LIST: u8 = 4;
/// Most keys of a map: more are found faster elsewhere.
pub(super) const MAP_KEYS_MAX: usize = 1 << 17;

/// A dictionary of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DictionaryId(pub(crate) u16);

#[derive(Debug)]
struct Dictionary {
    /// In the bytes of the tables.
    values: Range<usize>,
    /// Where each ends; empty if all have the same size.
    ends: Vec<u32>,
    size: usize,
    count: usize,
    /// The values again, if they are integers.
    ints: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Map {
    first: i64,
    count: usize,
    /// Of lists.
    starts: Option<Packed>,
    base: i64,
    values: Packed,
    values_count: usize,
}

/// What the blocks of a segment share, as readers need it.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    bytes: Vec<u8>,
    /// By column.
    dictionaries: Vec<Option<Dictionary>>,
    symbols: Vec<Symbols>,
    maps: Vec<Map>,
}

impl Tables {
    /// Inverse of `SegmentEncoder::tables`.
    ///
    /// # Errors
    /// If the bytes are not tables of columns of these types.
    pub(crate) fn decode(bytes: &[u8], types: &[PgType]) -> Result<Tables, Detail> {
        let mut tables = Tables { bytes: bytes.to_vec(), ..Tables::default() };
        tables.dictionaries.resize_with(types.len(), || None);
        tables.decode_all(types).ok_or("malformed tables")?;
        Ok(tables)
    }

    fn decode_all(&mut self, types: &[PgType]) -> Option<()> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut cursor = Cursor::new(&bytes, 0..bytes.len())?;
        for _ in 0..cursor.u32()? {
            let (column, kind) = (usize::from(cursor.u16()?), cursor.u8()?);
            let pg_type = *types.get(column)?;
            (cursor.u8()? == 0).then_some(())?;
            let size = cursor.u32()? as usize;
            let mut part = Cursor::new(&bytes, cursor.take(size)?)?;
            match kind {
                DICTIONARY if self.dictionaries[column].is_none() => {
                    self.dictionaries[column] = Some(decode_dictionary(&bytes, &mut part, pg_type)?);
                }
                SYMBOLS => {
                    let range = part.rest();
                    self.symbols.push(Symbols::decode(&bytes[range])?);
                }
                MAP | LIST => self.maps.push(decode_map(&mut part, kind == LIST)?),
                _ => return None,
            }
            part.is_at_end().then_some(())?;
        }
        let at_end = cursor.is_at_end();
        self.bytes = bytes;
        at_end.then_some(())
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        let dictionary = |dictionary: &Dictionary| dictionary.ends.len() * 4 + dictionary.ints.len() * 8;
        size_of::<Tables>()
            + self.bytes.capacity()
            + self.dictionaries.capacity() * size_of::<Option<Dictionary>>()
            + self.dictionaries.iter().flatten().map(dictionary).sum::<usize>()
            + self.symbols.capacity() * size_of::<Symbols>()
            + self.maps.capacity() * size_of::<Map>()
    }

    fn dictionary(&self, id: DictionaryId) -> Option<&Dictionary> {
        self.dictionaries.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn has_dictionary(&self, id: DictionaryId) -> bool {
        self.dictionary(id).is_some()
    }

    /// How many values a dictionary has.
    pub(crate) fn dictionary_len(&self, id: DictionaryId) -> usize {
        self.dictionary(id).map_or(0, |dictionary| dictionary.count)
    }

    /// The value of a code as `row.rs` encodes it; empty beyond the last.
    #[inline]
    pub(crate) fn dictionary_value(&self, id: DictionaryId, code: u32) -> &[u8] {
        let code = code as usize;
        let Some(dictionary) = self.dictionary(id).filter(|dictionary| code < dictionary.count) else {
            return &[];
        };
        let values = &self.bytes[dictionary.values.clone()];
        if dictionary.ends.is_empty() {
            return &values[code * dictionary.size..(code + 1) * dictionary.size];
        }
        let start = if code == 0 { 0 } else { dictionary.ends[code - 1] as usize };
        &values[start..dictionary.ends[code] as usize]
    }

    /// The integer of a code; 0 if there is none.
    #[inline]
    pub(super) fn dictionary_int(&self, id: DictionaryId, code: i64) -> i64 {
        let ints = self.dictionary(id).map_or(&[][..], |dictionary| &dictionary.ints);
        usize::try_from(code).ok().and_then(|code| ints.get(code)).copied().unwrap_or(0)
    }

    /// Symbols; none if there is no such table.
    pub(super) fn symbols(&self, table: u16) -> Option<&Symbols> {
        self.symbols.get(usize::from(table))
    }

    /// Adds the values of keys to `out`.
    pub(super) fn add_mapped(&self, table: u16, keys: &[i64], out: &mut [i64]) {
        let Some(map) = self.maps.get(usize::from(table)).filter(|map| map.starts.is_none()) else { return };
        for (out, key) in out.iter_mut().zip(keys) {
            let key = key.wrapping_sub(map.first) as u64;
            if key < map.count as u64 {
                let value = map.values.get(&self.bytes, key as usize) as i64;
                *out = out.wrapping_add(map.base.wrapping_add(value));
            }
        }
    }

    /// The value of a key; 0 if there is none.
    #[inline]
    pub(super) fn map(&self, table: u16, key: i64) -> i64 {
        let Some(map) = self.maps.get(usize::from(table)) else { return 0 };
        let key = key.wrapping_sub(map.first) as u64;
        if key >= map.count as u64 || map.starts.is_some() {
            return 0;
        }
        map.base.wrapping_add(map.values.get(&self.bytes, key as usize) as i64)
    }

    /// Number `index` of the values of a key; 0 if there is none.
    #[inline]
    pub(super) fn list(&self, table: u16, key: i64, index: u64) -> i64 {
        let Some(map) = self.maps.get(usize::from(table)) else { return 0 };
        let key = key.wrapping_sub(map.first) as u64;
        let Some(starts) = map.starts.filter(|_| key < map.count as u64) else { return 0 };
        let at = starts.get(&self.bytes, key as usize).saturating_add(index);
        if at >= map.values_count as u64 {
            return 0;
        }
        map.base.wrapping_add(map.values.get(&self.bytes, at as usize) as i64)
    }
}

fn decode_dictionary(bytes: &[u8], cursor: &mut Cursor<'_>, pg_type: PgType) -> Option<Dictionary> {
    let count = cursor.u32()? as usize;
    let Some(size) = pg_type.row_size() else {
        let ends = cursor.take(count.checked_mul(4)?)?;
        let end = |end: &[u8; 4]| u32::from_le_bytes(*end);
        let ends: Vec<u32> = bytes[ends].as_chunks().0.iter().map(end).collect();
        let values = cursor.rest();
        let fits = ends.is_sorted() && ends.last().is_none_or(|last| *last as usize <= values.len());
        return fits.then_some(Dictionary { values, ends, size: 0, count, ints: Vec::new() });
    };
    let values = cursor.take(count.checked_mul(size)?)?;
    let int = |bytes: &[u8]| super::values::int_of(pg_type, bytes);
    let ints = bytes[values.clone()].chunks_exact(size).map_while(int).collect();
    Some(Dictionary { values, ends: Vec::new(), size, count, ints })
}

fn decode_map(cursor: &mut Cursor<'_>, lists: bool) -> Option<Map> {
    let (first, count) = (cursor.i64()?, cursor.u32()? as usize);
    (count <= MAP_KEYS_MAX).then_some(())?;
    if !lists {
        let (width, base) = (cursor.u8()?, cursor.i64()?);
        let values = cursor.packed(count, width)?;
        return Some(Map { first, count, starts: None, base, values, values_count: count });
    }
    let (starts_width, width, base) = (cursor.u8()?, cursor.u8()?, cursor.i64()?);
    let values_count = cursor.u32()? as usize;
    (values_count <= MAP_KEYS_MAX * super::plan::LIST_MAX).then_some(())?;
    let starts = Some(cursor.packed(count + 1, starts_width)?);
    let values = cursor.packed(values_count, width)?;
    Some(Map { first, count, starts, base, values, values_count })
}
