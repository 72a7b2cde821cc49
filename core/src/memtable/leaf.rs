//! Leaves of the index: entries of keys that follow each other.
//!
//! A leaf either lists its entries, in two arrays: 8 bytes of each key as a big-endian number, and the row. The bytes
//! that all keys of the leaf have in common stand in it once; the 8 bytes are those that follow. Only where these tie
//! are whole keys compared, which lie with the rows. Or it is a run: rows of consecutive ids whose keys rise, as a
//! sorted batch leaves them. A run has no arrays: a straight line through its first and last key says where in it a key
//! is about, and the keys themselves exactly where.

use std::cmp::Ordering;
use std::ops::Range;

use super::RowId;
use crate::key::prefix64;

/// Most entries of a leaf that lists them. Of 128 to 2,048, 512 was fastest for insertion at random places without
/// slowing scans.
pub(super) const LEAF_KEYS: usize = 512;
/// Least rows of a run when it is made: few enough that batches of a thousand rows make runs, and enough that runs
/// between lists do not make leaves small.
pub(super) const RUN_ROWS_MIN: usize = 256;
/// Rows on each side of an insertion into a run that become a list, so that the next ones find one there.
const COLLAR_ROWS: usize = LEAF_KEYS / 4;

/// Where the keys of rows are.
pub(super) trait KeySource {
    /// The key of a row.
    fn key(&self, row: RowId) -> &[u8];
}

#[derive(Debug)]
enum Entries {
    /// Prefixes and rows.
    List(Vec<u64>, Vec<RowId>),
    /// The first row, and how many follow each other.
    Run(RowId, usize),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Leaf {
    entries: Entries,
    /// The first and last of the prefixes; of a run, of its keys.
    ends: (u64, u64),
    common: Box<[u8]>,
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The number of leading elements below `value`. Without branches that depend on the data.
pub(super) fn count_below(sorted: &[u64], value: u64) -> usize {
    let mut base = 0;
    let mut size = sorted.len();
    while size > 1 {
        let half = size / 2;
        base += if sorted[base + half - 1] < value { half } else { 0 };
        size -= half;
    }
    base + usize::from(size == 1 && sorted[base] < value)
}

/// The part of `0..len` in which the first place that is not below the wanted one is, or is at its end; `guess` is
/// where to begin. The last place is not below.
fn widen(len: usize, guess: usize, below: impl Fn(usize) -> bool) -> Range<usize> {
    const STEP: usize = 4;
    let mut step = STEP;
    let mut start = guess;
    if below(guess) {
        loop {
            let end = (start + step).min(len);
            if end == len || !below(end - 1) {
                return start..end;
            }
            (start, step) = (end, step * 2);
        }
    }
    let mut end = guess + 1;
    loop {
        start = end.saturating_sub(step);
        if start == 0 || below(start) {
            return start..end;
        }
        (end, step) = (start, step * 2);
    }
}

/// Where on the line through the first and last of `len` numbers this one lies, which is between them.
fn interpolate(ends: (u64, u64), wanted: u64, len: usize) -> usize {
    let share = (wanted - ends.0) as f64 / (ends.1 - ends.0) as f64;
    ((share * (len - 1) as f64) as usize).min(len - 1)
}

impl Leaf {
    /// A leaf that lists one entry, with room for `room`.
    pub(super) fn of_one(key: &[u8], row: RowId, room: usize, share: bool) -> Leaf {
        let common: Box<[u8]> = if share { key.into() } else { Box::default() };
        let (mut prefixes, mut rows) = (Vec::with_capacity(room), Vec::with_capacity(room));
        prefixes.push(prefix64(&key[common.len()..]));
        rows.push(row);
        let ends = (prefixes[0], prefixes[0]);
        Leaf { entries: Entries::List(prefixes, rows), ends, common }
    }

    /// A leaf that lists these rows, which are in order; `prefixes` are those of their keys unless the leaf shall keep
    /// common bytes apart.
    fn of_list(rows: &[RowId], prefixes: &[u64], share: bool, keys: &impl KeySource) -> Leaf {
        let mut kept = Vec::with_capacity(LEAF_KEYS);
        kept.extend_from_slice(rows);
        let mut leaf = Leaf {
            entries: Entries::List(Vec::with_capacity(LEAF_KEYS), kept),
            ends: (0, 0),
            common: Box::default(),
        };
        if !share {
            if let Entries::List(kept, _) = &mut leaf.entries {
                kept.extend_from_slice(prefixes);
            }
            leaf.set_ends();
            return leaf;
        }
        if let [first, .., last] = rows {
            let (first, last) = (keys.key(*first), keys.key(*last));
            leaf.common = first[..common_len(first, last)].into();
        }
        leaf.set_prefixes(keys);
        leaf
    }

    fn of_run(first: RowId, count: usize, keys: &impl KeySource) -> Leaf {
        let end = |slot| prefix64(keys.key(nth(first, slot)));
        Leaf { entries: Entries::Run(first, count), ends: (end(0), end(count - 1)), common: Box::default() }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        match &self.entries {
            Entries::List(_, rows) => rows.len(),
            Entries::Run(_, count) => *count,
        }
    }

    /// The row of an entry.
    pub(super) fn row(&self, slot: usize) -> RowId {
        match &self.entries {
            Entries::List(_, rows) => rows[slot],
            Entries::Run(first, _) => nth(*first, slot),
        }
    }

    /// Whether it lists its entries.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.entries, Entries::List(..))
    }

    /// Whether `more` entries can be put into it one by one.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.is_list() && self.len() + more <= LEAF_KEYS
    }

    /// Bytes that its keys have in common and that it keeps apart.
    pub(super) fn common_len(&self) -> usize {
        self.common.len()
    }

    /// Entries that its arrays have room for.
    pub(super) fn capacity(&self) -> usize {
        match &self.entries {
            Entries::List(_, rows) => rows.capacity(),
            Entries::Run(..) => 0,
        }
    }

    /// The largest prefix, if prefixes are those of whole keys.
    pub(super) fn last_prefix(&self) -> u64 {
        self.ends.1
    }

    fn set_prefixes(&mut self, keys: &impl KeySource) {
        let skip = self.common.len();
        if let Entries::List(prefixes, rows) = &mut self.entries {
            prefixes.clear();
            prefixes.extend(rows.iter().map(|row| prefix64(&keys.key(*row)[skip..])));
        }
        self.set_ends();
    }

    fn set_ends(&mut self) {
        if let Entries::List(prefixes, _) = &self.entries
            && let (Some(first), Some(last)) = (prefixes.first(), prefixes.last())
        {
            self.ends = (*first, *last);
        }
    }

    /// Makes the common bytes a prefix of `key` too.
    fn admit(&mut self, key: &[u8], keys: &impl KeySource) {
        let shared = common_len(&self.common, key);
        if shared < self.common.len() {
            self.common = self.common[..shared].into();
            self.set_prefixes(keys);
        }
    }

    /// Where the key is, or where it would be inserted. `exact`: equal prefixes mean equal keys.
    pub(super) fn search(&self, key: &[u8], exact: bool, keys: &impl KeySource) -> Result<usize, usize> {
        match &self.entries {
            Entries::List(prefixes, rows) => self.search_list(prefixes, rows, key, exact, keys),
            Entries::Run(first, count) => search_run(*first, *count, self.ends, key, exact, keys),
        }
    }

    /// Reads where a search for a key with this prefix begins, if the leaf keeps no common bytes.
    pub(super) fn touch(&self, prefix: u64) -> u64 {
        match &self.entries {
            Entries::List(prefixes, _) if self.ends.0 < prefix && prefix < self.ends.1 => {
                prefixes[interpolate(self.ends, prefix, prefixes.len())]
            }
            _ => 0,
        }
    }

    fn search_list(
        &self,
        prefixes: &[u64],
        rows: &[RowId],
        key: &[u8],
        exact: bool,
        keys: &impl KeySource,
    ) -> Result<usize, usize> {
        let skip = self.common.len();
        if skip > 0 {
            match key[..skip.min(key.len())].cmp(&self.common) {
                Ordering::Less => return Err(0),
                Ordering::Greater => return Err(rows.len()),
                Ordering::Equal => {}
            }
        }
        let rest = &key[skip..];
        let wanted = prefix64(rest);
        let start = match wanted {
            _ if wanted <= self.ends.0 => 0,
            _ if wanted > self.ends.1 => prefixes.len(),
            _ => {
                let guess = interpolate(self.ends, wanted, prefixes.len());
                let near = widen(prefixes.len(), guess, |slot| prefixes[slot] < wanted);
                near.start + count_below(&prefixes[near], wanted)
            }
        };
        if exact {
            return if prefixes.get(start) == Some(&wanted) { Ok(start) } else { Err(start) };
        }
        let ties = prefixes[start..].partition_point(|prefix| *prefix == wanted);
        let found = rows[start..start + ties].binary_search_by(|row| keys.key(*row)[skip..].cmp(rest));
        found.map(|at| start + at).map_err(|at| start + at)
    }

    /// Puts an entry where `search` said, into a list that has room.
    pub(super) fn put(&mut self, slot: usize, key: &[u8], row: RowId, keys: &impl KeySource) {
        self.admit(key, keys);
        let prefix = prefix64(&key[self.common.len()..]);
        let Entries::List(prefixes, rows) = &mut self.entries else {
            panic!("a run takes no single entries")
        };
        prefixes.insert(slot, prefix);
        rows.insert(slot, row);
        self.set_ends();
    }

    /// Puts entries of rising keys where `search` said, into a list that has room for all.
    pub(super) fn put_many(&mut self, new: &[(usize, &[u8], RowId)], keys: &impl KeySource) {
        for (_, key, _) in new.first().into_iter().chain(new.last()) {
            self.admit(key, keys);
        }
        let skip = self.common.len();
        let Entries::List(prefixes, rows) = &mut self.entries else {
            panic!("a run takes no single entries")
        };
        let mut end = rows.len();
        prefixes.resize(end + new.len(), 0);
        rows.resize(end + new.len(), RowId(0));
        for (before, (slot, key, row)) in new.iter().enumerate().rev() {
            prefixes.copy_within(*slot..end, slot + before + 1);
            rows.copy_within(*slot..end, slot + before + 1);
            prefixes[slot + before] = prefix64(&key[skip..]);
            rows[slot + before] = *row;
            end = *slot;
        }
        self.set_ends();
    }

    /// Changes the row of an entry of a list; answers the one that was there.
    pub(super) fn replace(&mut self, slot: usize, row: RowId) -> RowId {
        let Entries::List(_, rows) = &mut self.entries else { panic!("rows of a run follow each other") };
        std::mem::replace(&mut rows[slot], row)
    }
}

fn nth(first: RowId, slot: usize) -> RowId {
    RowId(first.0 + u32::try_from(slot).expect("a run of rows has ids"))
}

fn search_run(
    first: RowId,
    count: usize,
    ends: (u64, u64),
    key: &[u8],
    exact: bool,
    keys: &impl KeySource,
) -> Result<usize, usize> {
    let wanted = prefix64(key);
    if wanted < ends.0 {
        return Err(0);
    }
    if wanted > ends.1 {
        return Err(count);
    }
    let key_of = |slot| keys.key(nth(first, slot));
    let guess = if ends.0 < ends.1 { interpolate(ends, wanted, count) } else { 0 };
    let below = |slot: usize| if exact { prefix64(key_of(slot)) < wanted } else { key_of(slot) < key };
    if below(count - 1) {
        return Err(count);
    }
    let near = widen(count, guess, below);
    let (mut low, mut high) = (near.start, near.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if key_of(low) == key { Ok(low) } else { Err(low) }
}

/// Leaves in order.
pub(super) type Leaves = Vec<Box<Leaf>>;

/// Makes leaves of entries that come in order.
pub(super) struct LeafBuilder<'a, K> {
    keys: &'a K,
    /// Whether leaves keep common bytes apart.
    share: bool,
    /// Whether the leaves are the index's last: keys that come almost in order leave those for good soon, so they are
    /// filled well.
    at_end: bool,
    rows: Vec<RowId>,
    /// Of the rows' keys, unless bytes are kept apart.
    prefixes: Vec<u64>,
    leaves: Leaves,
}

impl<'a, K: KeySource> LeafBuilder<'a, K> {
    pub(super) fn new(keys: &'a K, share: bool, at_end: bool) -> LeafBuilder<'a, K> {
        LeafBuilder { keys, share, at_end, rows: Vec::new(), prefixes: Vec::new(), leaves: Vec::new() }
    }

    /// The next entry.
    pub(super) fn entry(&mut self, key: &[u8], row: RowId) {
        self.rows.push(row);
        if !self.share {
            self.prefixes.push(prefix64(key));
        }
    }

    /// The next entries: rows whose keys rise.
    pub(super) fn rows(&mut self, rows: &[RowId]) {
        for run in rows.chunk_by(|a, b| a.0 + 1 == b.0) {
            match run.len() >= RUN_ROWS_MIN || self.extends_run(run[0]) {
                true => self.run(run[0], run.len()),
                false => run.iter().for_each(|row| self.entry(self.keys.key(*row), *row)),
            }
        }
    }

    /// Whether the last thing that came is a run that ends just before this row.
    fn extends_run(&self, row: RowId) -> bool {
        let last = self.leaves.last().filter(|_| self.rows.is_empty());
        last.is_some_and(|last| !last.is_list() && nth(last.row(0), last.len()) == row)
    }

    fn run(&mut self, first: RowId, count: usize) {
        if self.extends_run(first)
            && let Some(last) = self.leaves.last_mut()
        {
            **last = Leaf::of_run(last.row(0), last.len() + count, self.keys);
            return;
        }
        self.cut();
        self.leaves.push(Box::new(Leaf::of_run(first, count, self.keys)));
    }

    /// Some entries of a leaf. A part of a run stays one if it is long, but for what is near something that came
    /// between.
    pub(super) fn part(&mut self, leaf: &Leaf, slots: Range<usize>) {
        match &leaf.entries {
            Entries::List(prefixes, rows) => {
                self.rows.extend_from_slice(&rows[slots.clone()]);
                if !self.share {
                    self.prefixes.extend_from_slice(&prefixes[slots]);
                }
            }
            Entries::Run(first, count) => {
                let start = slots.start + if slots.start > 0 { COLLAR_ROWS } else { 0 };
                let end = slots.end.saturating_sub(if slots.end < *count { COLLAR_ROWS } else { 0 });
                if start + RUN_ROWS_MIN > end {
                    return self.list_run(*first, slots);
                }
                self.list_run(*first, slots.start..start);
                self.run(nth(*first, start), end - start);
                self.list_run(*first, end..slots.end);
            }
        }
    }

    fn list_run(&mut self, first: RowId, slots: Range<usize>) {
        for slot in slots {
            let row = nth(first, slot);
            self.entry(self.keys.key(row), row);
        }
    }

    /// Ends the leaves that list what came.
    fn cut(&mut self) {
        let count = self.rows.len();
        if count == 0 {
            return;
        }
        let size = match count {
            ..=LEAF_KEYS => count,
            _ if self.at_end => LEAF_KEYS - LEAF_KEYS / 8,
            _ => count.div_ceil(count.div_ceil(LEAF_KEYS - LEAF_KEYS / 4)),
        };
        for start in (0..count).step_by(size) {
            let part = start..(start + size).min(count);
            let prefixes = if self.share { &[] } else { &self.prefixes[part.clone()] };
            let leaf = Leaf::of_list(&self.rows[part], prefixes, self.share, self.keys);
            self.leaves.push(Box::new(leaf));
        }
        self.rows.clear();
        self.prefixes.clear();
    }

    /// The leaves.
    pub(super) fn finish(mut self) -> Leaves {
        self.cut();
        self.leaves
    }
}
