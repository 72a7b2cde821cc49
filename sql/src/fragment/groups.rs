//! Numbers groups: rows with equal values get the same number, counted from 0 in order of appearance.
//!
//! One column of whole numbers or of text is looked up by its value; anything else by the bytes of [`RowKeys`], and of
//! short texts that repeat ([`Repeats`]) only the first, of codes of texts ([`Combinations`]) each combination once. Each group keeps the values of its first row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StringArray, UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use hashbrown::HashTable;
use omen_core::types::PgType;

use omen_core::fragment::plain;

use super::codes::{self, Combinations};
use super::repeats::Repeats;
use super::rowkey::RowKeys;

/// So many numbers from the smallest on are looked up in an array instead of the hash table, however few have groups.
const DENSE_MIN: usize = 4_096;

/// More are if one of so many has a group: keys have few gaps, or came with regular ones.
const DENSE_PART: usize = 8;

/// The number of rows whose group is not known, once a table takes no more groups.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// See the module.
pub(crate) struct GroupTable {
    types: Vec<PgType>,
    lookup: Lookup,
    repeats: Repeats,
    combinations: Combinations,
}

enum Lookup {
    Numbers(Numbers),
    Text(Text),
    Rows(Rows),
}

impl GroupTable {
    /// No groups yet, of rows with these columns, of which there is at least one.
    pub(crate) fn new(types: Vec<PgType>) -> GroupTable {
        let lookup = match types.as_slice() {
            [one] if number_kind(*one) => Lookup::Numbers(Numbers::new()),
            [PgType::Text | PgType::Varchar(_)] => Lookup::Text(Text::default()),
            _ => Lookup::Rows(Rows { chunks: vec![Vec::new(); types.len()], ..Rows::default() }),
        };
        GroupTable { types, lookup, repeats: Repeats::default(), combinations: Combinations::default() }
    }

    /// Takes no more groups: rows of others get [`NO_GROUP`].
    pub(crate) fn freeze(&mut self) {
        match &mut self.lookup {
            Lookup::Numbers(lookup) => lookup.frozen = true,
            Lookup::Text(lookup) => lookup.frozen = true,
            Lookup::Rows(lookup) => lookup.frozen = true,
        }
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        match &self.lookup {
            Lookup::Numbers(lookup) => lookup.values.len(),
            Lookup::Text(lookup) => lookup.ends.len(),
            Lookup::Rows(lookup) => lookup.ends.len(),
        }
    }

    /// Bytes of memory, about.
    pub(crate) fn size_bytes(&self) -> usize {
        match &self.lookup {
            Lookup::Numbers(lookup) => {
                lookup.values.capacity() * 8 + lookup.dense.capacity() * 4 + lookup.table.capacity() * 5
            }
            Lookup::Text(lookup) => {
                lookup.bytes.capacity() + lookup.ends.capacity() * 4 + lookup.table.capacity() * 5
            }
            // The values of first rows take about as much as their encoding.
            Lookup::Rows(lookup) => {
                2 * lookup.bytes.capacity() + lookup.ends.capacity() * 8 + lookup.table.capacity() * 5
            }
        }
    }

    /// The group of each row, in `groups`, which is overwritten. Texts may be codes.
    pub(crate) fn assign(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) {
        if let Some(coded) = codes::coded(columns) {
            let mut combinations = std::mem::take(&mut self.combinations);
            let assign = |texts: &[ArrayRef], rows: usize, groups: &mut Vec<u32>| {
                self.assign_each(texts, rows, groups);
            };
            combinations.assign(&coded, groups, assign);
            self.combinations = combinations;
        } else if columns.iter().any(|column| matches!(column.data_type(), DataType::Dictionary(..))) {
            let texts: Vec<ArrayRef> = columns.iter().map(plain).collect();
            self.assign_texts(&texts, rows, groups);
        } else {
            self.assign_texts(columns, rows, groups);
        }
    }

    /// As `assign` of columns that are no codes.
    fn assign_texts(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) {
        if self.repeats.find(columns, &self.types, rows) {
            let first_rows = UInt32Array::from(self.repeats.first_rows.clone());
            let columns: Vec<ArrayRef> =
                columns.iter().map(|column| super::take(column, &first_rows)).collect();
            let mut of_keys = Vec::new();
            self.assign_each(&columns, first_rows.len(), &mut of_keys);
            groups.clear();
            groups.extend(self.repeats.numbers.iter().map(|number| of_keys[usize::from(*number)]));
        } else {
            self.assign_each(columns, rows, groups);
        }
    }

    /// As `assign`, each row by itself.
    fn assign_each(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) {
        groups.clear();
        groups.reserve(rows);
        match &mut self.lookup {
            Lookup::Numbers(lookup) => {
                let column = &columns[0];
                match self.types[0] {
                    PgType::Bool => {
                        let values = column.as_boolean();
                        lookup.assign(column, groups, |row| i64::from(values.value(row)));
                    }
                    PgType::Int2 => assign_primitive::<Int16Type>(lookup, column, groups),
                    PgType::Int4 => assign_primitive::<Int32Type>(lookup, column, groups),
                    PgType::Date => assign_primitive::<Date32Type>(lookup, column, groups),
                    PgType::Time => assign_primitive::<Time64MicrosecondType>(lookup, column, groups),
                    PgType::Timestamp | PgType::Timestamptz => {
                        assign_primitive::<TimestampMicrosecondType>(lookup, column, groups);
                    }
                    _ => assign_primitive::<Int64Type>(lookup, column, groups),
                }
            }
            Lookup::Text(lookup) => lookup.assign(columns[0].as_string::<i32>(), groups),
            Lookup::Rows(lookup) => lookup.assign(columns, &self.types, rows, groups),
        }
    }

    /// The values of the groups, one row for each group.
    pub(crate) fn into_columns(self) -> Vec<ArrayRef> {
        match self.lookup {
            Lookup::Numbers(lookup) => vec![lookup.into_column(self.types[0])],
            Lookup::Text(lookup) => vec![lookup.into_column()],
            Lookup::Rows(lookup) => lookup.into_columns(&self.types),
        }
    }
}

fn number_kind(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::Bool
            | PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Date
            | PgType::Time
            | PgType::Timestamp
            | PgType::Timestamptz
    )
}

/// Spreads the bits of a number over the hash: the table uses the lowest and the highest.
pub(super) fn hash_number(value: i64) -> u64 {
    let mixed = (value as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 32
}

pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Group numbers follow the order of rows, not of hashes, so a fixed seed changes no answer; but keys are the
    // users', so the seed must not be known to them.
    static SEED: std::sync::OnceLock<hashbrown::DefaultHashBuilder> = std::sync::OnceLock::new();
    let mut hasher = SEED.get_or_init(hashbrown::DefaultHashBuilder::default).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

struct Numbers {
    /// The smallest number of the first batch.
    base: i64,
    /// The groups of the numbers from `base` on.
    dense: Vec<u32>,
    /// Those of all others.
    table: HashTable<u32>,
    null: u32,
    values: Vec<i64>,
    frozen: bool,
}

impl Numbers {
    fn new() -> Numbers {
        Numbers {
            base: 0,
            dense: Vec::new(),
            table: HashTable::new(),
            null: NO_GROUP,
            values: Vec::new(),
            frozen: false,
        }
    }

    fn assign(&mut self, column: &ArrayRef, groups: &mut Vec<u32>, value: impl Fn(usize) -> i64) {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
        if self.values.is_empty() {
            let known = (0..column.len()).filter(|row| !is_null(*row));
            self.base = known.map(&value).min().unwrap_or(0);
        }
        match nulls {
            None => groups.extend((0..column.len()).map(|row| self.group_of(value(row)))),
            Some(_) => groups.extend(
                (0..column.len())
                    .map(|row| if is_null(row) { self.null_group() } else { self.group_of(value(row)) }),
            ),
        }
    }

    fn next_group(&mut self, value: i64) -> u32 {
        let group = u32::try_from(self.values.len()).expect("memory ends before groups do");
        self.values.push(value);
        group
    }

    fn null_group(&mut self) -> u32 {
        if self.null == NO_GROUP && !self.frozen {
            self.null = self.next_group(0);
        }
        self.null
    }

    /// Where a number is in `dense`, if that is long enough.
    #[inline]
    fn place(base: i64, value: i64) -> usize {
        if value < base { usize::MAX } else { value.wrapping_sub(base) as usize }
    }

    #[inline]
    fn group_of(&mut self, value: i64) -> u32 {
        let place = Numbers::place(self.base, value);
        match self.dense.get(place) {
            Some(known) if *known != NO_GROUP || self.frozen => *known,
            Some(_) => {
                let group = self.next_group(value);
                self.dense[place] = group;
                group
            }
            None => self.search(value, place),
        }
    }

    /// The group of a number that has no place in `dense` yet.
    #[inline(never)]
    fn search(&mut self, value: i64, place: usize) -> u32 {
        if !self.frozen && place < DENSE_MIN.max(self.values.len().saturating_mul(DENSE_PART)) {
            self.extend_dense((place + 1).next_power_of_two());
            return self.group_of(value);
        }
        let hash = hash_number(value);
        let (values, null) = (&self.values, self.null);
        let found = self.table.find(hash, |group| values[*group as usize] == value && *group != null);
        if let Some(group) = found {
            return *group;
        }
        if self.frozen {
            return NO_GROUP;
        }
        let group = self.next_group(value);
        let values = &self.values;
        self.table.insert_unique(hash, group, |group| hash_number(values[*group as usize]));
        group
    }

    /// Takes the numbers that get places out of the table.
    fn extend_dense(&mut self, length: usize) {
        let Numbers { base, dense, table, values, .. } = self;
        dense.reserve_exact(length - dense.len());
        dense.resize(length, NO_GROUP);
        table.retain(|group| match dense.get_mut(Numbers::place(*base, values[*group as usize])) {
            Some(place) => {
                *place = *group;
                false
            }
            None => true,
        });
    }

    fn into_column(self, pg_type: PgType) -> ArrayRef {
        let count = self.values.len();
        let nulls = (self.null != NO_GROUP)
            .then(|| NullBuffer::from_iter((0..count).map(|group| group != self.null as usize)));
        let values = self.values;
        match pg_type {
            PgType::Bool => {
                let bits = values.iter().map(|value| *value != 0).collect();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            PgType::Int2 => {
                Arc::new(PrimitiveArray::<Int16Type>::new(values.iter().map(|v| *v as i16).collect(), nulls))
            }
            PgType::Int4 => {
                Arc::new(PrimitiveArray::<Int32Type>::new(values.iter().map(|v| *v as i32).collect(), nulls))
            }
            PgType::Date => {
                Arc::new(PrimitiveArray::<Date32Type>::new(values.iter().map(|v| *v as i32).collect(), nulls))
            }
            PgType::Time => Arc::new(PrimitiveArray::<Time64MicrosecondType>::new(values.into(), nulls)),
            PgType::Timestamp | PgType::Timestamptz => Arc::new(
                PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls)
                    .with_data_type(pg_type.arrow()),
            ),
            _ => Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), nulls)),
        }
    }
}

fn assign_primitive<T: ArrowPrimitiveType>(lookup: &mut Numbers, column: &ArrayRef, groups: &mut Vec<u32>)
where
    T::Native: Into<i64>,
{
    let values = column.as_primitive::<T>().values();
    lookup.assign(column, groups, |row| values[row].into());
}

#[derive(Default)]
struct Text {
    table: HashTable<u32>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    null: Option<u32>,
    frozen: bool,
}

impl Text {
    fn value<'a>(bytes: &'a [u8], ends: &[u32], group: u32) -> &'a [u8] {
        let start = if group == 0 { 0 } else { ends[group as usize - 1] as usize };
        &bytes[start..ends[group as usize] as usize]
    }

    fn next_group(&mut self, value: &[u8]) -> u32 {
        let group = u32::try_from(self.ends.len()).expect("memory ends before groups do");
        self.bytes.extend_from_slice(value);
        self.ends.push(u32::try_from(self.bytes.len()).expect("group keys are limited to 1 GiB"));
        group
    }

    fn assign(&mut self, column: &StringArray, groups: &mut Vec<u32>) {
        for row in 0..column.len() {
            if column.is_null(row) {
                let group = match self.null {
                    Some(group) => group,
                    None if self.frozen => NO_GROUP,
                    None => {
                        let group = self.next_group(&[]);
                        self.null = Some(group);
                        group
                    }
                };
                groups.push(group);
                continue;
            }
            let value = column.value(row).as_bytes();
            let hash = hash_bytes(value);
            let found = self.table.find(hash, |group| Text::value(&self.bytes, &self.ends, *group) == value);
            let group = match found {
                Some(group) => *group,
                None if self.frozen => NO_GROUP,
                None => {
                    let group = self.next_group(value);
                    let (bytes, ends) = (&self.bytes, &self.ends);
                    self.table
                        .insert_unique(hash, group, |group| hash_bytes(Text::value(bytes, ends, *group)));
                    group
                }
            };
            groups.push(group);
        }
    }

    fn into_column(self) -> ArrayRef {
        let count = self.ends.len();
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        offsets.extend(self.ends.iter().map(|end| *end as i32));
        let nulls =
            self.null.map(|null| NullBuffer::from_iter((0..count).map(|group| group != null as usize)));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(StringArray::new(offsets, self.bytes.into(), nulls))
    }
}

#[derive(Default)]
struct Rows {
    table: HashTable<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// For each column the values of first rows, one array for each batch that brought new groups.
    chunks: Vec<Vec<ArrayRef>>,
    frozen: bool,
}

impl Rows {
    fn value<'a>(bytes: &'a [u8], ends: &[usize], group: u32) -> &'a [u8] {
        let start = if group == 0 { 0 } else { ends[group as usize - 1] };
        &bytes[start..ends[group as usize]]
    }

    fn assign(&mut self, columns: &[ArrayRef], types: &[PgType], rows: usize, groups: &mut Vec<u32>) {
        let keys = RowKeys::of(columns, types, rows);
        let mut first_rows: Vec<u32> = Vec::new();
        for row in 0..rows {
            let value = keys.row(row);
            let hash = hash_bytes(value);
            let found = self.table.find(hash, |group| Rows::value(&self.bytes, &self.ends, *group) == value);
            let group = match found {
                Some(group) => *group,
                None if self.frozen => NO_GROUP,
                None => {
                    let group = u32::try_from(self.ends.len()).expect("memory ends before groups do");
                    self.bytes.extend_from_slice(value);
                    self.ends.push(self.bytes.len());
                    let (bytes, ends) = (&self.bytes, &self.ends);
                    self.table
                        .insert_unique(hash, group, |group| hash_bytes(Rows::value(bytes, ends, *group)));
                    first_rows.push(u32::try_from(row).expect("at most 8192 rows in a batch"));
                    group
                }
            };
            groups.push(group);
        }
        if !first_rows.is_empty() {
            let indices = UInt32Array::from(first_rows);
            for (chunks, column) in self.chunks.iter_mut().zip(columns) {
                chunks.push(super::take(column, &indices));
            }
        }
    }

    fn into_columns(self, types: &[PgType]) -> Vec<ArrayRef> {
        let whole = |(chunks, pg_type): (Vec<ArrayRef>, &PgType)| super::concat(&chunks, *pg_type);
        self.chunks.into_iter().zip(types).map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int32Array, Int64Array};

    use super::*;

    fn groups_of(table: &mut GroupTable, columns: &[ArrayRef]) -> Vec<u32> {
        let mut groups = Vec::new();
        table.assign(columns, columns[0].len(), &mut groups);
        groups
    }

    #[test]
    fn numbers_dense_sparse_and_null() {
        let mut table = GroupTable::new(vec![PgType::Int8]);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![
            Some(5),
            Some(-9),
            None,
            Some(5),
            Some(0),
            Some(1 << 40),
            None,
            Some(-9),
        ]));
        assert_eq!(groups_of(&mut table, std::slice::from_ref(&column)), [0, 1, 2, 0, 3, 4, 2, 1]);
        assert_eq!(groups_of(&mut table, &[column]), [0, 1, 2, 0, 3, 4, 2, 1]);
        let expected = Int64Array::from(vec![Some(5), Some(-9), None, Some(0), Some(1 << 40)]);
        assert_eq!(table.into_columns()[0].as_ref(), &expected as &dyn Array);
    }

    #[test]
    fn numbers_move_into_the_array_as_it_grows() {
        let mut table = GroupTable::new(vec![PgType::Int8]);
        // Far apart at first, then with few gaps, with numbers below the first and at both ends.
        let far = (0..500_i64).map(|n| 1_000 + n * 90);
        let near = (0..20_000_i64).map(|n| 1_000 + n * 3);
        let ends = [i64::MIN, i64::MAX, -1, 0, 999];
        let all: Vec<i64> = far.chain(near).chain(ends).collect();
        let mut known = std::collections::HashMap::new();
        for round in 0..2 {
            for part in all.chunks(300) {
                let column: ArrayRef = Arc::new(Int64Array::from(part.to_vec()));
                for (value, group) in part.iter().zip(groups_of(&mut table, &[column])) {
                    let count = u32::try_from(known.len()).expect("few");
                    assert_eq!(group, *known.entry(*value).or_insert(count), "{value} in round {round}");
                }
            }
            table.freeze();
        }
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1_001, 1 << 40, -5, 1_000]));
        assert_eq!(groups_of(&mut table, &[column]), [NO_GROUP, NO_GROUP, NO_GROUP, 0]);
        let Lookup::Numbers(numbers) = &table.lookup else { panic!("numbers") };
        assert!(numbers.dense.len() > 60_000 && numbers.table.len() == 5, "{}", numbers.table.len());
    }

    #[test]
    fn null_and_zero_are_different_numbers() {
        let mut table = GroupTable::new(vec![PgType::Int4]);
        let column: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(0), Some(-1), None]));
        assert_eq!(groups_of(&mut table, &[column]), [0, 1, 2, 0]);
    }

    #[test]
    fn text_and_empty_text_and_null() {
        let mut table = GroupTable::new(vec![PgType::Text]);
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("x"), Some(""), None]));
        assert_eq!(groups_of(&mut table, &[column]), [0, 1, 2, 0, 1]);
        let expected = StringArray::from(vec![Some(""), None, Some("x")]);
        assert_eq!(table.into_columns()[0].as_ref(), &expected as &dyn Array);
    }

    #[test]
    fn several_columns() {
        let mut table = GroupTable::new(vec![PgType::Text, PgType::Int4]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, Some("a")]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(1), Some(1)]));
        assert_eq!(groups_of(&mut table, &[names, numbers]), [0, 1, 2, 0]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![None, Some("b")]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(1)]));
        assert_eq!(groups_of(&mut table, &[names, numbers]), [2, 3]);
        let columns = table.into_columns();
        assert_eq!(
            columns[0].as_ref(),
            &StringArray::from(vec![Some("a"), Some("a"), None, Some("b")]) as &dyn Array
        );
    }
}
