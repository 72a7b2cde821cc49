//! The resident index of a segment: which row group holds a key. Fences, the first keys of all row groups, decide exactly,
//! so a lookup reads the one right row group, here called block. They are kept as 8 bytes each, in the order of the keys; whole keys are kept beside
//! only where those bytes do not say all.

use std::cmp::Ordering;
use std::ops::Range;

use super::format::{Directory, Fence, Footer, Place};
use crate::key::{Key, KeySpan, prefix64};
use crate::learned::search::{partition_point, partition_point_far};
use crate::learned::{IndexKind, Model, Statistics, choose};

/// Most places by which the model may miss, but for one: few, because its pieces are few anyway.
const EPSILON: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Fences {
    directory: Directory,
    /// What all first keys begin with.
    common: Box<[u8]>,
    /// The 8 bytes of each first key that follow, as a big-endian number; a shorter rest is filled up with zeros.
    words: Vec<u64>,
    /// Number -> place in `words`, where it was asked for or pays.
    model: Option<Model>,
    keys: FirstKeys,
    last_key: Key,
    /// The first 8 bytes of the first key and of the last.
    bounds: (u64, u64),
}

/// The first keys.
#[derive(Debug)]
enum FirstKeys {
    /// All have this length and end within the words.
    Words(usize),
    /// All bytes, and where each key ends.
    Bytes(Box<[u8]>, Box<[u32]>),
}

impl Fences {
    /// The fences of a footer, whose first keys rise.
    pub(super) fn new(footer: Footer, index: IndexKind) -> Fences {
        let count = footer.directory.fences.len();
        let length = footer.first_key(0).len();
        let is_word = length <= size_of::<u64>()
            && footer.keys.len() == count * length
            && (1..count).all(|block| footer.first_key(block).len() == length);
        let common: Box<[u8]> = if is_word {
            Box::default()
        } else {
            let (first, last) = (footer.first_key(0), footer.first_key(count - 1));
            let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            first[..shared].into()
        };
        let word = |block: usize| prefix64(&footer.first_key(block)[common.len()..]);
        let words: Vec<u64> = (0..count).map(word).collect();
        let model = (index != IndexKind::Binary).then(|| Model::build(words.iter().copied(), EPSILON));
        let pays = |model: &Model| index == IndexKind::Learned || choose(Statistics::of(&words, model));
        let model = model.filter(pays);
        Fences {
            bounds: (prefix64(footer.first_key(0)), prefix64(&footer.last_key)),
            common,
            words,
            model,
            last_key: Key::from_bytes(&footer.last_key),
            keys: if is_word {
                FirstKeys::Words(length)
            } else {
                FirstKeys::Bytes(footer.keys.into(), footer.key_ends.into())
            },
            directory: footer.directory,
        }
    }

    /// Blocks.
    pub(super) fn len(&self) -> usize {
        self.directory.fences.len()
    }

    /// What is known of a block.
    pub(super) fn get(&self, block: usize) -> Option<&Fence> {
        self.directory.fences.get(block)
    }

    /// Where the block of a column group lies.
    pub(super) fn place(&self, block: usize, group: usize) -> Option<Place> {
        self.directory.place(block, group)
    }

    /// Bytes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        let keys = match &self.keys {
            FirstKeys::Words(_) => 0,
            FirstKeys::Bytes(bytes, ends) => bytes.len() + ends.len() * size_of::<u32>(),
        };
        let model = self.model.as_ref().map_or(0, Model::size_bytes);
        self.directory.size_bytes() + self.words.capacity() * size_of::<u64>() + keys + model
    }

    /// Bytes of memory that serve to find the block of a key; the rest says where the blocks are.
    pub(super) fn index_bytes(&self) -> usize {
        self.size_bytes() - self.directory.size_bytes()
    }

    /// Whether the key lies between the first and the last.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        let (first, last) = self.bounds;
        let wanted = prefix64(key);
        if first < wanted && wanted < last {
            return true;
        }
        self.compare_first(0, key) != Ordering::Greater && *key <= *self.last_key
    }

    /// The first key of a block.
    pub(super) fn first_key(&self, block: usize) -> Key {
        match &self.keys {
            FirstKeys::Words(length) => Key::from_bytes(&self.words[block].to_be_bytes()[..*length]),
            FirstKeys::Bytes(bytes, ends) => Key::from_bytes(&bytes[key_range(ends, block)]),
        }
    }

    fn compare_first(&self, block: usize, key: &[u8]) -> Ordering {
        match &self.keys {
            FirstKeys::Words(length) => self.words[block].to_be_bytes()[..*length].cmp(key),
            FirstKeys::Bytes(bytes, ends) => bytes[key_range(ends, block)].cmp(key),
        }
    }

    /// Whether a block begins with a key above this one, or there is none.
    pub(super) fn begins_after(&self, block: usize, key: &[u8]) -> bool {
        block >= self.len() || self.compare_first(block, key) == Ordering::Greater
    }

    /// How many blocks begin with a key below this one; with `or_equal`, at most this one.
    fn count_below(&self, key: &[u8], or_equal: bool) -> usize {
        let rest = match &*self.common {
            [] => key,
            common => match key.strip_prefix(common) {
                Some(rest) => rest,
                None => return if key < common { 0 } else { self.len() },
            },
        };
        let wanted = prefix64(rest);
        if let FirstKeys::Words(length) = self.keys {
            // A shorter key comes before every key that begins with it, a longer one after the key that it begins with.
            let or_equal = rest.len() > length || (or_equal && rest.len() == length);
            let limit = if or_equal { wanted.checked_add(1) } else { Some(wanted) };
            return limit.map_or(self.len(), |limit| self.words_below(limit));
        }
        let start = self.words_below(wanted);
        let end = start + self.words[start..].partition_point(|word| *word == wanted);
        partition_point(start..end, |block| match self.compare_first(block, key) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        })
    }

    /// How many words are below this one.
    fn words_below(&self, wanted: u64) -> usize {
        match &self.model {
            Some(model) => model.lower_bound(&self.words, wanted),
            None => partition_point_far(0..self.words.len(), |block| self.words[block] < wanted),
        }
    }

    /// The first block that can hold the key, if any does.
    fn first_block_of(&self, key: &[u8]) -> usize {
        let mut block = self.count_below(key, true).saturating_sub(1);
        while self.directory.fences[block].continues && self.compare_first(block, key) == Ordering::Equal {
            block -= 1;
        }
        block
    }

    /// Blocks that may hold keys of the span.
    pub(super) fn blocks_in(&self, span: &KeySpan) -> Range<usize> {
        let end = span.end.as_ref().map_or(self.len(), |end| self.count_below(end, false));
        if span.start > self.last_key {
            return end..end;
        }
        let start = self.first_block_of(&span.start);
        start..end.max(start)
    }

    /// Which part of a block's rows has keys below this one, were they evenly spread between the first keys of the block
    /// and of the next.
    pub(super) fn part_below(&self, block: usize, key: &[u8]) -> f64 {
        let word = |key: &[u8]| match &*self.common {
            [] => Some(prefix64(key)),
            common => key.strip_prefix(common).map(prefix64),
        };
        // What does not begin as all first keys do comes before or after all of them.
        let wanted = word(key).unwrap_or_else(|| if *key < *self.common { 0 } else { u64::MAX });
        let low = self.words[block];
        let next = self.words.get(block + 1).copied();
        let high =
            next.unwrap_or_else(|| word(&self.last_key).map_or(u64::MAX, |last| last.saturating_add(1)));
        if high <= low {
            return if wanted > low { 1.0 } else { 0.0 };
        }
        wanted.saturating_sub(low).min(high - low) as f64 / (high - low) as f64
    }

    /// Blocks that may hold versions of the key.
    pub(super) fn blocks_of(&self, key: &[u8]) -> Range<usize> {
        if !self.covers(key) {
            return 0..0;
        }
        let end = self.count_below(key, true);
        let mut start = end - 1;
        while self.directory.fences[start].continues && self.compare_first(start, key) == Ordering::Equal {
            start -= 1;
        }
        start..end
    }
}

fn key_range(ends: &[u32], block: usize) -> Range<usize> {
    let start = if block == 0 { 0 } else { ends[block - 1] as usize };
    start..ends[block] as usize
}
