//! What the writer collects for the tables of a segment.

use std::hash::BuildHasher;

use fsst::Compressor;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::bits::width_of;
use super::fsst::{TRAIN_BYTES, encode_symbols};

/// Rows over which a dictionary is expected to pay: segments of a range have about as many or more.
const ROWS_EXPECTED: f64 = 262_144.0;
const DICTIONARY_ENTRIES_MAX: usize = 1 << 16;
const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// Fewer rows than this that repeat a value of their block say nothing about how many values there are. Where blocks have
/// 1,024 rows, too many values are estimated then anyway.
const REPEATS_MIN: usize = 4;
/// Bytes of a `Compressor`: most are its table of pairs of bytes.
const COMPRESSOR_BYTES: usize = 170 << 10;
/// Longer values do not enter a dictionary.
const VALUE_BYTES_MAX: usize = 512;
/// Symbol tables of a column.
const SYMBOL_TABLES_MAX: usize = 4;
/// Fewer bytes are not worth a symbol table.
const SYMBOLS_TRAIN_BYTES_MIN: usize = 4 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be decided with a block whose number is at least this.
    Open(u32),
    On,
    /// No value enters any more.
    Full,
}

/// A dictionary that grows.
#[derive(Debug)]
pub(super) struct DictionaryBuilder {
    /// By the hashes of their values.
    codes: HashTable<u32>,
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    state: State,
    blocks: u32,
}

impl DictionaryBuilder {
    pub(super) fn new() -> DictionaryBuilder {
        DictionaryBuilder {
            codes: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            state: State::Open(0),
            blocks: 0,
        }
    }

    /// Codes of all values; `None` if a dictionary does not serve. NULLs have the code before them. `other_bytes` is
    /// about what a value takes in the best other encoding. Without `may_grow` no new value enters from now on.
    pub(super) fn codes<'a>(
        &mut self,
        values: impl Iterator<Item = Option<&'a [u8]>> + Clone,
        rows: usize,
        may_grow: bool,
        other_bytes: impl FnOnce() -> f64,
    ) -> Option<Vec<i64>> {
        self.blocks += 1;
        match self.state {
            State::Open(from) if self.blocks > from && may_grow => {
                if !promises(values.clone(), other_bytes()) {
                    self.state = State::Open(self.blocks * 4 - 1);
                    return None;
                }
                self.state = State::On;
            }
            State::Open(_) => return None,
            State::On | State::Full => {}
        }
        let room = may_grow
            && self.ends.len() + rows <= DICTIONARY_ENTRIES_MAX
            && self.bytes.len() < DICTIONARY_BYTES_MAX;
        let before = self.ends.len();
        if !room {
            self.state = State::Full;
        }
        let mut codes = Vec::with_capacity(rows);
        let mut last = 0;
        for value in values {
            if let Some(value) = value {
                last = i64::from(self.code(value)?);
            }
            codes.push(last);
        }
        // A dictionary that learns a new value with every second row is none.
        if self.blocks > 8 && (self.ends.len() - before) * 2 > rows {
            self.state = State::Full;
        }
        Some(codes)
    }

    fn code(&mut self, value: &[u8]) -> Option<u32> {
        let DictionaryBuilder { codes, hasher, bytes, ends, .. } = self;
        let hash = hasher.hash_one(value);
        if let Some(code) = codes.find(hash, |code| value_of(bytes, ends, *code) == value) {
            return Some(*code);
        }
        if self.state == State::Full || value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let code = u32::try_from(ends.len()).expect("at most DICTIONARY_ENTRIES_MAX");
        bytes.extend_from_slice(value);
        ends.push(u32::try_from(bytes.len()).expect("about DICTIONARY_BYTES_MAX"));
        codes.insert_unique(hash, code, |code| hasher.hash_one(value_of(bytes, ends, *code)));
        Some(code)
    }

    /// Bytes of its values.
    pub(super) fn value_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        let entries = (self.codes.capacity() * 8 / 7) * (size_of::<u32>() + 1);
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>() + entries
    }

    /// The bytes of the table; `None` if there is none.
    pub(super) fn encode(&self, varies: bool) -> Option<Vec<u8>> {
        if self.ends.is_empty() {
            return None;
        }
        let mut out = u32::try_from(self.ends.len()).expect("at most 65,536").to_le_bytes().to_vec();
        if varies {
            self.ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
        }
        out.extend_from_slice(&self.bytes);
        Some(out)
    }
}

/// The value with this code.
fn value_of<'a>(bytes: &'a [u8], ends: &[u32], code: u32) -> &'a [u8] {
    let code = code as usize;
    let start = if code == 0 { 0 } else { ends[code - 1] as usize };
    &bytes[start..ends[code] as usize]
}

/// Whether a dictionary is smaller, judged by how many values of a block are there once and twice (Chao 1984).
fn promises<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, other_bytes: f64) -> bool {
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    let (mut rows, mut bytes) = (0u32, 0);
    for value in values.flatten() {
        let count = counts.entry(value).or_insert(0);
        bytes += if *count == 0 { value.len() + 4 } else { 0 };
        *count += 1;
        rows += 1;
    }
    if (rows as usize) < counts.len() + REPEATS_MIN {
        return false;
    }
    let seen = counts.len() as f64;
    let once = counts.values().filter(|count| **count == 1).count() as f64;
    let twice = counts.values().filter(|count| **count == 2).count() as f64;
    let all = seen + once * (once - 1.0).max(0.0) / (2.0 * (twice + 1.0));
    if all > DICTIONARY_ENTRIES_MAX as f64 / 2.0 {
        return false;
    }
    let bits = f64::from(width_of((all - 1.0).max(0.0) as u64));
    let entries = all * bytes as f64 / seen / ROWS_EXPECTED.max(f64::from(rows));
    bits / 8.0 + entries < 0.85 * other_bytes
}

/// Symbols of a column of strings.
pub(super) struct SymbolsBuilder {
    compressor: Option<Compressor>,
    /// Number of the table in the segment.
    table: u16,
    tables: usize,
    /// Bytes of codes for a byte of strings, when the symbols were found.
    ratio: f64,
}

impl std::fmt::Debug for SymbolsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SymbolsBuilder").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Strings as codes.
pub(super) struct Compressed {
    pub(super) table: u16,
    pub(super) ends: Vec<i64>,
    pub(super) bytes: Vec<u8>,
}

impl SymbolsBuilder {
    pub(super) fn new() -> SymbolsBuilder {
        SymbolsBuilder { compressor: None, table: 0, tables: 0, ratio: 1.0 }
    }

    /// Codes of strings, empty for NULL; `None` if symbols do not make them smaller. New symbols are added to `tables`.
    pub(super) fn compress(&mut self, values: &[&[u8]], tables: &mut Vec<Vec<u8>>) -> Option<Compressed> {
        let total: usize = values.iter().map(|value| value.len()).sum();
        if self.compressor.is_none() {
            self.train(values, total, tables)?;
        }
        let mut found = self.apply(values);
        let ratio = found.bytes.len() as f64 / total.max(1) as f64;
        // Other text than before.
        if ratio > self.ratio * 1.2 && self.train(values, total, tables).is_some() {
            found = self.apply(values);
        }
        (found.bytes.len() * 100 < total * 85).then_some(found)
    }

    fn apply(&self, values: &[&[u8]]) -> Compressed {
        let mut found =
            Compressed { table: self.table, ends: Vec::with_capacity(values.len()), bytes: Vec::new() };
        let Some(compressor) = &self.compressor else { return found };
        for value in values {
            found.bytes.extend_from_slice(&compressor.compress(value));
            found.ends.push(found.bytes.len() as i64);
        }
        found
    }

    fn train(&mut self, values: &[&[u8]], total: usize, tables: &mut Vec<Vec<u8>>) -> Option<()> {
        if total < SYMBOLS_TRAIN_BYTES_MIN || self.tables == SYMBOL_TABLES_MAX {
            return None;
        }
        let table = u16::try_from(tables.len()).ok()?;
        let step = (total / TRAIN_BYTES).max(1);
        let sample: Vec<&[u8]> =
            values.iter().step_by(step).map(|value| &value[..value.len().min(4096)]).collect();
        self.compressor = Some(Compressor::train(&sample));
        (self.table, self.tables) = (table, self.tables + 1);
        tables.push(encode_symbols(self.compressor.as_ref()?));
        let found = self.apply(values);
        self.ratio = found.bytes.len() as f64 / total as f64;
        Some(())
    }

    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        self.compressor.as_ref().map_or(0, |_| COMPRESSOR_BYTES)
    }

    /// About how many bytes a byte of strings takes.
    pub(super) fn ratio(&self) -> f64 {
        if self.compressor.is_some() { self.ratio } else { 0.5 }
    }
}
