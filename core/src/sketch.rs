//! Sketches: about how many different values a column has, in 256 bytes, however many there are.
//!
//! HyperLogLog (Flajolet et al., AofA 2007): of the hashes whose first 8 bits name a register, it keeps the longest run of
//! zeros behind those bits. The estimate is the one of Ertl (arXiv:1702.01284, algorithm 6), which needs no tables of
//! corrections and holds from a few values on; its standard error is 1.04 / 16 = 6.5 %. The sketch of two sets of values
//! together has the larger of each two registers, so that sketches of segments add up to that of their table.

use crate::column::{ColumnView, Layout};
use crate::types::PgType;

/// Bits of a hash that name a register.
const REGISTER_BITS: u32 = 8;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// A hash has at most so many zeros behind the bits that name its register; registers hold one more.
const ZEROS_MAX: u32 = u64::BITS - REGISTER_BITS;
const RANK_MAX: u8 = ZEROS_MAX as u8 + 1;
/// In a file the registers stand alone if fewer are set: number and rank of each. Else all stand there.
const DENSE: u8 = 128;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sketch(Box<[u8; REGISTERS]>);

impl Sketch {
    /// Bytes of memory behind it.
    pub(crate) const BYTES: usize = REGISTERS;

    /// That of no values.
    pub(crate) fn new() -> Sketch {
        Sketch(Box::new([0; REGISTERS]))
    }

    /// Adds the first `rows` values of a column; NULLs are none.
    pub(crate) fn add(&mut self, pg_type: PgType, column: ColumnView<'_>, rows: usize) {
        let all = column.valid().is_none();
        match Layout::of(pg_type) {
            Layout::Fixed(8) if all => {
                let values = column.values().as_chunks::<8>().0;
                values[..rows].iter().for_each(|bytes| self.insert(mix(u64::from_le_bytes(*bytes))));
            }
            Layout::Fixed(4) if all => {
                let values = column.values().as_chunks::<4>().0;
                values[..rows].iter().for_each(|bytes| self.insert(mix(u32::from_le_bytes(*bytes).into())));
            }
            Layout::Fixed(_) | Layout::Bits | Layout::Bytes => {
                (0..rows).filter_map(|row| column.value(row)).for_each(|bytes| self.insert(hash(bytes)));
            }
        }
    }

    #[inline]
    fn insert(&mut self, hash: u64) {
        let register = (hash >> ZEROS_MAX) as usize;
        // A bit behind the others ends the run of zeros.
        let rank = (hash << REGISTER_BITS | 1 << (REGISTER_BITS - 1)).leading_zeros() as u8 + 1;
        self.0[register] = self.0[register].max(rank);
    }

    /// Adds the values of another.
    pub(crate) fn merge(&mut self, other: &Sketch) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(one, other)| *one = (*one).max(*other));
    }

    /// About how many different values it has.
    pub(crate) fn estimate(&self) -> f64 {
        let mut counts = [0.0; RANK_MAX as usize + 1];
        self.0.iter().for_each(|rank| counts[usize::from(*rank)] += 1.0);
        let registers = REGISTERS as f64;
        let mut sum = registers * tau(1.0 - counts[usize::from(RANK_MAX)] / registers);
        for count in counts[1..usize::from(RANK_MAX)].iter().rev() {
            sum = 0.5 * (sum + count);
        }
        sum += registers * sigma(counts[0] / registers);
        (registers * registers / (2.0 * std::f64::consts::LN_2 * sum)).round()
    }

    /// Appends its bytes: how many registers are set u8, number and rank of each; or 128 and the ranks of all.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let set = || (0..=u8::MAX).zip(self.0.iter()).filter(|(_, rank)| **rank > 0);
        match u8::try_from(set().count()) {
            Ok(count) if count < DENSE => {
                out.push(count);
                set().for_each(|(register, rank)| out.extend_from_slice(&[register, *rank]));
            }
            _ => {
                out.push(DENSE);
                out.extend_from_slice(&self.0[..]);
            }
        }
    }

    /// Inverse of `encode`, with the bytes behind it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Sketch, &[u8])> {
        let (count, rest) = bytes.split_first()?;
        let mut sketch = Sketch::new();
        if *count < DENSE {
            let pairs = rest.get(..usize::from(*count) * 2)?.as_chunks::<2>().0;
            pairs.iter().for_each(|[register, rank]| sketch.0[usize::from(*register)] = *rank);
        } else {
            *sketch.0 = *rest.first_chunk()?;
        }
        let mut again = Vec::new();
        sketch.encode(&mut again);
        let rest = bytes.strip_prefix(&*again)?;
        sketch.0.iter().all(|rank| *rank <= RANK_MAX).then_some((sketch, rest))
    }
}

/// The last step of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of the result depends on all.
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

/// Files hold what comes of it: it is the same everywhere and stays so.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(all ^ u64::from_le_bytes(last))
}

/// x + x^2 + 2 x^4 + 4 x^8 + ...
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut factor) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// A third of 1 - x - (1 - x^(1/2))^2 / 2 - (1 - x^(1/4))^2 / 4 - ...
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut factor) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x).powi(2) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::ColumnBuf;

    fn of(pg_type: PgType, values: impl Iterator<Item = Option<Vec<u8>>>) -> Sketch {
        let mut column = ColumnBuf::with_capacity(pg_type, 0, 0);
        let mut rows = 0;
        for value in values {
            column.push(value.as_deref());
            rows += 1;
        }
        let mut sketch = Sketch::new();
        sketch.add(pg_type, column.view(), rows);
        sketch
    }

    fn ints(values: impl Iterator<Item = i64>) -> Sketch {
        of(PgType::Int8, values.map(|value| Some(value.to_le_bytes().to_vec())))
    }

    #[test]
    fn estimates_are_near() {
        assert_eq!(Sketch::new().estimate(), 0.0);
        assert_eq!(ints((0..500).map(|n| n % 2)).estimate(), 2.0);
        let mut worst: f64 = 1.0;
        for many in [10, 100, 300, 700, 1_000, 5_000, 50_000, 300_000] {
            for seed in 0..5 {
                let estimate = ints((0..many).map(|n| n * 3 + seed * 1_000_003)).estimate();
                let factor = estimate / many as f64;
                worst = worst.max(factor.max(1.0 / factor));
            }
        }
        // Four standard errors.
        assert!(worst < 1.26, "{worst}");
    }

    #[test]
    fn all_types_are_counted_without_nulls() {
        let text = |n: i64| (n % 3 != 0).then(|| format!("a long text of number {}", n % 7).into_bytes());
        assert_eq!(of(PgType::Text, (0..1_000).map(text)).estimate(), 7.0);
        assert_eq!(of(PgType::Bool, (0..9).map(|n| Some(vec![n % 2]))).estimate(), 2.0);
        let some = |n: i64| (n % 2 == 0).then(|| n.to_le_bytes().to_vec());
        let about_20 = |sketch: Sketch| (18.0..=22.0).contains(&sketch.estimate());
        assert!(about_20(of(PgType::Int8, (0..40).map(some))));
        assert!(about_20(of(PgType::Int4, (0..20_i32).map(|n| Some(n.to_le_bytes().to_vec())))));
        let zeros = |n: usize| Some(vec![0; n % 20]);
        assert!(about_20(of(PgType::Bytea, (0..100).map(zeros))));
    }

    #[test]
    fn sketches_add_up() {
        let mut all = ints(0..40_000);
        all.merge(&ints(20_000..60_000));
        assert_eq!(all, ints(0..60_000));
    }

    #[test]
    fn bytes_are_read_back() {
        for many in [0, 1, 100, 127, 500, 100_000] {
            let sketch = ints(0..many);
            let mut bytes = Vec::new();
            sketch.encode(&mut bytes);
            bytes.push(9);
            assert_eq!(Sketch::decode(&bytes), Some((sketch, &[9][..])));
            assert!((0..bytes.len() - 1).all(|length| Sketch::decode(&bytes[..length]).is_none()));
        }
        assert_eq!(Sketch::decode(&[1, 0, RANK_MAX + 1]), None);
        assert_eq!(Sketch::decode(&[1, 0, 0]), None);
        assert_eq!(Sketch::decode(&[2, 5, 1, 4, 1]), None);
        assert_eq!(Sketch::decode(&[DENSE + 1; 300]), None);
    }
}
