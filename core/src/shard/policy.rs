//! What is worth doing in the background, and how fast: functions of numbers only.
//!
//! **Which segments are merged** ([`choose`]). The segments of a range stand in order of age, and newer ones hold newer
//! versions, so only neighbours are merged and the result takes their place. What counts for a reader is the *depth*:
//! how many segments may hold one key. Three rules, the first that applies:
//! 1. A segment half of whose rows ended before every snapshot is rewritten alone: garbage is collected.
//! 2. The largest segment takes in all newer ones when those that overlap it have come to half its size. So a range
//!    takes at most one and a half times its live bytes, and a uniform update is rewritten about twice.
//! 3. A range deeper than its limit merges those neighbours that cost fewest bytes for the room they make. Room counts
//!    more than its size: k free places take in k segments before the next merge, so `k * (k + 1) / 2` of them wait in
//!    all. Small segments are thus merged many at a time, and each byte once or twice before rule 2 takes it.
//!
//! Segments that do not overlap, as a rising key makes them, are left alone however many they are, up to a limit that
//! bounds open files.
//!
//! **How fast** ([`flush_share_percent`], [`merge_share_percent`]). When other work of the core waits, background work
//! rests after each slice (`pace`), so that it takes a quarter of the core. The nearer memory and log come to their
//! limits, the more a flush takes, up to all; the nearer the depth of its range, the more a merge. While memory presses,
//! a merge steps back, for it frees none.

use std::ops::Range;

/// A segment with this share of droppable rows, in percent, is rewritten alone.
const GARBAGE_PERCENT: u64 = 50;
/// The same when the ends of versions take too much memory.
const GARBAGE_PERCENT_PRESSED: u64 = 10;
/// Newer segments are merged into the largest when they have come to this share of it, in percent.
const MERGE_PERCENT: u64 = 50;
/// But only if this share of the largest, in percent, has ended: a merge of rows that are all new frees nothing.
const REPLACED_PERCENT: u64 = 25;
/// Fewer segments on top of each other are left alone.
const MERGE_DEPTH_MIN: usize = 4;
/// Segments of one range, whether they overlap or not, for each that may lie on top of each other.
const FILES_PER_DEPTH: usize = 8;
/// Ends in one merge that some snapshot may still need: the manifest takes them in one change.
pub const HELD_MAX: u64 = 1 << 20;
/// Share of the core for background work when nothing presses, in percent.
const SHARE_PERCENT_MIN: u64 = 25;
/// Background work runs at full speed when memory, log or depth have come to this share of their limit, in percent.
const FULL_SPEED_PERCENT: u64 = 85;
/// Below this share it runs at its slowest.
const SLOW_PERCENT: u64 = 60;

/// A segment as the choice sees it: the part in the range's span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentStats<'a> {
    /// Versions.
    pub rows: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Versions that ended at or before every snapshot: a merge drops them.
    pub ended: u64,
    /// Other versions with an end.
    pub held: u64,
    /// Its first key.
    pub first: &'a [u8],
    /// Its last key.
    pub last: &'a [u8],
}

/// Bounds of the choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Segments that may hold one key.
    pub depth_max: usize,
    /// Rows of all inputs of one merge: it keeps four bytes for each.
    pub rows_max: u64,
    /// The ends of versions take too much memory.
    pub ends_pressed: bool,
}

impl SegmentStats<'_> {
    /// Bytes that a merge writes for it.
    fn live_bytes(&self) -> u64 {
        let live = self.rows.saturating_sub(self.ended);
        u64::try_from(u128::from(self.bytes) * u128::from(live) / u128::from(self.rows.max(1)))
            .expect("at most its bytes")
    }

    fn overlaps(&self, other: &SegmentStats<'_>) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn is_garbage(&self, limits: &Limits) -> bool {
        let percent = if limits.ends_pressed { GARBAGE_PERCENT_PRESSED } else { GARBAGE_PERCENT };
        self.ended > 0 && self.ended * 100 >= self.rows * percent
    }
}

/// The segments to merge next, oldest first as they are given; `None` if all is well.
pub fn choose(segments: &[SegmentStats<'_>], limits: &Limits) -> Option<Range<usize>> {
    garbage(segments, limits)
        .or_else(|| into_largest(segments, limits))
        .or_else(|| crowded(segments, limits))
        .filter(|chosen| fits(&segments[chosen.clone()], limits))
}

/// How many segments may hold one key.
pub fn depth(segments: &[SegmentStats<'_>]) -> usize {
    deepest(segments).len()
}

fn fits(inputs: &[SegmentStats<'_>], limits: &Limits) -> bool {
    let held: u64 = inputs.iter().map(|input| input.held).sum();
    let rows: u64 = inputs.iter().map(|input| input.rows).sum();
    held <= HELD_MAX && (rows <= limits.rows_max || inputs.len() == 1)
}

fn garbage(segments: &[SegmentStats<'_>], limits: &Limits) -> Option<Range<usize>> {
    let worst = (0..segments.len()).filter(|index| segments[*index].is_garbage(limits));
    let index = worst.max_by_key(|index| segments[*index].ended)?;
    Some(index..index + 1)
}

fn into_largest(segments: &[SegmentStats<'_>], limits: &Limits) -> Option<Range<usize>> {
    let (index, largest) = segments.iter().enumerate().rev().max_by_key(|(_, segment)| segment.bytes)?;
    let newer = segments[index + 1..].iter().filter(|newer| newer.overlaps(largest));
    let (count, bytes) = newer.fold((0, 0), |(count, bytes), newer| (count + 1, bytes + newer.live_bytes()));
    let due = bytes * 100 >= largest.bytes * MERGE_PERCENT
        && largest.ended * 100 >= largest.rows * REPLACED_PERCENT
        && count + 1 >= MERGE_DEPTH_MIN.min(limits.depth_max);
    let all = index..segments.len();
    (due && fits(&segments[all.clone()], limits)).then_some(all)
}

fn crowded(segments: &[SegmentStats<'_>], limits: &Limits) -> Option<Range<usize>> {
    let deep = deepest(segments);
    if deep.len() > limits.depth_max {
        return cheapest(segments, &deep, limits);
    }
    let all: Vec<usize> = (0..segments.len()).collect();
    (all.len() > limits.depth_max * FILES_PER_DEPTH).then(|| cheapest(segments, &all, limits)).flatten()
}

/// The segments that may hold the key which most may hold. That is the first key of one of them.
fn deepest(segments: &[SegmentStats<'_>]) -> Vec<usize> {
    let holding = |key: &[u8]| -> Vec<usize> {
        let holds = |index: &usize| segments[*index].first <= key && key <= segments[*index].last;
        (0..segments.len()).filter(holds).collect()
    };
    segments.iter().map(|segment| holding(segment.first)).max_by_key(Vec::len).unwrap_or_default()
}

/// The neighbours whose merge costs least for the room it makes among `deep`.
fn cheapest(segments: &[SegmentStats<'_>], deep: &[usize], limits: &Limits) -> Option<Range<usize>> {
    let mut best: Option<(f64, Range<usize>)> = None;
    for (from, first) in deep.iter().enumerate() {
        let (mut bytes, mut next) = (0, *first);
        for (to, last) in deep.iter().enumerate().skip(from) {
            bytes += segments[next..=*last].iter().map(SegmentStats::live_bytes).sum::<u64>();
            next = last + 1;
            let freed = to - from;
            let room = freed * (freed + 1) / 2;
            let cost = bytes as f64 / room as f64;
            let window = *first..next;
            let better = best.as_ref().is_none_or(|(least, _)| cost < *least);
            if freed > 0 && better && fits(&segments[window.clone()], limits) {
                best = Some((cost, window));
            }
        }
    }
    best.map(|(_, window)| window)
}

/// How near to its limit something is, in percent.
pub fn percent(value: u64, limit: u64) -> u64 {
    u64::try_from(u128::from(value) * 100 / u128::from(limit.max(1))).unwrap_or(u64::MAX)
}

/// The share of the core that a flush takes when other work waits, in percent. `memory` and `log` are in percent of
/// their limits; `awaited`: somebody waits for the flush itself.
pub fn flush_share_percent(memory: u64, log: u64, awaited: bool) -> u64 {
    if awaited { 100 } else { share_percent(memory.max(log)) }
}

/// The same for a merge, by the depth of its range in percent of the limit.
pub fn merge_share_percent(memory: u64, depth: u64, awaited: bool) -> u64 {
    match (awaited, memory >= FULL_SPEED_PERCENT) {
        (true, _) => 100,
        (false, true) => SHARE_PERCENT_MIN,
        (false, false) => share_percent(depth),
    }
}

fn share_percent(pressure: u64) -> u64 {
    let over = pressure.clamp(SLOW_PERCENT, FULL_SPEED_PERCENT) - SLOW_PERCENT;
    SHARE_PERCENT_MIN + over * (100 - SHARE_PERCENT_MIN) / (FULL_SPEED_PERCENT - SLOW_PERCENT)
}

/// How much memory memtables and block cache may take, of what they are to take together with what must be in memory:
/// footers, ends of versions and log buffers. What must be there shrinks the cache to a quarter, then the memtables to
/// a quarter.
pub fn split_memory(memtable_bytes: usize, cache_bytes: usize, resident_bytes: usize) -> (usize, usize) {
    let cache = cache_bytes.saturating_sub(resident_bytes).max(cache_bytes / 4);
    let taken = cache_bytes - cache;
    let memtables = memtable_bytes.saturating_sub(resident_bytes.saturating_sub(taken));
    (memtables.max(memtable_bytes / 4), cache)
}

#[cfg(test)]
mod tests;
