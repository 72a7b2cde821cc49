//! Unsigned numbers packed in as many bits as the largest needs.
//!
//! | numbers | layout |
//! |---|---|
//! | 1,024 of 1 to 16 bits | FastLanes in words of 16 bits (64 lanes), 128 bytes per bit |
//! | 1,024 of 17 to 32 bits | FastLanes in words of 32 bits (32 lanes), 128 bytes per bit |
//! | others | number `i` takes the bits from `i * width`, least significant bit first |
//!
//! FastLanes (Afroozeh and Boncz 2023) spreads neighbours over lanes, so that the compiler's vector code unpacks
//! a block. The crate `fastlanes` packs and unpacks whole blocks through its safe API; single numbers are read here
//! from the bytes as they lie, for which the crate would need them aligned and in a slice of words.

use std::ops::Range;

use fastlanes::BitPacking;

use crate::filter::mask::retain_values;

/// Numbers of a full block.
const LANES_COUNT: usize = 1024;

/// Bits that the number needs.
#[inline]
pub(super) fn width_of(max: u64) -> u8 {
    (u64::BITS - max.leading_zeros()) as u8
}

/// Bytes of `count` numbers of `width` bits.
#[inline]
pub(super) fn packed_bytes(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

/// Packed numbers: where they lie in a block or table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packed {
    at: u32,
    width: u8,
    lanes: bool,
}

fn in_lanes(count: usize, width: u8) -> bool {
    count == LANES_COUNT && (1..=32).contains(&width)
}

/// Up to eight bytes, zeros beyond the end.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        return u64::from_le_bytes(*word);
    }
    tail(bytes, at)
}

#[cold]
fn tail(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or(&[]);
    rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[inline]
fn mask(width: u8) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Where a number begins: its first word, its lane of the 64 or 32, and the bit in the word.
#[inline]
fn place<const BITS: usize>(index: usize, width: usize) -> (usize, usize, usize) {
    let lanes = LANES_COUNT / BITS;
    let part = index % 128 / lanes;
    // The order of FastLanes: 0, 64 of 128; 0, 64, 32, 96 of 128.
    let octet = if BITS == 16 { part } else { (part & 1) << 1 | part >> 1 };
    let bit = (octet * 8 + index / 128) * width;
    (bit / BITS, index % lanes, bit % BITS)
}

impl Packed {
    /// `count` numbers of `width` bits at `at`, which take `packed_bytes`.
    pub(super) fn new(at: usize, count: usize, width: u8) -> Packed {
        let at = u32::try_from(at).expect("blocks and tables are below 4 GiB");
        Packed { at, width, lanes: in_lanes(count, width) }
    }

    /// No bits: all numbers are 0.
    #[inline]
    pub(super) fn is_zero(&self) -> bool {
        self.width == 0
    }

    pub(super) fn width(&self) -> u8 {
        self.width
    }

    /// The largest number that the bits can hold, if the numbers lie in lanes.
    pub(super) fn lanes_max(&self) -> Option<u64> {
        self.lanes.then(|| mask(self.width))
    }

    /// Clears the rows whose number, one of lanes, is below `low` or above `high`.
    pub(super) fn retain(&self, bytes: &[u8], low: u64, high: u64, rows: &mut [u64]) {
        let span = high - low;
        if self.width <= 16 {
            let mut words = [0; LANES_COUNT];
            self.unpack16(bytes, &mut words);
            let (low, span) = (low as u16, span as u16);
            retain_values(rows, &words, |word| word.wrapping_sub(low) <= span);
        } else {
            let mut words = [0; LANES_COUNT];
            self.unpack32(bytes, &mut words);
            let (low, span) = (low as u32, span as u32);
            retain_values(rows, &words, |word| word.wrapping_sub(low) <= span);
        }
    }

    /// A number.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8], index: usize) -> u64 {
        let (start, width) = (self.at as usize, usize::from(self.width));
        if self.lanes {
            return if width <= 16 {
                let (row, lane, bit) = place::<16>(index, width);
                let at = start + (row * 64 + lane) * 2;
                // Both words, whether the number goes on in the second or not: a jump would be guessed wrong half of the time.
                let half = |at: usize| u64::from(word(bytes, at) as u16);
                (half(at) | half(at + 128) << 16) >> bit & mask(self.width)
            } else {
                let (row, lane, bit) = place::<32>(index, width);
                let at = start + (row * 32 + lane) * 4;
                let half = |at: usize| u64::from(word(bytes, at) as u32);
                (half(at) | half(at + 128) << 32) >> bit & mask(self.width)
            };
        }
        if width == 0 {
            return 0;
        }
        let bit = index * width;
        let (at, shift) = (start + bit / 8, bit % 8);
        let low = word(bytes, at) >> shift;
        if width <= 56 {
            return low & mask(self.width);
        }
        let high = word(bytes, at + 8) << 1 << (63 - shift);
        (low | high) & mask(self.width)
    }

    /// Puts `f` of each of some numbers into `out`.
    #[inline]
    pub(super) fn each<T>(&self, bytes: &[u8], range: Range<usize>, out: &mut [T], f: impl Fn(u64) -> T) {
        debug_assert_eq!(range.len(), out.len());
        if self.width == 0 {
            out.iter_mut().for_each(|out| *out = f(0));
        } else if !self.lanes || range.len() < 32 {
            out.iter_mut().zip(range).for_each(|(out, index)| *out = f(self.get(bytes, index)));
        } else if self.width <= 16 {
            let mut words = [0; LANES_COUNT];
            self.unpack16(bytes, &mut words);
            out.iter_mut().zip(&words[range]).for_each(|(out, word)| *out = f(u64::from(*word)));
        } else {
            let mut words = [0; LANES_COUNT];
            self.unpack32(bytes, &mut words);
            out.iter_mut().zip(&words[range]).for_each(|(out, word)| *out = f(u64::from(*word)));
        }
    }
}

/// Calls `$kernel::<WIDTH, WORDS>(..)` for the width at hand.
macro_rules! for_width {
    ($bits:literal, $width:expr, [$($w:literal)*], $kernel:ident, $input:expr, $output:expr) => {
        match $width {
            $($w => $kernel::<$w, { 1024 * $w / $bits }>($input, $output),)*
            _ => {}
        }
    };
}

impl Packed {
    fn unpack16(&self, bytes: &[u8], out: &mut [u16; LANES_COUNT]) {
        for_width!(16, self.width, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], unpack16, &bytes[self.at as usize..], out);
    }

    fn unpack32(&self, bytes: &[u8], out: &mut [u32; LANES_COUNT]) {
        for_width!(32, self.width, [17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32], unpack32,
            &bytes[self.at as usize..], out);
    }
}

fn unpack16<const W: usize, const B: usize>(bytes: &[u8], out: &mut [u16; LANES_COUNT]) {
    let mut words = [0; B];
    let (chunks, _) = bytes.as_chunks();
    words.iter_mut().zip(chunks).for_each(|(word, bytes)| *word = u16::from_le_bytes(*bytes));
    <u16 as BitPacking>::unpack::<W, B>(&words, out);
}

fn unpack32<const W: usize, const B: usize>(bytes: &[u8], out: &mut [u32; LANES_COUNT]) {
    let mut words = [0; B];
    let (chunks, _) = bytes.as_chunks();
    words.iter_mut().zip(chunks).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
    <u32 as BitPacking>::unpack::<W, B>(&words, out);
}

fn pack16<const W: usize, const B: usize>(numbers: &[u64], out: &mut Vec<u8>) {
    let (mut input, mut words) = ([0; LANES_COUNT], [0; B]);
    input.iter_mut().zip(numbers).for_each(|(input, number)| *input = *number as u16);
    <u16 as BitPacking>::pack::<W, B>(&input, &mut words);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn pack32<const W: usize, const B: usize>(numbers: &[u64], out: &mut Vec<u8>) {
    let (mut input, mut words) = ([0; LANES_COUNT], [0; B]);
    input.iter_mut().zip(numbers).for_each(|(input, number)| *input = *number as u32);
    <u32 as BitPacking>::pack::<W, B>(&input, &mut words);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Appends numbers, each below `2^width`.
pub(super) fn pack(numbers: &[u64], width: u8, out: &mut Vec<u8>) {
    debug_assert!(numbers.iter().all(|number| width_of(*number) <= width));
    if in_lanes(numbers.len(), width) {
        for_width!(16, width, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], pack16, numbers, out);
        for_width!(32, width, [17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32], pack32, numbers, out);
        return;
    }
    let end = out.len() + packed_bytes(numbers.len(), width);
    let (mut pending, mut bits) = (0u128, 0u32);
    for number in numbers {
        pending |= u128::from(*number) << bits;
        bits += u32::from(width);
        while bits >= 32 {
            out.extend_from_slice(&(pending as u32).to_le_bytes());
            pending >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&(pending as u32).to_le_bytes());
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rows::Random;

    #[test]
    fn every_width_and_count() {
        let mut random = Random::new(3);
        for width in 0..=64 {
            for count in [1, 7, 64, 1000, 1023, 1024, 1025] {
                let numbers: Vec<u64> = (0..count).map(|_| random.next() & mask(width)).collect();
                let mut bytes = vec![9; 5];
                pack(&numbers, width, &mut bytes);
                assert_eq!(bytes.len(), 5 + packed_bytes(count, width));
                let packed = Packed::new(5, count, width);
                let read: Vec<u64> = (0..count).map(|index| packed.get(&bytes, index)).collect();
                assert_eq!(read, numbers, "{count} of {width} bits");
                for range in [0..count, count / 3..count, count / 2..count / 2] {
                    let mut out = vec![0; range.len()];
                    packed.each(&bytes, range.clone(), &mut out, |number| number);
                    assert_eq!(out, numbers[range], "{count} of {width} bits");
                }
            }
        }
    }
}
