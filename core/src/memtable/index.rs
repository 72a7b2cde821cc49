//! The ordered index of a memtable: key -> newest version, as sorted leaves below one sorted array of their first keys.
//!
//! Measured against B-tree, ART and skip list on 1M entries: insertion in order 12 ns (B-tree 58), lookup 146 ns (297),
//! scan of 100 keys 166 ns (1,214). A sorted batch is located and inserted leaf by leaf; where nothing lies between its
//! keys it stays whole, as a run (`leaf`).
//!
//! Invariants: leaves are not empty; keys rise strictly within and across leaves; `firsts[i]` and `seconds[i]` are made
//! of the first key of `leaves[i]`; all keys of a leaf begin with its common bytes; if `lengths` is uniform, every key
//! has that length, and if it is at most 8, no leaf keeps common bytes apart and equal prefixes are equal keys.

use super::RowId;
use super::leaf::{KeySource, LEAF_KEYS, Leaf, LeafBuilder, Leaves, RUN_ROWS_MIN, count_below};
use crate::key::prefix64;
use crate::write_batch::SortedBatch;

/// Keys of a batch whose leaves are touched before the first of them is searched: what they hold comes from memory side
/// by side, not one after another.
const TOGETHER: usize = 16;

/// A place in the index: leaf and entry in it. The place after the last entry is `(leaves, 0)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Place {
    leaf: usize,
    slot: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lengths {
    None,
    Uniform(usize),
    Mixed,
}

/// Where the keys of a sorted batch are in an index, or belong.
#[derive(Debug)]
pub(super) struct Located {
    /// For each key; empty if the index is.
    places: Vec<Place>,
    /// Keys that are there, by their position in the batch, rising, and their rows.
    pub found: Vec<(usize, RowId)>,
    /// `Index::changes` when they were looked up.
    changes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    /// The first 8 bytes of the first key of each leaf, as a big-endian number.
    firsts: Vec<u64>,
    /// The 8 bytes after those: they decide between leaves whose `firsts` tie.
    seconds: Vec<u64>,
    leaves: Leaves,
    len: usize,
    lengths: Lengths,
    common_bytes: usize,
    /// Leaves that are lists.
    lists: usize,
    /// Rises when a place can have changed.
    changes: u64,
}

/// The second 8 bytes as a number, likewise.
fn second64(key: &[u8]) -> u64 {
    prefix64(key.get(8..).unwrap_or_default())
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            firsts: Vec::new(),
            seconds: Vec::new(),
            leaves: Vec::new(),
            len: 0,
            lengths: Lengths::None,
            common_bytes: 0,
            lists: 0,
            changes: 0,
        }
    }

    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        let entry = size_of::<u64>() + size_of::<RowId>();
        let entries = match self.leaves.as_slice() {
            [only] => only.capacity(),
            _ => self.lists * LEAF_KEYS,
        };
        (self.firsts.capacity() + self.seconds.capacity()) * size_of::<u64>()
            + self.leaves.capacity() * size_of::<usize>()
            + self.leaves.len() * size_of::<Leaf>()
            + entries * entry
            + self.common_bytes
    }

    /// Whether equal prefixes mean equal keys, when this key is compared.
    fn is_exact(&self, key: &[u8]) -> bool {
        matches!(self.lengths, Lengths::Uniform(length) if length == key.len() && length <= 8)
    }

    /// Whether leaves may keep common bytes apart: not where prefixes hold whole keys.
    fn shares(&self) -> bool {
        !matches!(self.lengths, Lengths::Uniform(length) if length <= 8)
    }

    fn note_length(&mut self, length: Option<usize>) {
        self.lengths = match (self.lengths, length) {
            (Lengths::None, Some(length)) => Lengths::Uniform(length),
            (Lengths::Uniform(uniform), Some(length)) if uniform == length => return,
            _ => Lengths::Mixed,
        };
    }

    /// Makes `row` the entry of its key; answers the row that was there.
    pub(super) fn upsert(&mut self, key: &[u8], row: RowId, keys: &impl KeySource) -> Option<RowId> {
        self.note_length(Some(key.len()));
        self.changes += 1;
        let Some(last) = self.leaves.last() else {
            self.push_leaf(key, row);
            return None;
        };
        let exact = self.is_exact(key);
        let appends = match exact {
            true => last.last_prefix() < prefix64(key),
            false => keys.key(last.row(last.len() - 1)) < key,
        };
        if appends {
            self.append(key, row, keys);
            return None;
        }
        let at = self.leaf_of(key, keys);
        let found = self.leaves[at].search(key, exact, keys);
        match found {
            Ok(slot) if self.leaves[at].is_list() => Some(self.leaves[at].replace(slot, row)),
            Err(slot) if self.leaves[at].has_room(1) => {
                self.put(at, slot, key, row, keys);
                None
            }
            Ok(slot) | Err(slot) => {
                let old = found.ok().map(|slot| self.leaves[at].row(slot));
                let mut builder = LeafBuilder::new(keys, self.shares(), at + 1 == self.leaves.len());
                let leaf = &self.leaves[at];
                builder.part(leaf, 0..slot);
                builder.entry(key, row);
                builder.part(leaf, slot + usize::from(old.is_some())..leaf.len());
                let leaves = builder.finish();
                self.replace_leaves(vec![(at, leaves)], keys);
                self.len += usize::from(old.is_none());
                old
            }
        }
    }

    /// Adds the largest key.
    fn append(&mut self, key: &[u8], row: RowId, keys: &impl KeySource) {
        let last = self.leaves.len() - 1;
        if !self.leaves[last].has_room(1) {
            return self.push_leaf(key, row);
        }
        let slot = self.leaves[last].len();
        self.put(last, slot, key, row, keys);
    }

    /// Adds a leaf with this one key, the largest.
    fn push_leaf(&mut self, key: &[u8], row: RowId) {
        let room = if self.leaves.is_empty() { 4 } else { LEAF_KEYS };
        let leaf = Leaf::of_one(key, row, room, self.shares());
        self.count(&leaf);
        self.firsts.push(prefix64(key));
        self.seconds.push(second64(key));
        self.leaves.push(Box::new(leaf));
        self.len += 1;
    }

    /// Inserts into a leaf that has room.
    fn put(&mut self, at: usize, slot: usize, key: &[u8], row: RowId, keys: &impl KeySource) {
        let leaf = &mut self.leaves[at];
        let before = leaf.common_len();
        leaf.put(slot, key, row, keys);
        self.common_bytes -= before - leaf.common_len();
        if slot == 0 {
            self.firsts[at] = prefix64(key);
            self.seconds[at] = second64(key);
        }
        self.len += 1;
    }

    /// Puts leaves in the places of others, whose numbers rise.
    fn replace_leaves(&mut self, replaced: Vec<(usize, Leaves)>, keys: &impl KeySource) {
        const SPLICES_MAX: usize = 4;
        if replaced.len() <= SPLICES_MAX {
            return replaced.into_iter().rev().for_each(|(at, leaves)| self.splice(at, leaves, keys));
        }
        let added: usize = replaced.iter().map(|(_, leaves)| leaves.len()).sum();
        let room = self.leaves.len() + added;
        let former = std::mem::replace(&mut self.leaves, Vec::with_capacity(room));
        let mut replaced = replaced.into_iter().peekable();
        let (mut firsts, mut seconds) = (Vec::with_capacity(room), Vec::with_capacity(room));
        for (at, leaf) in former.into_iter().enumerate() {
            if replaced.peek().is_none_or(|(next, _)| *next != at) {
                self.leaves.push(leaf);
                firsts.push(self.firsts[at]);
                seconds.push(self.seconds[at]);
                continue;
            }
            self.uncount(&leaf);
            for leaf in replaced.next().into_iter().flat_map(|(_, leaves)| leaves) {
                let key = keys.key(leaf.row(0));
                firsts.push(prefix64(key));
                seconds.push(second64(key));
                self.count(&leaf);
                self.leaves.push(leaf);
            }
        }
        (self.firsts, self.seconds) = (firsts, seconds);
    }

    /// Puts leaves in the place of one.
    fn splice(&mut self, at: usize, leaves: Leaves, keys: &impl KeySource) {
        leaves.iter().for_each(|leaf| self.count(leaf));
        self.firsts.splice(at..=at, leaves.iter().map(|leaf| prefix64(keys.key(leaf.row(0)))));
        self.seconds.splice(at..=at, leaves.iter().map(|leaf| second64(keys.key(leaf.row(0)))));
        let former: Vec<_> = self.leaves.splice(at..=at, leaves).collect();
        former.iter().for_each(|leaf| self.uncount(leaf));
    }

    fn count(&mut self, leaf: &Leaf) {
        self.common_bytes += leaf.common_len();
        self.lists += usize::from(leaf.is_list());
    }

    fn uncount(&mut self, leaf: &Leaf) {
        self.common_bytes -= leaf.common_len();
        self.lists -= usize::from(leaf.is_list());
    }

    /// The last leaf whose first key is at or before the key, or the first leaf.
    fn leaf_of(&self, key: &[u8], keys: &impl KeySource) -> usize {
        self.leaf_from(0, key, keys)
    }

    /// As `leaf_of`, for a key that is not before leaf `from`.
    fn leaf_from(&self, from: usize, key: &[u8], keys: &impl KeySource) -> usize {
        let wanted = prefix64(key);
        if self.firsts.last().is_some_and(|last| *last < wanted) {
            return self.leaves.len() - 1;
        }
        // Sorted keys go from leaf to leaf in small steps.
        let (mut low, mut high) = (from, self.firsts.len());
        let mut step = 1;
        while from > 0 && low + step < high {
            match self.firsts[low + step] < wanted {
                true => (low, step) = (low + step, step * 2),
                false => high = low + step,
            }
        }
        let mut start = low + count_below(&self.firsts[low..high], wanted);
        let tied = |first: &u64| *first == wanted;
        let mut ties = match self.firsts.get(start).is_some_and(tied) {
            true => self.firsts[start..].partition_point(tied),
            false => 0,
        };
        if ties > 1 {
            let second = second64(key);
            let tied = &self.seconds[start..start + ties];
            let below = count_below(tied, second);
            start += below;
            ties = tied[below..].partition_point(|other| *other == second);
        }
        start += self.leaves[start..start + ties].partition_point(|leaf| keys.key(leaf.row(0)) <= key);
        start.saturating_sub(1)
    }

    /// The row of a key.
    pub(super) fn get(&self, key: &[u8], keys: &impl KeySource) -> Option<RowId> {
        if self.leaves.is_empty() {
            return None;
        }
        let leaf = &self.leaves[self.leaf_of(key, keys)];
        let slot = leaf.search(key, self.is_exact(key), keys).ok()?;
        Some(leaf.row(slot))
    }

    /// The place of the first key at or after this one.
    pub(super) fn lower_bound(&self, key: &[u8], keys: &impl KeySource) -> Place {
        if self.leaves.is_empty() {
            return Place::default();
        }
        let leaf = self.leaf_of(key, keys);
        let (Ok(slot) | Err(slot)) = self.leaves[leaf].search(key, self.is_exact(key), keys);
        self.place(leaf, slot)
    }

    /// The place after the last key.
    pub(super) fn end(&self) -> Place {
        Place { leaf: self.leaves.len(), slot: 0 }
    }

    fn place(&self, leaf: usize, slot: usize) -> Place {
        if slot < self.leaves[leaf].len() { Place { leaf, slot } } else { Place { leaf: leaf + 1, slot: 0 } }
    }

    /// The row at a place, and the place after it.
    pub(super) fn step(&self, place: Place) -> Option<(RowId, Place)> {
        let leaf = self.leaves.get(place.leaf)?;
        Some((leaf.row(place.slot), self.place(place.leaf, place.slot + 1)))
    }

    /// The place `count` keys after another; the end if there are fewer.
    pub(super) fn after(&self, place: Place, count: usize) -> Place {
        let mut slot = place.slot + count;
        for leaf in place.leaf..self.leaves.len() {
            if slot < self.leaves[leaf].len() {
                return Place { leaf, slot };
            }
            slot -= self.leaves[leaf].len();
        }
        self.end()
    }

    /// The place `count` keys before another; `None` if there are fewer.
    pub(super) fn before(&self, place: Place, count: usize) -> Option<Place> {
        let mut back = count;
        if back <= place.slot {
            return Some(Place { slot: place.slot - back, ..place });
        }
        back -= place.slot;
        for leaf in (0..place.leaf).rev() {
            let length = self.leaves[leaf].len();
            if back <= length {
                return Some(Place { leaf, slot: length - back });
            }
            back -= length;
        }
        None
    }

    /// About how many keys lie between two places; exact if they are near each other.
    pub(super) fn count_between(&self, start: Place, end: Place) -> usize {
        const LEAVES_EXACT: usize = 256;
        if start >= end {
            return 0;
        }
        let leaves = end.leaf - start.leaf;
        let whole = if leaves <= LEAVES_EXACT {
            self.leaves[start.leaf..end.leaf].iter().map(|leaf| leaf.len()).sum::<usize>()
        } else {
            self.len * leaves / self.leaves.len()
        };
        (whole + end.slot).saturating_sub(start.slot)
    }

    /// Every `stride`-th row in order of keys.
    pub(super) fn every(&self, stride: usize) -> impl Iterator<Item = RowId> + '_ {
        let mut skip = 0;
        self.leaves.iter().flat_map(move |leaf| {
            let start = skip;
            let taken = leaf.len().saturating_sub(start).div_ceil(stride);
            skip = start + taken * stride - leaf.len();
            (start..leaf.len()).step_by(stride).map(|slot| leaf.row(slot))
        })
    }

    /// Where the keys of a batch are, or belong.
    pub(super) fn locate(&self, batch: &SortedBatch<'_>, keys: &impl KeySource) -> Located {
        let mut located = Located { places: Vec::new(), found: Vec::new(), changes: self.changes };
        let Some(last) = self.leaves.last() else { return located };
        located.places.reserve(batch.len());
        let exact = matches!(batch.key_length(), Some(length) if length <= 8)
            && batch.key_length().map(Lengths::Uniform) == Some(self.lengths);
        let eight = batch.key_length() == Some(8);
        let after = keys.key(last.row(last.len() - 1));
        if batch.key(0) > after {
            let place = Place { leaf: self.leaves.len() - 1, slot: last.len() };
            located.places.resize(batch.len(), place);
            return located;
        }
        let mut leaf = 0;
        for start in (0..batch.len()).step_by(TOGETHER) {
            let positions = start..batch.len().min(start + TOGETHER);
            let mut touched = 0;
            for position in positions.clone() {
                let eight_bytes = batch.prefix(position).to_be_bytes();
                let key = if eight { &eight_bytes } else { batch.key(position) };
                leaf = self.leaf_from(leaf, key, keys);
                located.places.push(Place { leaf, slot: 0 });
                touched |= self.leaves[leaf].touch(batch.prefix(position));
            }
            std::hint::black_box(touched);
            for position in positions {
                let eight_bytes = batch.prefix(position).to_be_bytes();
                let key = if eight { &eight_bytes } else { batch.key(position) };
                let place = &mut located.places[position];
                let found = self.leaves[place.leaf].search(key, exact, keys);
                let (Ok(slot) | Err(slot)) = found;
                place.slot = slot;
                if found.is_ok() {
                    located.found.push((position, self.leaves[place.leaf].row(slot)));
                }
            }
        }
        located
    }

    /// Whether every place is still where it was.
    pub(super) fn is_current(&self, located: &Located) -> bool {
        located.changes == self.changes
    }

    /// Makes `rows` the entries of the keys of a batch, which was located since the last change.
    pub(super) fn insert_sorted(
        &mut self,
        batch: &SortedBatch<'_>,
        located: &Located,
        rows: &[RowId],
        keys: &impl KeySource,
    ) {
        assert!(
            located.changes == self.changes && rows.len() == batch.len(),
            "located since the last change"
        );
        self.changes += 1;
        self.note_length(batch.key_length());
        self.len += rows.len() - located.found.len();
        if self.leaves.is_empty() {
            let mut builder = LeafBuilder::new(keys, self.shares(), true);
            builder.rows(rows);
            return self.push_leaves(builder.finish(), keys);
        }
        let mut found = located.found.iter().map(|(position, _)| *position).peekable();
        let mut is_new = |position: usize| found.next_if_eq(&position).is_none();
        let mut replaced = Vec::new();
        let (mut new, mut entries) = (Vec::new(), Vec::new());
        let mut start = 0;
        for group in located.places.chunk_by(|a, b| a.leaf == b.leaf) {
            let at = group[0].leaf;
            let positions = start..start + group.len();
            start = positions.end;
            let places = group.iter().zip(positions);
            let entry = |(place, position): (&Place, usize)| (place.slot, position, is_new(position));
            entries.clear();
            entries.extend(places.map(entry));
            let more = entries.iter().filter(|(_, _, is_new)| *is_new).count();
            if more >= RUN_ROWS_MIN || !self.leaves[at].has_room(more) {
                let builder = LeafBuilder::new(keys, self.shares(), at + 1 == self.leaves.len());
                replaced.push((at, rebuild(builder, &self.leaves[at], &entries, rows)));
                continue;
            }
            new.clear();
            let leaf = &mut self.leaves[at];
            for (slot, position, is_new) in &entries {
                match is_new {
                    true => new.push((*slot, batch.key(*position), rows[*position])),
                    false => drop(leaf.replace(*slot, rows[*position])),
                }
            }
            let before = leaf.common_len();
            leaf.put_many(&new, keys);
            self.common_bytes -= before - leaf.common_len();
            if let Some((0, key, _)) = new.first() {
                self.firsts[at] = prefix64(key);
                self.seconds[at] = second64(key);
            }
        }
        if !replaced.is_empty() {
            self.replace_leaves(replaced, keys);
        }
    }

    fn push_leaves(&mut self, leaves: Leaves, keys: &impl KeySource) {
        for leaf in leaves {
            let key = keys.key(leaf.row(0));
            self.firsts.push(prefix64(key));
            self.seconds.push(second64(key));
            self.count(&leaf);
            self.leaves.push(leaf);
        }
    }
}

/// The leaves of a leaf and of entries that belong into it: slot, position in the batch, and whether the key is new.
fn rebuild<K: KeySource>(
    mut builder: LeafBuilder<'_, K>,
    leaf: &Leaf,
    entries: &[(usize, usize, bool)],
    rows: &[RowId],
) -> Leaves {
    let mut done = 0;
    for group in entries.chunk_by(|a, b| a.0 == b.0 && a.2 && b.2) {
        let (slot, first, is_new) = group[0];
        builder.part(leaf, done..slot);
        builder.rows(&rows[first..first + group.len()]);
        done = slot + usize::from(!is_new);
    }
    builder.part(leaf, done..leaf.len());
    builder.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Keys(Vec<Vec<u8>>);

    impl KeySource for Keys {
        fn key(&self, row: RowId) -> &[u8] {
            &self.0[row.0 as usize]
        }
    }

    /// xorshift64*
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }
    }

    fn check(keys: &Keys, probes: &[Vec<u8>]) {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        for (row, key) in keys.0.iter().enumerate() {
            let row = RowId(u32::try_from(row).expect("few"));
            assert_eq!(index.upsert(key, row, keys), model.insert(key.clone(), row));
        }
        assert_eq!(index.len(), model.len());
        let mut place = index.lower_bound(&[], keys);
        for (key, row) in &model {
            assert_eq!(index.get(key, keys), Some(*row), "{key:x?}");
            let (found, next) = index.step(place).expect("as many as the model");
            assert_eq!(found, *row);
            place = next;
        }
        assert_eq!(place, index.end());
        for probe in probes {
            assert_eq!(index.get(probe, keys), model.get(probe).copied());
            let found = index.step(index.lower_bound(probe, keys)).map(|(row, _)| row);
            assert_eq!(found, model.range(probe.clone()..).next().map(|(_, row)| *row), "{probe:x?}");
        }
        let common: usize = index.leaves.iter().map(|leaf| leaf.common_len()).sum();
        assert_eq!(index.common_bytes, common);
        for stride in [1, 3, 700] {
            let expected: Vec<_> = model.values().copied().step_by(stride).collect();
            assert_eq!(index.every(stride).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn behaves_like_a_map_for_all_kinds_of_keys() {
        let mut random = Random(42);
        let count = 5_000u64;
        type MakeKey = Box<dyn Fn(u64, u64) -> Vec<u8>>;
        let kinds: Vec<MakeKey> = vec![
            Box::new(|i, _| i.to_be_bytes().to_vec()),
            Box::new(move |i, _| (count - i).to_be_bytes().to_vec()),
            Box::new(|i, r| (i * 8 + r % 64).to_be_bytes().to_vec()),
            Box::new(|_, r| (r % 3_000).to_be_bytes().to_vec()),
            Box::new(|_, r| (r as u32).to_be_bytes().to_vec()),
            Box::new(|_, r| {
                [b"https://example.org/".as_slice(), (r % 4_000).to_string().as_bytes()].concat()
            }),
            Box::new(|i, r| [&[0, 0, 0, (i % 3) as u8][..], &(r % 2_000).to_be_bytes()].concat()),
            Box::new(|_, r| vec![0; (r % 40) as usize]),
            Box::new(|_, r| r.to_be_bytes()[..(r % 9) as usize].to_vec()),
            Box::new(|i, r| if i == 2_500 { vec![7; 3] } else { (r % 9_000).to_be_bytes().to_vec() }),
            Box::new(|_, r| [(r % 5) as u8].repeat((r >> 8) as usize % 2_048)),
        ];
        for make in kinds {
            let keys = Keys((0..count).map(|i| make(i, random.next())).collect());
            let probes: Vec<_> =
                (0..500).map(|i| make(i, random.next())).chain([vec![], vec![0xFF; 9]]).collect();
            check(&keys, &probes);
        }
    }

    #[test]
    fn counts_between_places() {
        let keys = Keys((0..40_000u32).map(|i| (i * 2).to_be_bytes().to_vec()).collect());
        let mut index = Index::new();
        (0..40_000).for_each(|row| assert_eq!(index.upsert(keys.key(RowId(row)), RowId(row), &keys), None));
        let place = |key: u32| index.lower_bound(&key.to_be_bytes(), &keys);
        assert_eq!(index.count_between(place(10), place(20)), 5);
        assert_eq!(index.count_between(place(10), place(20_010)), 10_000);
        assert_eq!(index.count_between(place(20), place(10)), 0);
        let all = index.count_between(place(0), index.end());
        assert!((39_000..=41_000).contains(&all), "{all}");
    }
}
