//! The rows of a build side by their keys.
//!
//! One key of whole numbers is compared as a number, anything else by the bytes of [`RowKeys`]. Rows whose keys have
//! equal hashes form a chain, in the order of the rows. Rows with a NULL among their keys are in no chain.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray};
use arrow_buffer::NullBuffer;
use omen_core::filter::NumberSetBuilder;
use omen_core::types::PgType;

use crate::fragment::groups::{hash_bytes, hash_number};
use crate::fragment::rowkey::RowKeys;

const NONE: u32 = u32::MAX;

/// So many rows with equal keys are few: a scan's first batch of 2,048 rows gives a few batches at most, and the scan
/// makes the next ones smaller if they take too long.
pub(crate) const PARTNERS_MAX: usize = 8;

/// Rows that are put into chains in one step: a fraction of a millisecond.
const INDEX_ROWS: usize = 8_192;

/// Pairs of rows: of the probe side's batch, and of the build side.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) probe: Vec<u32>,
    pub(super) build: Vec<u32>,
}

impl Pairs {
    /// Keeps those for which the mask is true.
    pub(super) fn retain(&mut self, keep: &BooleanArray) {
        let kept = |rows: &[u32]| -> Vec<u32> {
            rows.iter().zip(keep.values()).filter(|(_, keep)| *keep).map(|(row, _)| *row).collect()
        };
        self.probe = kept(&self.probe);
        self.build = kept(&self.build);
    }
}

/// See the module.
pub(super) enum Lookup {
    /// No keys: all rows, which are so many.
    All(u32),
    Numbers {
        values: Vec<i64>,
        chains: Chains,
    },
    Bytes {
        keys: RowKeys,
        chains: Chains,
    },
}

/// Rows with equal hashes.
pub(super) struct Chains {
    /// The first row for each value of the lowest bits of a hash.
    heads: Vec<u32>,
    /// The row after each row.
    next: Vec<u32>,
    count: usize,
    /// Most rows that have one key; no longer counted beyond `PARTNERS_MAX`.
    partners: usize,
}

impl Chains {
    /// Chains for so many rows, of which none is in one yet.
    fn new(rows: usize) -> Chains {
        Chains {
            heads: vec![NONE; (2 * rows).next_power_of_two()],
            next: vec![NONE; rows],
            count: 0,
            partners: 0,
        }
    }

    /// Adds the valid ones of some rows, which come before all that are in chains.
    fn add(
        &mut self,
        rows: Range<usize>,
        valid: &[bool],
        hash: impl Fn(usize) -> u64,
        equal: impl Fn(usize, usize) -> bool,
    ) {
        let mask = self.heads.len() - 1;
        for row in rows.rev().filter(|row| valid[*row]) {
            let head = &mut self.heads[hash(row) as usize & mask];
            if self.partners <= PARTNERS_MAX {
                let mut other = *head;
                let mut partners = 1;
                // Chains are short unless keys are equal.
                for _ in 0..2 * PARTNERS_MAX {
                    if other == NONE {
                        break;
                    }
                    partners += usize::from(equal(row, other as usize));
                    other = self.next[other as usize];
                }
                self.partners = if other == NONE { self.partners.max(partners) } else { PARTNERS_MAX + 1 };
            }
            self.next[row] = std::mem::replace(head, u32::try_from(row).expect("memory ends before rows do"));
            self.count += 1;
        }
    }

    fn head(&self, hash: u64) -> u32 {
        self.heads[hash as usize & (self.heads.len() - 1)]
    }
}

/// A batch of the probe side on its way through the build side.
pub(super) struct Probing {
    keys: ProbeKeys,
    rows: u32,
    /// The first candidate of each row; empty if all rows are candidates.
    heads: Vec<u32>,
    /// The row that looks for partners.
    row: u32,
    /// Its next candidate.
    candidate: u32,
}

enum ProbeKeys {
    All,
    Numbers(Vec<i64>),
    Bytes(RowKeys),
}

/// Keys of a build side that is being collected.
pub(super) struct KeyBuffer {
    types: Vec<PgType>,
    /// Keys in which NULL is equal to NULL.
    null_safe: Vec<bool>,
    keys: BuildKeys,
    /// Whether no key of a row is NULL.
    valid: Vec<bool>,
    /// Once all rows are there: their chains, and how many rows are in none yet.
    chains: Option<(Chains, usize)>,
}

enum BuildKeys {
    All,
    Numbers(Vec<i64>),
    Bytes(RowKeys),
}

impl KeyBuffer {
    /// No rows yet, of keys of these types. In some of them NULL may be equal to NULL.
    pub(super) fn new(types: Vec<PgType>, null_safe: Vec<bool>) -> KeyBuffer {
        let keys = match types.as_slice() {
            [] => BuildKeys::All,
            [one] if is_number(*one) && !null_safe[0] => BuildKeys::Numbers(Vec::new()),
            _ => BuildKeys::Bytes(RowKeys::default()),
        };
        KeyBuffer { types, null_safe, keys, valid: Vec::new(), chains: None }
    }

    /// Whether a key of a row is NULL that is equal to nothing.
    pub(super) fn has_null(&self) -> bool {
        self.valid.contains(&false)
    }

    /// Adds the keys of a batch. Answers how many bytes they take.
    pub(super) fn push(&mut self, keys: &[ArrayRef], rows: usize) -> usize {
        match all_valid(keys, &self.null_safe) {
            None => self.valid.resize(self.valid.len() + rows, true),
            Some(valid) => self.valid.extend(valid.iter()),
        }
        match &mut self.keys {
            BuildKeys::All => 0,
            BuildKeys::Numbers(values) => {
                values.extend(numbers(keys, &self.types).unwrap_or_default());
                8 * rows
            }
            BuildKeys::Bytes(all) => {
                let keys = RowKeys::of(keys, &self.types, rows);
                all.append(&keys);
                keys.size_bytes()
            }
        }
    }

    /// Smallest and largest key, if keys are numbers.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let BuildKeys::Numbers(values) = &self.keys else { return None };
        let valid = values.iter().zip(&self.valid).filter(|(_, valid)| **valid).map(|(value, _)| *value);
        valid.fold(None, |bounds, value| match bounds {
            None => Some((value, value)),
            Some((min, max)) => Some((value.min(min), value.max(max))),
        })
    }

    /// Does a part of what look-ups need, once all rows are there; answers whether that was the last one.
    pub(super) fn index(&mut self) -> bool {
        let KeyBuffer { keys, valid, chains, .. } = self;
        let rows = valid.len();
        let (chains, left) = chains.get_or_insert_with(|| match keys {
            BuildKeys::All => (Chains::new(0), 0),
            _ => (Chains::new(rows), rows),
        });
        let part = left.saturating_sub(INDEX_ROWS)..*left;
        *left = part.start;
        match keys {
            BuildKeys::All => {}
            BuildKeys::Numbers(values) => {
                chains.add(part, valid, |row| hash_number(values[row]), |a, b| values[a] == values[b]);
            }
            BuildKeys::Bytes(keys) => {
                let equal = |a, b| keys.row(a) == keys.row(b);
                chains.add(part, valid, |row| hash_bytes(keys.row(row)), equal);
            }
        }
        *left == 0
    }

    /// Makes them ready for look-ups.
    pub(super) fn finish(mut self) -> Lookup {
        while !self.index() {}
        let KeyBuffer { keys, valid, chains, .. } = self;
        let chains = chains.map_or_else(|| Chains::new(0), |(chains, _)| chains);
        match keys {
            BuildKeys::All => Lookup::All(u32::try_from(valid.len()).expect("memory ends before rows do")),
            BuildKeys::Numbers(values) => Lookup::Numbers { values, chains },
            BuildKeys::Bytes(keys) => Lookup::Bytes { keys, chains },
        }
    }
}

impl Lookup {
    /// Whether no row of the probe side can have a partner.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Lookup::All(rows) => *rows == 0,
            Lookup::Numbers { chains, .. } | Lookup::Bytes { chains, .. } => chains.count == 0,
        }
    }

    /// Most rows that have one key, if they are few.
    pub(super) fn most_partners(&self) -> Option<usize> {
        match self {
            Lookup::All(rows) => Some(*rows as usize).filter(|rows| *rows <= PARTNERS_MAX),
            Lookup::Numbers { chains, .. } | Lookup::Bytes { chains, .. } => {
                Some(chains.partners).filter(|partners| *partners <= PARTNERS_MAX)
            }
        }
    }

    /// Starts a batch of the probe side with these keys, which have the types of the build side's.
    pub(super) fn probe(
        &self,
        keys: &[ArrayRef],
        types: &[PgType],
        null_safe: &[bool],
        rows: usize,
    ) -> Probing {
        let valid = all_valid(keys, null_safe);
        let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let heads_of = |chains: &Chains, hash: &dyn Fn(usize) -> u64| -> Vec<u32> {
            (0..rows).map(|row| if is_valid(row) { chains.head(hash(row)) } else { NONE }).collect()
        };
        let (keys, heads) = match self {
            Lookup::All(_) => (ProbeKeys::All, Vec::new()),
            Lookup::Numbers { chains, .. } => {
                let values = numbers(keys, types).expect("both sides of a key have one type");
                let heads = heads_of(chains, &|row| hash_number(values[row]));
                (ProbeKeys::Numbers(values), heads)
            }
            Lookup::Bytes { chains, .. } => {
                let keys = RowKeys::of(keys, types, rows);
                let heads = heads_of(chains, &|row| hash_bytes(keys.row(row)));
                (ProbeKeys::Bytes(keys), heads)
            }
        };
        let rows = u32::try_from(rows).expect("batches are small");
        let candidate = heads.first().copied().unwrap_or(0);
        Probing { keys, rows, heads, row: 0, candidate }
    }

    /// Adds up to `limit` pairs of equal keys; answers whether those were the last of the batch. `one`: a pair for
    /// each row is enough.
    pub(super) fn pairs(&self, probing: &mut Probing, limit: usize, one: bool, out: &mut Pairs) -> bool {
        let Probing { keys, rows, heads, row, candidate } = probing;
        let mut at = Place { row: *row, candidate: *candidate, one };
        match (self, &*keys) {
            (Lookup::Numbers { values, chains }, ProbeKeys::Numbers(probe)) => {
                at.walk(heads, chains, limit, out, |row, candidate| probe[row] == values[candidate]);
            }
            (Lookup::Bytes { keys, chains }, ProbeKeys::Bytes(probe)) => {
                at.walk(heads, chains, limit, out, |row, candidate| probe.row(row) == keys.row(candidate));
            }
            (Lookup::All(build_rows), _) => at.walk_all(*rows, *build_rows, limit, out),
            _ => at.row = *rows,
        }
        (*row, *candidate) = (at.row, at.candidate);
        at.row >= *rows
    }
}

/// How far a batch has come.
struct Place {
    row: u32,
    candidate: u32,
    /// Goes on with the next row after a pair.
    one: bool,
}

impl Place {
    fn walk(
        &mut self,
        heads: &[u32],
        chains: &Chains,
        limit: usize,
        out: &mut Pairs,
        equal: impl Fn(usize, usize) -> bool,
    ) {
        // A chain may be long without a partner in it: steps are counted, too.
        let mut steps = 4 * limit + heads.len();
        while let Some(head) = heads.get(self.row as usize + 1).copied().or_else(|| self.is_last(heads)) {
            while self.candidate != NONE {
                if steps == 0 || out.probe.len() == limit {
                    return;
                }
                steps -= 1;
                let candidate = self.candidate;
                self.candidate = chains.next[candidate as usize];
                if equal(self.row as usize, candidate as usize) {
                    out.probe.push(self.row);
                    out.build.push(candidate);
                    if self.one {
                        self.candidate = NONE;
                    }
                }
            }
            self.row += 1;
            self.candidate = head;
        }
    }

    /// What follows the last row, if this is it.
    fn is_last(&self, heads: &[u32]) -> Option<u32> {
        ((self.row as usize) < heads.len()).then_some(NONE)
    }

    fn walk_all(&mut self, rows: u32, build_rows: u32, limit: usize, out: &mut Pairs) {
        while self.row < rows {
            let room = u32::try_from(limit - out.probe.len()).expect("a batch of rows");
            if room == 0 {
                return;
            }
            let last = if self.one { build_rows.min(1) } else { build_rows };
            let to = last.min(self.candidate.saturating_add(room));
            out.build.extend(self.candidate..to);
            out.probe.resize(out.build.len(), self.row);
            self.candidate = to;
            if to == last {
                self.row += 1;
                self.candidate = 0;
            }
        }
    }
}

/// Where no key is NULL that is equal to nothing; `None` if that is everywhere.
pub(super) fn all_valid(keys: &[ArrayRef], null_safe: &[bool]) -> Option<NullBuffer> {
    let asked = keys.iter().zip(null_safe).filter(|(_, null_safe)| !**null_safe);
    asked.fold(None, |valid, (key, _)| NullBuffer::union(valid.as_ref(), key.nulls()))
}

/// The values of a single key of whole numbers.
fn numbers(keys: &[ArrayRef], types: &[PgType]) -> Option<Vec<i64>> {
    let ([key], [pg_type]) = (keys, types) else { return None };
    is_number(*pg_type).then(|| match pg_type {
        PgType::Int2 => widened::<Int16Type>(key),
        PgType::Int4 => widened::<Int32Type>(key),
        PgType::Date => widened::<Date32Type>(key),
        PgType::Time => widened::<Time64MicrosecondType>(key),
        PgType::Timestamp | PgType::Timestamptz => widened::<TimestampMicrosecondType>(key),
        _ => widened::<Int64Type>(key),
    })
}

/// Adds the values that are not NULL to a set.
pub(super) fn add_numbers(values: &ArrayRef, pg_type: PgType, set: &mut NumberSetBuilder) {
    let Some(numbers) = numbers(std::slice::from_ref(values), &[pg_type]) else { return };
    match values.nulls() {
        None => set.extend(numbers.into_iter()),
        Some(nulls) => {
            set.extend(numbers.into_iter().zip(nulls).filter(|(_, valid)| *valid).map(|(number, _)| number));
        }
    }
}

/// Whether values of this type are compared as numbers of 64 bits.
pub(super) fn is_number(pg_type: PgType) -> bool {
    use PgType::{Date, Int2, Int4, Int8, Time, Timestamp, Timestamptz};
    matches!(pg_type, Int2 | Int4 | Int8 | Date | Time | Timestamp | Timestamptz)
}

fn widened<T: ArrowPrimitiveType>(key: &ArrayRef) -> Vec<i64>
where
    T::Native: Into<i64>,
{
    key.as_primitive::<T>().values().iter().map(|value| (*value).into()).collect()
}
