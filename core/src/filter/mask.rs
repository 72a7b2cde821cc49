//! Masks of rows, one bit each, and loops over slices that clear bits.

/// Rows of a word.
pub(crate) const WORD_ROWS: usize = u64::BITS as usize;

/// Words for so many rows.
pub(crate) const fn words(rows: usize) -> usize {
    rows.div_ceil(WORD_ROWS)
}

/// Sets the bits of the first `rows` rows and clears the others.
pub(crate) fn fill(mask: &mut [u64], rows: usize) {
    for (index, word) in mask.iter_mut().enumerate() {
        *word = match rows.saturating_sub(index * WORD_ROWS) {
            left @ 0..WORD_ROWS => (1 << left) - 1,
            _ => u64::MAX,
        };
    }
}

/// Rows that are left.
pub(crate) fn count(mask: &[u64]) -> usize {
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// Whether no row is left.
pub(crate) fn is_empty(mask: &[u64]) -> bool {
    mask.iter().all(|word| *word == 0)
}

/// The first row that is left; beyond all if none is.
pub(crate) fn first(mask: &[u64]) -> usize {
    let index = mask.iter().position(|word| *word != 0);
    index.map_or(mask.len() * WORD_ROWS, |index| index * WORD_ROWS + mask[index].trailing_zeros() as usize)
}

/// The last row that is left; 0 if none is.
pub(crate) fn last(mask: &[u64]) -> usize {
    let index = mask.iter().rposition(|word| *word != 0);
    index.map_or(0, |index| index * WORD_ROWS + mask[index].ilog2() as usize)
}

/// Calls with each row that is left, rising.
#[inline]
pub(crate) fn for_each(mask: &[u64], mut row: impl FnMut(usize)) {
    for (index, word) in mask.iter().enumerate() {
        let mut left = *word;
        while left != 0 {
            row(index * WORD_ROWS + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

/// Clears one row.
#[inline]
pub(crate) fn clear(mask: &mut [u64], row: usize) {
    mask[row / WORD_ROWS] &= !(1 << (row % WORD_ROWS));
}

/// Clears the rows that are left and fail the test; asks it only of those.
#[inline]
pub(crate) fn retain(mask: &mut [u64], mut test: impl FnMut(usize) -> bool) {
    for (index, word) in mask.iter_mut().enumerate() {
        let mut left = *word;
        while left != 0 {
            let row = left.trailing_zeros() as usize;
            left &= left - 1;
            if !test(index * WORD_ROWS + row) {
                *word &= !(1 << row);
            }
        }
    }
}

/// Clears the rows whose value fails the test. It is asked of values of other rows, too, so that the loop has no branches.
#[inline]
pub(crate) fn retain_values<T: Copy>(mask: &mut [u64], values: &[T], test: impl Fn(T) -> bool) {
    let mut chunks = values.chunks_exact(WORD_ROWS);
    let mut words = mask.iter_mut();
    for (chunk, word) in chunks.by_ref().zip(words.by_ref()) {
        if *word != 0 {
            *word &= word_of(chunk, &test);
        }
    }
    if let Some(word) = words.next() {
        let bits = chunks.remainder().iter().enumerate();
        *word &= bits.fold(0, |bits, (row, value)| bits | u64::from(test(*value)) << row);
    }
}

/// The answers for 64 values. As bytes first, which vectorises, then eight bytes into eight bits with one product.
#[inline(always)]
fn word_of<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> u64 {
    let mut bytes = [0u8; WORD_ROWS];
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = u8::from(test(*value));
    }
    let mut word = 0;
    for (index, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= bits << (8 * index);
    }
    word
}

/// Clears the rows that are not set in `bits`, lowest bit of the first byte first, from bit `start` on.
pub(crate) fn and_bits(mask: &mut [u64], bits: &[u8], start: usize) {
    for_each_word(mask, bits, start, |word, bits| *word &= bits);
}

/// Clears the rows that are set in `bits`.
pub(crate) fn and_not_bits(mask: &mut [u64], bits: &[u8], start: usize) {
    for_each_word(mask, bits, start, |word, bits| *word &= !bits);
}

fn for_each_word(mask: &mut [u64], bits: &[u8], start: usize, apply: impl Fn(&mut u64, u64)) {
    let (first, shift) = (start / 8, start % 8);
    for (index, word) in mask.iter_mut().enumerate() {
        let at = (first + index * 8).min(bits.len());
        let mut bytes = [0u8; 16];
        let part = &bits[at..bits.len().min(at + 9)];
        bytes[..part.len()].copy_from_slice(part);
        apply(word, (u128::from_le_bytes(bytes) >> shift) as u64);
    }
}
