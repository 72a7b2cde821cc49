//! Sets of whole numbers, one bit each.

use std::fmt;

/// Most numbers from the first bit of a set to the last: 4 MiB of bits.
const SPAN_MAX: i128 = 1 << 25;

const WORD_BITS: usize = u64::BITS as usize;

/// Whole numbers that lie close enough to each other; at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberSet {
    min: i64,
    max: i64,
    /// The number of the first bit.
    base: i64,
    words: Vec<u64>,
    count: usize,
}

/// A set that grows.
#[derive(Clone, Default)]
pub struct NumberSetBuilder {
    base: i64,
    words: Vec<u64>,
    is_too_wide: bool,
}

impl NumberSetBuilder {
    /// Adds numbers.
    pub fn extend(&mut self, numbers: impl Iterator<Item = i64>) {
        for number in numbers {
            let mut bit = number.wrapping_sub(self.base) as u64 as usize;
            if bit / WORD_BITS >= self.words.len() {
                self.reach(number);
                if self.is_too_wide {
                    return;
                }
                bit = number.wrapping_sub(self.base) as u64 as usize;
            }
            self.words[bit / WORD_BITS] |= 1 << (bit % WORD_BITS);
        }
    }

    /// Makes room for a number and, if it can be, for more like it.
    fn reach(&mut self, number: i64) {
        if self.is_too_wide {
            return;
        }
        // The first bit's number is a multiple of the bits of a word: no word goes beyond the last number.
        let aligned = number & !(WORD_BITS as i64 - 1);
        if self.words.is_empty() {
            (self.base, self.words) = (aligned, vec![0]);
            return;
        }
        let word = WORD_BITS as i128;
        let (base, width) = (i128::from(self.base), self.words.len() as i128 * word);
        let (mut first, mut end) = (base, base + width);
        let aligned = i128::from(aligned);
        if aligned < base {
            first = aligned.min(base - width).max(i64::MIN.into());
        } else {
            end = (aligned + word).max(end + width).min(i128::from(i64::MAX) + 1);
        }
        match i64::try_from(first).ok().filter(|_| end - first <= 2 * SPAN_MAX) {
            Some(start) => {
                let mut words = vec![0; usize::try_from((end - first) / word).unwrap_or(0)];
                let from = usize::try_from((base - first) / word).unwrap_or(0);
                words[from..from + self.words.len()].copy_from_slice(&self.words);
                (self.base, self.words) = (start, words);
            }
            None => (self.is_too_wide, self.words) = (true, Vec::new()),
        }
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// The set, if there is a number in it and they are close enough to each other.
    pub fn finish(self) -> Option<NumberSet> {
        let NumberSetBuilder { base, words, .. } = self;
        let number = |at: usize, bit: u32| base.wrapping_add((at * WORD_BITS) as i64 + i64::from(bit));
        let first = words.iter().position(|word| *word != 0)?;
        let last = words.iter().rposition(|word| *word != 0)?;
        let (min, max) = (number(first, words[first].trailing_zeros()), number(last, words[last].ilog2()));
        if i128::from(max) - i128::from(min) >= SPAN_MAX {
            return None;
        }
        let count = words.iter().map(|word| word.count_ones() as usize).sum();
        Some(NumberSet { min, max, base, words, count })
    }
}

impl NumberSet {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The smallest.
    pub fn min(&self) -> i64 {
        self.min
    }

    /// The largest.
    pub fn max(&self) -> i64 {
        self.max
    }

    /// Whether a number is one of them.
    #[inline]
    pub fn contains(&self, number: i64) -> bool {
        // Numbers below the first bit's are beyond the last one's as unsigned numbers.
        let bit = number.wrapping_sub(self.base) as u64;
        let word = self.words.get((bit / 64) as usize).copied().unwrap_or(0);
        word >> (bit % 64) & 1 != 0
    }

    /// Whether one of them lies from `low` to `high`.
    pub(crate) fn has_between(&self, low: i64, high: i64) -> bool {
        self.masked_words(low, high).any(|word| word != 0)
    }

    /// How many of them lie from `low` to `high`.
    pub(crate) fn count_between(&self, low: i64, high: i64) -> usize {
        self.masked_words(low, high).map(|word| word.count_ones() as usize).sum()
    }

    /// The words from `low` to `high`, without the bits of other numbers.
    fn masked_words(&self, low: i64, high: i64) -> impl Iterator<Item = u64> {
        let bit = |number: i64| number.wrapping_sub(self.base) as u64 as usize;
        let is_apart = high < self.min || self.max < low || high < low;
        let (first, last) = (bit(low.max(self.min)), bit(high.min(self.max)));
        let range = if is_apart { 0..0 } else { first / WORD_BITS..last / WORD_BITS + 1 };
        self.words[range.clone()].iter().zip(range).map(move |(word, at)| {
            let low = if at == first / WORD_BITS { u64::MAX << (first % WORD_BITS) } else { u64::MAX };
            let high = if at == last / WORD_BITS {
                u64::MAX >> (WORD_BITS - 1 - last % WORD_BITS)
            } else {
                u64::MAX
            };
            word & low & high
        })
    }
}

impl fmt::Debug for NumberSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} numbers from {} to {}", self.count, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[i64]) -> Option<NumberSet> {
        let mut builder = NumberSetBuilder::default();
        builder.extend(numbers.iter().copied());
        builder.finish()
    }

    #[test]
    fn numbers_far_and_near() {
        assert_eq!(set(&[]), None);
        for far in [[i64::MIN, i64::MAX], [i64::MAX, i64::MIN], [0, 1 << 25], [1 << 25, 0], [0, -1 << 25]] {
            assert_eq!(set(&far), None, "{far:?}");
        }
        assert_eq!(set(&[5, 4 + (1 << 25)]).map(|set| set.count()), Some(2));
        for base in [i64::MIN, i64::MIN + 100, -70, -64, 0, 5, i64::MAX - 200] {
            let rising = [base, base + 3, base + 64, base + 200, base + 3];
            let mut falling = rising;
            falling.reverse();
            let mixed = [base + 64, base, base + 200, base + 3, base];
            for numbers in [rising, falling, mixed] {
                let set = set(&numbers).unwrap();
                assert_eq!((set.count(), set.min(), set.max()), (4, base, base + 200));
                for number in (base..=base + 200).chain([i64::MIN, -1, 0, 1, i64::MAX]) {
                    assert_eq!(set.contains(number), numbers.contains(&number), "{number} of {set:?}");
                }
                for (low, high) in
                    [(-1, 300), (0, 0), (1, 2), (1, 3), (4, 63), (4, 64), (65, 199), (65, 200), (3, 2)]
                {
                    let (low, high) = (base.saturating_add(low), base.saturating_add(high));
                    let inside = rising[..4].iter().filter(|number| (low..=high).contains(number)).count();
                    assert_eq!(set.count_between(low, high), inside, "{low} to {high} of {set:?}");
                    assert_eq!(set.has_between(low, high), inside > 0, "{low} to {high} of {set:?}");
                }
                assert_eq!(set.count_between(i64::MIN, i64::MAX), 4);
            }
        }
    }
}
