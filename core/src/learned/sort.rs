//! A sort that learns the distribution of the keys from a sample, and puts each near its place at once.
//!
//! 1. A sorted sample gives a piecewise-linear distribution over equally wide cells of the key's range, of the keys
//!    themselves or of their logarithms, whichever spreads the sample better.
//! 2. It says for each key which of up to 4,096 buckets it is in: one scatter into the scratch, in which keys of a bucket
//!    keep their order.
//! 3. A bucket fits the processor's first cache. Its keys are counted into as many cells as there are keys, equally wide
//!    again, and put back; what is left out of order is within a cell and mended by insertion.
//!
//! What is in order but for a few values is not learned: those are taken out (`nearly`).
//!
//! Invariant: the result is that of `sort_unstable`; the distribution rises with the key, so that no estimate can put a
//! key on the wrong side of another bucket. Where it does not pay (few keys, sorted already, many equal ones, clusters that
//! no cell resolves) the standard library sorts.
//!
//! After Kristo et al., "The Case for a Learned Sorting Algorithm", SIGMOD 2020. Figures: `perf/src/bin/learned.rs`.

use super::nearly;

/// Fewer keys are sorted as they are.
const KEYS_MIN: usize = 4_096;
const SAMPLE: usize = 4_096;
/// Cells of the distribution: 8 KiB, in the first cache beside the ends of the buckets.
const CELLS: usize = 1_024;
/// Keys of a bucket: few enough for the first caches.
const BUCKET_KEYS: usize = 1_024;
/// More buckets than this crowd the TLB; beyond, they grow first. Measured with a million random pairs and 256 to 4,096 keys
/// in a bucket: 1.41, 1.45, 1.61, 1.65, 1.72 of the speed of `sort_unstable`.
const BUCKETS_USUAL: usize = 1_024;
const BUCKET_KEYS_USUAL: usize = 8_192;
const BUCKETS_MAX: usize = 4_096;
/// A bucket with more than this many times its share, or more keys than `u16` can count, is not counted but sorted.
const BUCKET_SHARES_MAX: usize = 8;
/// How crowded the buckets of the sample may be, as the sum of squares over the share of a bucket. Measured: 1 to 1.6 of
/// the sample where learning pays, 2.6 for z-order keys, where it does not.
const CROWD_MAX: usize = 2 * SAMPLE;
/// Keys of one cell that insertion may mend.
const CELL_KEYS_MAX: u16 = 16;

/// Memory that sorts use again.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    values: Vec<T>,
    /// Bucket of each value.
    buckets: Vec<u16>,
    ends: Vec<u32>,
}

impl<T> Scratch<T> {
    /// Bytes that it holds.
    pub fn size_bytes(&self) -> usize {
        let values = self.values.capacity() * size_of::<T>();
        values + self.buckets.capacity() * size_of::<u16>() + self.ends.capacity() * size_of::<u32>()
    }
}

/// What can be sorted by a number that rises with it.
pub trait Learnable: Copy + Ord + Default {
    /// `a <= b` implies `a.number() <= b.number()`.
    fn number(&self) -> u64;
}

impl Learnable for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

/// A key and the row that it is of.
impl Learnable for (u64, u32) {
    fn number(&self) -> u64 {
        self.0
    }
}

/// Sorts by key, then row.
pub fn sort_pairs(pairs: &mut [(u64, u32)], scratch: &mut Scratch<(u64, u32)>) {
    sort(pairs, scratch);
}

/// Sorts.
pub fn sort<T: Learnable>(values: &mut [T], scratch: &mut Scratch<T>) {
    // Positions are `u32`.
    let is_usual = (KEYS_MIN..=u32::MAX as usize).contains(&values.len());
    if !is_usual {
        return values.sort_unstable();
    }
    match order(values) {
        Order::Sorted => {}
        // Merges the runs.
        Order::Runs => values.sort(),
        Order::Mixed if nearly::sort(values, &mut scratch.values) => {}
        Order::Mixed => match Distribution::of(values) {
            Some(distribution) => scatter_and_finish(values, &distribution, scratch),
            None => values.sort_unstable(),
        },
    }
}

/// What order values are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Sorted,
    /// A few runs, rising or falling.
    Runs,
    Mixed,
}

/// Stops as soon as it knows.
fn order<T: Learnable>(values: &[T]) -> Order {
    const RUN: usize = 512;
    let falls_max = values.len() / RUN;
    let falls = values.windows(2).filter(|pair| pair[1] < pair[0]).take(falls_max + 1).count();
    let rises = || values.windows(2).filter(|pair| pair[0] < pair[1]).take(falls_max + 1).count();
    match falls {
        0 => Order::Sorted,
        _ if falls <= falls_max || rises() <= falls_max => Order::Runs,
        _ => Order::Mixed,
    }
}

/// The numbers of a sample in an order-preserving form that may be better spread.
#[derive(Clone, Copy, Debug)]
enum Domain {
    Linear,
    /// The bits of the float: its logarithm, piecewise linear.
    Logarithm,
}

impl Domain {
    #[inline]
    fn map(self, distance: u64) -> u64 {
        match self {
            Domain::Linear => distance,
            Domain::Logarithm => ((distance >> 1) as i64 as f64 + 1.0).to_bits() - 1.0_f64.to_bits(),
        }
    }
}

/// A point of the distribution: the rank at a cell's start and its rise over the cell.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    rank: u32,
    rise: u32,
}

/// A rising map of keys to buckets.
struct Distribution {
    least: u64,
    domain: Domain,
    scale: Scale,
    cells: Vec<Cell>,
    buckets: usize,
}

/// Maps 0..=most to 0..cells in 32.32 fixed point, rising.
#[derive(Clone, Copy, Debug)]
struct Scale {
    shift: u32,
    factor: u64,
    most: u64,
}

impl Scale {
    fn new(most: u64, cells: usize) -> Scale {
        let shift = (64 - most.leading_zeros()).saturating_sub(32);
        let factor = ((cells as u64) << 32) / ((most >> shift) + 1);
        Scale { shift, factor, most }
    }

    /// The cell in the upper 32 bits, where in the cell in the lower.
    #[inline]
    fn at(&self, number: u64) -> u64 {
        (number.min(self.most) >> self.shift) * self.factor
    }
}

impl Distribution {
    /// `None` where learning does not pay.
    fn of<T: Learnable>(values: &[T]) -> Option<Distribution> {
        let step = values.len() / SAMPLE.min(values.len());
        // An odd stride with a start that varies misses patterns that repeat.
        let at = |n: usize| (n * step + (n.wrapping_mul(0x9E37_79B1) >> 7) % step).min(values.len() - 1);
        let mut sample: Vec<u64> = (0..SAMPLE).map(|n| values[at(n)].number()).collect();
        sample.sort_unstable();
        let equal = sample.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if equal > SAMPLE / 4 {
            return None;
        }
        let learned = [Domain::Linear, Domain::Logarithm].map(|domain| Self::learn(&sample, domain));
        let (crowd, mut best) = learned.into_iter().min_by_key(|(crowd, _)| *crowd)?;
        best.buckets = bucket_count(values.len());
        (crowd <= CROWD_MAX).then_some(best)
    }

    /// The distribution of a sorted sample, and how crowded it makes the buckets.
    fn learn(sample: &[u64], domain: Domain) -> (usize, Distribution) {
        let (least, most) = (sample[0], sample[sample.len() - 1]);
        let scale = Scale::new(domain.map(most - least), CELLS);
        let mut starts = vec![0_usize; CELLS + 1];
        for number in sample {
            starts[(scale.at(domain.map(number - least)) >> 32) as usize + 1] += 1;
        }
        for cell in 0..CELLS {
            starts[cell + 1] += starts[cell];
        }
        // Of 2^32 less one.
        let rank = |before: usize| (before as u64 * u64::from(u32::MAX) / sample.len() as u64) as u32;
        let cell = |n: usize| Cell { rank: rank(starts[n]), rise: rank(starts[n + 1]) - rank(starts[n]) };
        let cells = (0..CELLS).map(cell).collect();
        let distribution = Distribution { least, domain, scale, cells, buckets: CELLS };
        let mut counts = vec![0_usize; CELLS];
        sample.iter().for_each(|number| counts[distribution.bucket(*number)] += 1);
        let share = sample.len().div_ceil(CELLS);
        let crowd = counts.iter().map(|count| count * count / share).sum();
        (crowd, distribution)
    }

    fn bucket(&self, number: u64) -> usize {
        self.bucket_in(self.domain, number)
    }

    /// As `bucket`; to be called with a constant domain where it matters.
    #[inline(always)]
    fn bucket_in(&self, domain: Domain, number: u64) -> usize {
        let at = self.scale.at(domain.map(number.saturating_sub(self.least)));
        // The scale's range is the number of cells.
        let cell = self.cells[(at >> 32) as usize % CELLS];
        let rank = u64::from(cell.rank) + ((u64::from(cell.rise) * (at & 0xFFFF_FFFF)) >> 32);
        // The rank is at most 2^32 - 1.
        ((rank * self.buckets as u64) >> 32) as usize
    }
}

/// Notes the bucket of each value, and counts.
fn assign<T: Learnable>(
    values: &[T],
    buckets: &mut [u16],
    counts: &mut [u32],
    bucket: impl Fn(u64) -> usize,
) {
    for (value, place) in values.iter().zip(buckets) {
        let bucket = bucket(value.number());
        counts[bucket] += 1;
        *place = bucket as u16;
    }
}

fn scatter_and_finish<T: Learnable>(values: &mut [T], distribution: &Distribution, scratch: &mut Scratch<T>) {
    let Scratch { values: scattered, buckets, ends } = scratch;
    scattered.resize(values.len().max(scattered.len()), T::default());
    ends.clear();
    ends.resize(distribution.buckets, 0);
    buckets.resize(values.len(), 0);
    match distribution.domain {
        Domain::Linear => {
            assign(values, buckets, ends, |number| distribution.bucket_in(Domain::Linear, number))
        }
        Domain::Logarithm => {
            assign(values, buckets, ends, |number| distribution.bucket_in(Domain::Logarithm, number));
        }
    }
    let mut end = 0;
    for count in ends.iter_mut() {
        (*count, end) = (end, end + *count);
    }
    for (value, bucket) in values.iter().zip(buckets.iter()) {
        let place = &mut ends[usize::from(*bucket)];
        scattered[*place as usize] = *value;
        *place += 1;
    }
    let share = values.len() / distribution.buckets;
    let mut start = 0;
    let mut places = Vec::new();
    for end in ends.iter() {
        let end = *end as usize;
        finish(&scattered[start..end], &mut values[start..end], share * BUCKET_SHARES_MAX, &mut places);
        start = end;
    }
}

/// Sorts one bucket from where it was scattered to where it belongs.
fn finish<T: Learnable>(from: &[T], to: &mut [T], most: usize, places: &mut Vec<u16>) {
    const COUNTED_MAX: usize = u16::MAX as usize;
    if from.len() > most.min(COUNTED_MAX) || from.len() < 2 {
        to.copy_from_slice(from);
        return to.sort_unstable();
    }
    let number = |(least, most): (u64, u64), value: &T| (least.min(value.number()), most.max(value.number()));
    let (least, greatest) = from.iter().fold((u64::MAX, 0), number);
    let cells = from.len();
    let scale = Scale::new(greatest - least, cells);
    let cell = |value: &T| (scale.at(value.number() - least) >> 32) as usize;
    places.clear();
    places.resize(cells, 0);
    let mut fullest = 0;
    for value in from {
        let count = &mut places[cell(value)];
        *count += 1;
        fullest = fullest.max(*count);
    }
    let mut end = 0;
    for count in places.iter_mut() {
        (*count, end) = (end, end + *count);
    }
    for value in from {
        let place = &mut places[cell(value)];
        to[usize::from(*place)] = *value;
        *place += 1;
    }
    if fullest > CELL_KEYS_MAX {
        let mut start = 0;
        for end in places.iter() {
            let end = usize::from(*end);
            if end - start > usize::from(CELL_KEYS_MAX) {
                to[start..end].sort_unstable();
            }
            start = end;
        }
    }
    insertion_sort(to);
}

fn bucket_count(values: usize) -> usize {
    let small = (values / BUCKET_KEYS).clamp(1, BUCKETS_USUAL);
    small.max((values / BUCKET_KEYS_USUAL).min(BUCKETS_MAX))
}

fn insertion_sort<T: Learnable>(values: &mut [T]) {
    for index in 1..values.len() {
        let value = values[index];
        let mut place = index;
        while place > 0 && value < values[place - 1] {
            values[place] = values[place - 1];
            place -= 1;
        }
        values[place] = value;
    }
}

#[cfg(test)]
mod tests;
