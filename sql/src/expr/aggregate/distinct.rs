//! Aggregates over distinct values: each group keeps the set of its values and hands it to the aggregate at the end.
//!
//! Values are the same if SQL calls them equal; the first one that came stands for the others. The state is the set:
//! for values of up to 8 bytes one after the other, 8 bytes each; for others `[key length u32][value length u32][key]
//! [value]` each, little-endian. Floats and texts reach the aggregate in their order, as PostgreSQL sorts them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Time64MicrosecondType, TimestampMicrosecondType};
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Int64Array, LargeBinaryArray, PrimitiveArray,
};
use arrow_schema::DataType;
use hashbrown::hash_table::Entry as Slot;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use omen_core::error::{SqlState, ValueError};
use omen_core::types::{Interval, Numeric, PgType};
use std::hash::BuildHasher;

use super::source::{bytes_array, bytes_of, fixed_array, selected};
use super::{Accumulator, Groups};

/// Values that reach the aggregate in one batch.
const BATCH_ROWS: usize = 8192;

/// The distinct form of `inner`. `counts` tells that it only counts.
pub(super) fn accumulator(
    args: &[PgType],
    inner: Box<dyn Accumulator>,
    counts: bool,
) -> Box<dyn Accumulator> {
    let common = Common { args: args.to_vec(), inner, counts, groups: 0 };
    match args {
        [arg] if arg.row_size().is_some_and(|size| size <= 8) => {
            Box::new(DistinctWords { common, set: HashSet::new() })
        }
        _ => Box::new(DistinctBytes { common, set: ByteSet::default() }),
    }
}

struct Common {
    args: Vec<PgType>,
    inner: Box<dyn Accumulator>,
    counts: bool,
    groups: usize,
}

impl Common {
    /// How many values each group has, if that is the result.
    fn count(&self, groups: impl Iterator<Item = u32>) -> ArrayRef {
        let mut counts = vec![0i64; self.groups];
        groups.for_each(|group| counts[group as usize] += 1);
        Arc::new(Int64Array::from(counts))
    }
}

fn malformed() -> ValueError {
    ValueError::new(SqlState::INTERNAL_ERROR, "state of a distinct aggregate is malformed")
}

fn set_arrays(sets: Vec<Vec<u8>>) -> Vec<ArrayRef> {
    vec![Arc::new(LargeBinaryArray::from_iter_values(sets))]
}

/// Distinct values of up to 8 bytes. A word is the value's bits, of floats such that their order is the words' order.
struct DistinctWords {
    common: Common,
    set: HashSet<(u32, u64)>,
}

/// Equal floats become equal, and the order of words that of values.
fn float_word(value: f64) -> u64 {
    let value = if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    let bits = value.to_bits() & !(u64::from(value.is_nan()) << 63);
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn word_float(word: u64) -> f64 {
    f64::from_bits(if word >> 63 == 1 { word & !(1 << 63) } else { !word })
}

fn words(array: &ArrayRef) -> Vec<u64> {
    macro_rules! integers {
        ($arrow:ident) => {
            array.as_primitive::<$arrow>().values().iter().map(|value| i64::from(*value) as u64).collect()
        };
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().values().iter().map(u64::from).collect(),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Date32 => integers!(Date32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::Time64(_) => integers!(Time64MicrosecondType),
        DataType::Timestamp(..) => integers!(TimestampMicrosecondType),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .values()
            .iter()
            .map(|value| float_word((*value).into()))
            .collect(),
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().values().iter().map(|value| float_word(*value)).collect()
        }
        other => unreachable!("{other} is not of up to 8 bytes"),
    }
}

fn primitives<T: ArrowPrimitiveType>(entries: &[(u32, u64)], value: impl Fn(u64) -> T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(entries.iter().map(|(_, word)| value(*word))))
}

/// Inverse of [`words`] for the types of which there is more than a count.
fn word_array(arg: PgType, entries: &[(u32, u64)]) -> ArrayRef {
    match arg {
        PgType::Int2 => primitives::<Int16Type>(entries, |word| word as i16),
        PgType::Int4 => primitives::<Int32Type>(entries, |word| word as i32),
        PgType::Int8 => primitives::<Int64Type>(entries, |word| word as i64),
        PgType::Float4 => primitives::<Float32Type>(entries, |word| word_float(word) as f32),
        PgType::Float8 => primitives::<Float64Type>(entries, word_float),
        _ => unreachable!("distinct values of {arg} are only counted"),
    }
}

impl Accumulator for DistinctWords {
    fn resize(&mut self, groups: usize) {
        self.common.groups = self.common.groups.max(groups);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let words = words(&args[0]);
        let group = |row| groups.of(row);
        match selected(args[0].nulls(), filter) {
            None => self.set.extend((0..groups.row_count()).map(|row| (group(row), words[row]))),
            Some(rows) => self.set.extend(rows.set_indices().map(|row| (group(row), words[row]))),
        }
        Ok(())
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let sets = states[0].as_binary::<i64>();
        for row in 0..groups.row_count() {
            let (words, rest) = sets.value(row).as_chunks::<8>();
            rest.is_empty().then_some(()).ok_or_else(malformed)?;
            self.set.extend(words.iter().map(|word| (groups.of(row), u64::from_le_bytes(*word))));
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let mut sets = vec![Vec::new(); self.common.groups];
        for (group, word) in self.set.drain() {
            sets[group as usize].extend_from_slice(&word.to_le_bytes());
        }
        Ok(set_arrays(sets))
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        if self.common.counts {
            return Ok(self.common.count(self.set.iter().map(|(group, _)| *group)));
        }
        let mut entries: Vec<(u32, u64)> = std::mem::take(&mut self.set).into_iter().collect();
        entries.sort_unstable();
        let Common { args, inner, groups, .. } = &mut self.common;
        inner.resize(*groups);
        for batch in entries.chunks(BATCH_ROWS) {
            let ids: Vec<u32> = batch.iter().map(|(group, _)| *group).collect();
            inner.update(Groups::Each(&ids), &[word_array(args[0], batch)], None)?;
        }
        inner.finish()
    }

    fn size_bytes(&self) -> usize {
        self.set.allocation_size() + self.common.inner.size_bytes()
    }
}

/// Distinct values of any size, and of several arguments.
struct DistinctBytes {
    common: Common,
    set: ByteSet,
}

/// A value of a group in [`ByteSet::bytes`]: the key, by which it is compared, and the value unless that is the key.
#[derive(Clone, Copy)]
struct Item {
    group: u32,
    key_len: u32,
    value_len: u32,
    start: usize,
}

#[derive(Default)]
struct ByteSet {
    items: Vec<Item>,
    bytes: Vec<u8>,
    /// Positions in `items`.
    table: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl ByteSet {
    fn key(&self, item: Item) -> &[u8] {
        &self.bytes[item.start..item.start + item.key_len as usize]
    }

    fn value(&self, item: Item) -> &[u8] {
        let start = item.start + item.key_len as usize;
        &self.bytes[start..start + item.value_len as usize]
    }

    fn insert(&mut self, group: u32, key: &[u8], value: &[u8]) -> Result<(), ValueError> {
        let ByteSet { items, bytes, table, hasher } = self;
        let key_at = |index: &usize| {
            let item: Item = items[*index];
            (item.group, &bytes[item.start..item.start + item.key_len as usize])
        };
        let hash = hasher.hash_one((group, key));
        let slot =
            table.entry(hash, |index| key_at(index) == (group, key), |index| hasher.hash_one(key_at(index)));
        if let Slot::Vacant(slot) = slot {
            let length = |bytes: &[u8]| {
                u32::try_from(bytes.len())
                    .map_err(|_| ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "value exceeds 4 GiB"))
            };
            let (key_len, value_len) = (length(key)?, length(value)?);
            slot.insert(items.len());
            items.push(Item { group, key_len, value_len, start: bytes.len() });
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.items.capacity() * size_of::<Item>() + self.table.allocation_size()
    }
}

/// The bytes by which a row's arguments are compared, and those of the value if they differ.
fn encode(args: &[PgType], arrays: &[ArrayRef], row: usize, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    key.clear();
    value.clear();
    if let [values, delimiters] = arrays {
        let first = bytes_of(values, row);
        key.extend_from_slice(&(first.len() as u64).to_le_bytes());
        key.extend_from_slice(first);
        key.push(u8::from(delimiters.is_valid(row)));
        if delimiters.is_valid(row) {
            key.extend_from_slice(bytes_of(delimiters, row));
        }
        return;
    }
    match args[0] {
        PgType::Numeric(_) => {
            let bytes = arrays[0].as_fixed_size_binary().value(row);
            let numeric = Numeric::from_trusted_bytes(bytes.try_into().expect("a numeric"));
            key.extend_from_slice(&numeric.normalized().to_bytes());
            value.extend_from_slice(bytes);
        }
        PgType::Interval => {
            let bytes = arrays[0].as_fixed_size_binary().value(row);
            let interval = Interval::from_bytes(bytes.try_into().expect("an interval"));
            key.extend_from_slice(&interval.order().to_le_bytes());
            value.extend_from_slice(bytes);
        }
        PgType::Uuid => key.extend_from_slice(arrays[0].as_fixed_size_binary().value(row)),
        _ => key.extend_from_slice(bytes_of(&arrays[0], row)),
    }
}

/// Value and delimiter of the key of a `string_agg`.
fn split_pair(key: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (length, rest) = key.split_first_chunk::<8>().expect("made by encode");
    let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).expect("a length"));
    (value, (rest[0] == 1).then_some(&rest[1..]))
}

impl DistinctBytes {
    fn arrays(&self, items: &[Item]) -> Result<Vec<ArrayRef>, ValueError> {
        let set = &self.set;
        if let [value, _] = self.common.args[..] {
            let text = value != PgType::Bytea;
            let pairs = || items.iter().map(|item| split_pair(set.key(*item)));
            let values = bytes_array(pairs().map(|(value, _)| Some(value)), text)?;
            return Ok(vec![values, bytes_array(pairs().map(|(_, delimiter)| delimiter), text)?]);
        }
        let values = items.iter().map(|item| set.value(*item));
        Ok(vec![match self.common.args[0] {
            PgType::Numeric(_) => {
                fixed_array(values.map(|value| Some(<[u8; 17]>::try_from(value).expect("made by encode"))))
            }
            PgType::Interval => {
                fixed_array(values.map(|value| Some(<[u8; 16]>::try_from(value).expect("made by encode"))))
            }
            other => unreachable!("distinct values of {other} are only counted"),
        }])
    }
}

impl Accumulator for DistinctBytes {
    fn resize(&mut self, groups: usize) {
        self.common.groups = self.common.groups.max(groups);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let rows = selected(args[0].nulls(), filter);
        for row in 0..groups.row_count() {
            if rows.as_ref().is_some_and(|rows| !rows.value(row)) {
                continue;
            }
            encode(&self.common.args, args, row, &mut key, &mut value);
            self.set.insert(groups.of(row), &key, &value)?;
        }
        Ok(())
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let sets = states[0].as_binary::<i64>();
        for row in 0..groups.row_count() {
            let mut rest = sets.value(row);
            while let Some((head, tail)) = rest.split_first_chunk::<8>() {
                let [k0, k1, k2, k3, v0, v1, v2, v3] = *head;
                let key_len = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
                let value_len = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
                let (key, tail) = tail.split_at_checked(key_len).ok_or_else(malformed)?;
                let (value, tail) = tail.split_at_checked(value_len).ok_or_else(malformed)?;
                self.set.insert(groups.of(row), key, value)?;
                rest = tail;
            }
            rest.is_empty().then_some(()).ok_or_else(malformed)?;
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let mut sets = vec![Vec::new(); self.common.groups];
        for item in &self.set.items {
            let set = &mut sets[item.group as usize];
            set.extend_from_slice(&item.key_len.to_le_bytes());
            set.extend_from_slice(&item.value_len.to_le_bytes());
            set.extend_from_slice(self.set.key(*item));
            set.extend_from_slice(self.set.value(*item));
        }
        Ok(set_arrays(sets))
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        if self.common.counts {
            return Ok(self.common.count(self.set.items.iter().map(|item| item.group)));
        }
        let mut items = std::mem::take(&mut self.set.items);
        if self.common.args.len() == 2 {
            // NULL comes last, as PostgreSQL sorts it.
            let order = |item: &Item| {
                let (value, delimiter) = split_pair(self.set.key(*item));
                (item.group, value, delimiter.is_none(), delimiter)
            };
            items.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        }
        self.common.inner.resize(self.common.groups);
        for batch in items.chunks(BATCH_ROWS) {
            let ids: Vec<u32> = batch.iter().map(|item| item.group).collect();
            let arrays = self.arrays(batch)?;
            self.common.inner.update(Groups::Each(&ids), &arrays, None)?;
        }
        self.common.inner.finish()
    }

    fn size_bytes(&self) -> usize {
        self.set.size_bytes() + self.common.inner.size_bytes()
    }
}
