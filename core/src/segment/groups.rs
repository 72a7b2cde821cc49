//! Column groups: the columns of a wide table are divided among several blocks, so that a row group has many rows and each
//! of its blocks is one read. The first, the key group, holds the key columns and the begins; the others are put into
//! groups one after another, the first of them into the key group as long as there is room. A table whose blocks hold
//! many rows anyway has one group, and a row of it is one read.
//!
//! The division is chosen for each segment from the sizes that the columns have in its first block. Columns that follow
//! from others refer to columns of their own group only.
//!
//! In the footer: for each column the number of its group, u8; that of the begins comes last.
//!
//! Invariants: every group has a column; key columns and begins are in group 0; within a group columns are in the order of
//! the table.

#[cfg(test)]
mod tests;

use super::format::{BLOCK_BYTES_TARGET, BLOCK_DIRECTORY_BYTES, BLOCK_HEADER_BYTES, BLOCK_ROWS, GROUPS_MAX};

/// Blocks that hold as many rows with all columns are not divided: they compress well, and a scan reads little for
/// nothing.
const ROWS_GOOD: usize = BLOCK_ROWS / 4;
/// Otherwise columns are divided if that makes row groups of so many times as many rows,
const ROWS_GAIN_MIN: usize = 2;
/// or if there are as many columns, of which a scan will hardly want all.
const COLUMNS_MANY: usize = 32;
/// Bytes that a block may have: the rest is for rows larger than those that the division was chosen from.
const FILL_BYTES: usize = BLOCK_BYTES_TARGET * 3 / 4;
/// Bytes that it should have if that takes no rows from the row groups: a read of 16 KiB takes two thirds of the time of one
/// of 64 KiB.
const FILL_BYTES_GOOD: usize = 18 << 10;

const _: () = assert!(GROUPS_MAX <= u16::BITS as usize);

/// Some column groups of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct GroupSet(u16);

impl GroupSet {
    /// The key group.
    pub(crate) const KEY: GroupSet = GroupSet(1);

    /// One.
    pub(super) fn of(group: usize) -> GroupSet {
        GroupSet(1 << group)
    }

    /// Those of both.
    #[must_use]
    pub(crate) fn and(self, other: GroupSet) -> GroupSet {
        GroupSet(self.0 | other.0)
    }

    /// Those that are not among the others.
    #[must_use]
    pub(crate) fn without(self, other: GroupSet) -> GroupSet {
        GroupSet(self.0 & !other.0)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, rising.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..GROUPS_MAX).filter(move |group| self.0 >> group & 1 == 1)
    }
}

/// Where a column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The group.
    pub(super) group: usize,
    /// Its number there.
    pub(super) index: usize,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Groups {
    places: Vec<Place>,
    columns: Vec<Vec<usize>>,
}

impl Groups {
    /// All columns in one group.
    pub(super) fn one(columns: usize) -> Groups {
        Groups::of(&vec![0; columns])
    }

    /// From the group of each column; every group has one.
    fn of(groups: &[u8]) -> Groups {
        let count = groups.iter().max().map_or(1, |last| usize::from(*last) + 1);
        let mut columns = vec![Vec::new(); count];
        let mut places = Vec::with_capacity(groups.len());
        for (column, group) in groups.iter().enumerate() {
            let group = usize::from(*group);
            places.push(Place { group, index: columns[group].len() });
            columns[group].push(column);
        }
        Groups { places, columns }
    }

    /// A division for columns that have these sizes in a block of `rows` rows; the last are the begins.
    pub(super) fn choose(sizes: &[usize], rows: usize, key: &[usize]) -> Groups {
        let one = Groups::one(sizes.len());
        let rows_of_one = rows * FILL_BYTES / sizes.iter().sum::<usize>().max(1);
        if rows_of_one >= ROWS_GOOD {
            return one;
        }
        let fewer = |rows: &usize| (*rows > 1).then_some(*rows * 7 / 8);
        let tried = std::iter::successors(Some(BLOCK_ROWS), fewer);
        let sizes_of = |wanted: usize| -> Vec<usize> {
            let size = |size: &usize| (size * wanted).div_ceil(rows) + BLOCK_DIRECTORY_BYTES + 8;
            sizes.iter().map(size).collect()
        };
        let fills = [FILL_BYTES_GOOD, FILL_BYTES_GOOD * 4 / 3, FILL_BYTES_GOOD * 2, FILL_BYTES];
        let found = tried.filter(|wanted| *wanted > 0).find_map(|wanted| {
            let sizes = sizes_of(wanted);
            let groups = fills.iter().find_map(|fill| divide(&sizes, key, *fill))?;
            Some((wanted, groups))
        });
        match found {
            Some((rows, groups))
                if rows >= ROWS_GAIN_MIN * rows_of_one.max(1) || sizes.len() >= COLUMNS_MANY =>
            {
                Groups::of(&groups)
            }
            _ => one,
        }
    }

    /// As it stands in the footer.
    pub(super) fn encode(&self) -> Vec<u8> {
        let group = |place: &Place| u8::try_from(place.group).expect("at most GROUPS_MAX");
        self.places.iter().map(group).collect()
    }

    /// Inverse of `encode`, of so many groups and columns; `None` if the bytes are not such a division.
    pub(super) fn decode(bytes: &[u8], count: usize, columns: usize, key: &[usize]) -> Option<Groups> {
        let mut fixed = key.iter().map(|column| bytes.get(*column)).chain([bytes.last()]);
        let ok = bytes.len() == columns
            && (1..=GROUPS_MAX).contains(&count)
            && bytes.iter().all(|group| usize::from(*group) < count)
            && (0..count).all(|group| bytes.iter().any(|other| usize::from(*other) == group))
            && fixed.all(|group| group == Some(&0));
        ok.then(|| Groups::of(bytes))
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is one only.
    pub(super) fn is_one(&self) -> bool {
        self.columns.len() == 1
    }

    /// All groups.
    pub(super) fn all(&self) -> GroupSet {
        (0..self.len()).fold(GroupSet::default(), |all, group| all.and(GroupSet::of(group)))
    }

    /// The columns of a group.
    pub(super) fn columns(&self, group: usize) -> &[usize] {
        &self.columns[group]
    }

    /// Where a column is.
    #[inline]
    pub(super) fn place(&self, column: usize) -> Place {
        self.places[column]
    }

    /// The groups of some columns.
    pub(super) fn of_columns(&self, columns: &[usize]) -> GroupSet {
        let group = |column: &usize| GroupSet::of(self.places[*column].group);
        columns.iter().map(group).fold(GroupSet::default(), GroupSet::and)
    }
}

/// Puts columns of these sizes into groups of at most `fill` bytes; `None` if that makes too many, or one is too large.
fn divide(sizes: &[usize], key: &[usize], fill: usize) -> Option<Vec<u8>> {
    let begins = sizes.len().checked_sub(1)?;
    let is_fixed = |column: usize| column == begins || key.contains(&column);
    let mut groups = vec![0; sizes.len()];
    let (mut group, mut filled) = (0, BLOCK_HEADER_BYTES);
    filled += (0..sizes.len()).filter(|column| is_fixed(*column)).map(|column| sizes[column]).sum::<usize>();
    for column in (0..begins).filter(|column| !is_fixed(*column)) {
        if filled + sizes[column] > fill {
            (group, filled) = (group + 1, BLOCK_HEADER_BYTES);
        }
        filled += sizes[column];
        if filled > fill || group == GROUPS_MAX {
            return None;
        }
        groups[column] = u8::try_from(group).expect("below GROUPS_MAX");
    }
    (filled <= fill).then_some(groups)
}

/// What the blocks of each group share, one after another, each with its length u32 in front.
pub(super) fn join_tables(tables: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for tables in tables {
        out.extend_from_slice(&u32::try_from(tables.len()).expect("tables are bounded").to_le_bytes());
        out.extend_from_slice(&tables);
    }
    out
}

/// Inverse of `join_tables`, of so many groups.
pub(super) fn split_tables(mut bytes: &[u8], groups: usize) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::with_capacity(groups);
    for _ in 0..groups {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        parts.push(part);
        bytes = rest;
    }
    bytes.is_empty().then_some(parts)
}
