//! Rows of a batch that repeat: few different short keys, as flags and codes have. They are told apart by their bytes in a
//! word, so that only the first row of each needs a search among the groups.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use omen_core::types::PgType;

/// Most different keys of a batch.
const KEYS_MAX: usize = 64;
/// Places of the table of keys, a power of two.
const PLACES: usize = 256;
/// Bytes of a key: of each column, a length and as many bytes as its longest value.
const KEY_BYTES: usize = 16;
/// In place of a length: the value is NULL.
const NULL: u8 = u8::MAX;
const NO_KEY: u8 = u8::MAX;

const _: () = assert!(KEYS_MAX < NO_KEY as usize && KEYS_MAX * 4 <= PLACES);

/// Finds rows with equal keys.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Of the rows of the last batch.
    keys: Vec<u128>,
    /// For each row the number of its key, counted from 0 in order of appearance.
    pub(super) numbers: Vec<u8>,
    /// The first row of each key.
    pub(super) first_rows: Vec<u32>,
    /// Batches that are not to be tried, and how many that will be after the next failure.
    skip: u32,
    skip_next: u32,
}

impl Default for Repeats {
    fn default() -> Repeats {
        Repeats { keys: Vec::new(), numbers: Vec::new(), first_rows: Vec::new(), skip: 0, skip_next: 1 }
    }
}

impl Repeats {
    /// Fills `numbers` and `first_rows`; false if the batch is not such a one.
    pub(super) fn find(&mut self, columns: &[ArrayRef], types: &[PgType], rows: usize) -> bool {
        /// A table of many keys pays for a batch in so many.
        const SKIP_MAX: u32 = 256;
        if rows <= KEYS_MAX {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let found = self.pack(columns, types, rows) && self.number();
        if found {
            self.skip_next = 1;
        } else {
            self.skip = self.skip_next;
            self.skip_next = (self.skip_next * 2).min(SKIP_MAX);
        }
        found
    }

    /// Fills `keys`; false if some have no room.
    fn pack(&mut self, columns: &[ArrayRef], types: &[PgType], rows: usize) -> bool {
        self.keys.clear();
        self.keys.resize(rows, 0);
        let mut at = 0;
        for (column, pg_type) in columns.iter().zip(types) {
            if !matches!(pg_type, PgType::Text | PgType::Varchar(_)) {
                return false;
            }
            let values = column.as_string::<i32>();
            let (offsets, bytes) = (values.value_offsets(), values.value_data());
            let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as usize;
            if at + 1 + longest > KEY_BYTES {
                return false;
            }
            let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
            let all = &bytes[offsets[0] as usize..offsets[rows] as usize];
            if longest == 1 && all.len() == rows && nulls.is_none() {
                // One byte each.
                let shift = 8 * at;
                self.keys.iter_mut().zip(all).for_each(|(key, byte)| {
                    *key |= (u128::from(*byte) << 8 | 1) << shift;
                });
                at += 2;
                continue;
            }
            for (row, (key, pair)) in self.keys.iter_mut().zip(offsets.windows(2)).enumerate() {
                let value = &bytes[pair[0] as usize..pair[1] as usize];
                let packed = match (nulls, value) {
                    (Some(nulls), _) if nulls.is_null(row) => u128::from(NULL),
                    (_, value) => {
                        let mut word = [0; KEY_BYTES];
                        word[1..=value.len()].copy_from_slice(value);
                        u128::from_le_bytes(word) | value.len() as u128
                    }
                };
                *key |= packed << (8 * at);
            }
            at += 1 + longest;
        }
        true
    }

    /// Numbers the keys; false if they are too many.
    fn number(&mut self) -> bool {
        let mut places = [NO_KEY; PLACES];
        let mut known = [0u128; KEYS_MAX];
        self.first_rows.clear();
        self.numbers.clear();
        self.numbers.reserve(self.keys.len());
        for (row, key) in self.keys.iter().enumerate() {
            let mut at = place_of(*key);
            let number = loop {
                let number = places[at];
                if number == NO_KEY {
                    if self.first_rows.len() == KEYS_MAX {
                        return false;
                    }
                    let number = self.first_rows.len();
                    known[number] = *key;
                    self.first_rows.push(u32::try_from(row).expect("at most 8192 rows in a batch"));
                    places[at] = number as u8;
                    break number as u8;
                }
                if known[usize::from(number) % KEYS_MAX] == *key {
                    break number;
                }
                at = (at + 1) % PLACES;
            };
            self.numbers.push(number);
        }
        true
    }
}

/// Where the search for a key begins.
#[inline]
fn place_of(key: u128) -> usize {
    let word = key as u64 ^ ((key >> 64) as u64).rotate_left(32);
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;

    use super::*;

    const TEXTS: [PgType; 2] = [PgType::Text; 2];

    fn column(values: impl Iterator<Item = Option<&'static str>>) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }

    /// What could be mixed up: parts of values on the other side of a column's end, NULL, and nothing.
    #[test]
    fn equal_rows_have_equal_numbers() {
        const VALUES: [Option<&str>; 7] =
            [Some("a"), Some(""), None, Some("ab"), Some("abc"), Some("b"), Some("\u{1}")];
        let rows = 200;
        let first = || (0..rows).map(|row| VALUES[row % 7]);
        let second = || (0..rows).map(|row| VALUES[row * row % 7]);
        let columns = [column(first()), column(second())];
        let mut repeats = Repeats::default();
        assert!(repeats.find(&columns, &TEXTS, rows));
        let mut seen = Vec::new();
        for (row, pair) in first().zip(second()).enumerate() {
            let number = seen.iter().position(|known| *known == pair).unwrap_or_else(|| {
                seen.push(pair);
                assert_eq!(repeats.first_rows[seen.len() - 1] as usize, row);
                seen.len() - 1
            });
            assert_eq!(usize::from(repeats.numbers[row]), number, "row {row}");
        }
        assert_eq!(repeats.first_rows.len(), seen.len());
    }

    #[test]
    fn long_values_and_many_are_left_to_others() {
        let long = [column((0..100).map(|_| Some("0123456789"))), column((0..100).map(|_| Some("abcde")))];
        assert!(!Repeats::default().find(&long, &TEXTS, 100));
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let many: ArrayRef = Arc::new(StringArray::from(texts));
        let mut repeats = Repeats::default();
        assert!(!repeats.find(&[many], &TEXTS[..1], 100));
        let few = [column((0..100).map(|_| Some("x")))];
        assert!(!repeats.find(&few, &TEXTS[..1], 100), "the next is not tried");
        assert!(repeats.find(&few, &TEXTS[..1], 100));
    }
}
