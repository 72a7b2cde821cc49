use super::*;
use crate::env::Rng;

const LIMITS: Limits = Limits { depth_max: 8, rows_max: u64::MAX, ends_pressed: false };

/// A segment over all keys.
fn wide(bytes: u64, ended: u64) -> SegmentStats<'static> {
    SegmentStats { rows: bytes, bytes, ended, held: 0, first: b"a", last: b"z" }
}

fn wides(bytes: &[u64]) -> Vec<SegmentStats<'static>> {
    bytes.iter().map(|bytes| wide(*bytes, 0)).collect()
}

#[test]
fn each_rule() {
    assert_eq!(choose(&[], &LIMITS), None);
    assert_eq!(choose(&wides(&[100]), &LIMITS), None);
    assert_eq!(choose(&[wide(100, 50)], &LIMITS), Some(0..1), "garbage");
    assert_eq!(choose(&[wide(100, 49)], &LIMITS), None);
    let pressed = Limits { ends_pressed: true, ..LIMITS };
    assert_eq!(choose(&[wide(100, 10)], &pressed), Some(0..1));
    assert_eq!(choose(&[wide(100, 0)], &pressed), None);
    assert_eq!(choose(&[wide(9, 9), wide(100, 0), wide(50, 25)], &LIMITS), Some(2..3), "most garbage first");
    assert_eq!(choose(&wides(&[100, 20, 20]), &LIMITS), None);
    let updated = [wide(30, 0), wide(100, 25), wide(20, 0), wide(20, 0), wide(20, 0)];
    assert_eq!(choose(&updated[1..], &LIMITS), Some(0..4), "half of the largest");
    assert_eq!(choose(&updated, &LIMITS), Some(1..5));
    assert_eq!(choose(&updated[1..4], &LIMITS), None);
    assert_eq!(choose(&wides(&[100, 20, 20, 20]), &LIMITS), None, "all rows are new");
    assert_eq!(choose(&wides(&[1_000, 1, 1, 1, 1, 1, 1, 1]), &LIMITS), None);
    assert_eq!(choose(&wides(&[1_000, 1, 1, 1, 1, 1, 1, 1, 1]), &LIMITS), Some(1..9), "too many");
    assert_eq!(choose(&wides(&[1_000, 50, 1, 1, 1, 1, 1, 1, 1]), &LIMITS), Some(2..9), "only the small ones");
}

#[test]
fn what_a_merge_cannot_hold_is_left_alone() {
    let few_rows = Limits { rows_max: 10, ..LIMITS };
    assert_eq!(choose(&wides(&[1_000, 1, 1, 1, 1, 1, 1, 1, 1]), &few_rows), Some(1..9));
    assert_eq!(choose(&wides(&[10, 10, 10, 10, 10, 10, 10, 10, 10]), &few_rows), None);
    assert_eq!(choose(&[wide(100, 50)], &few_rows), Some(0..1), "garbage is collected in any case");
    let held = SegmentStats { held: HELD_MAX, ..wide(100, 50) };
    assert_eq!(choose(&[held], &LIMITS), Some(0..1));
    assert_eq!(choose(&[SegmentStats { held: HELD_MAX + 1, ..held }], &LIMITS), None);
}

#[test]
fn segments_side_by_side_are_left_alone() {
    let keys: Vec<[u8; 2]> = (0..200u8).map(|n| [n, 0]).collect();
    let segment = |n: usize, width: usize| SegmentStats {
        rows: 10,
        bytes: 10,
        ended: 0,
        held: 0,
        first: &keys[n],
        last: &keys[n + width],
    };
    let apart: Vec<_> = (0..60).map(|n| segment(2 * n, 1)).collect();
    assert_eq!((depth(&apart), choose(&apart, &LIMITS)), (1, None));
    let touching: Vec<_> = (0..60).map(|n| segment(2 * n, 2)).collect();
    assert_eq!((depth(&touching), choose(&touching, &LIMITS)), (2, None));
    let many: Vec<_> = (0..65).map(|n| segment(2 * n, 1)).collect();
    assert_eq!(choose(&many, &LIMITS), Some(0..65), "too many files");
}

/// A range that takes updates of uniformly chosen rows, or new rows, and is flushed now and then.
struct Simulated {
    /// Rows, and those that have ended, oldest segment first. A byte is a row.
    segments: Vec<(u64, u64)>,
    written: u64,
    flushed: u64,
    depth_max: usize,
}

impl Simulated {
    fn new(rows: u64) -> Simulated {
        let segments = if rows > 0 { vec![(rows, 0)] } else { Vec::new() };
        Simulated { segments, written: 0, flushed: 0, depth_max: 0 }
    }

    fn flush(&mut self, rows: u64, updates: bool) {
        let live: u64 = self.segments.iter().map(|(rows, ended)| rows - ended).sum();
        for (rows_here, ended) in &mut self.segments {
            // Each live row is as likely to be updated as any other.
            let hit = u128::from(rows) * u128::from(*rows_here - *ended) / u128::from(live.max(1));
            *ended += if updates { hit as u64 } else { 0 };
        }
        self.segments.push((rows, 0));
        self.flushed += rows;
        self.merge_all();
    }

    fn merge_all(&mut self) {
        for _ in 0..20 {
            let stats: Vec<_> = self.segments.iter().map(|(rows, ended)| wide(*rows, *ended)).collect();
            let Some(chosen) = choose(&stats, &LIMITS) else {
                self.depth_max = self.depth_max.max(depth(&stats));
                return;
            };
            let live: u64 = self.segments[chosen.clone()].iter().map(|(rows, ended)| rows - ended).sum();
            self.written += live;
            self.segments.splice(chosen, (live > 0).then_some((live, 0)));
        }
        panic!("merging does not come to rest: {:?}", self.segments);
    }

    fn space(&self) -> f64 {
        let rows: u64 = self.segments.iter().map(|(rows, _)| rows).sum();
        let live: u64 = self.segments.iter().map(|(rows, ended)| rows - ended).sum();
        rows as f64 / live.max(1) as f64
    }
}

/// Bytes that merges write for each byte flushed, the depth and the space, over thousands of flushes.
#[test]
fn rewrites_depth_and_space_are_bounded() {
    // Size of the range in flushes, and the rewrites that are allowed.
    for (flushes, rewrites_max) in [(3, 1.8), (10, 2.3), (40, 3.1), (160, 4.1), (640, 5.0)] {
        let mut range = Simulated::new(flushes * 1_000);
        let mut rng = Rng::new(flushes);
        let mut space_max: f64 = 0.0;
        for _ in 0..5_000 {
            range.flush(500 + rng.below(1_000), true);
            space_max = space_max.max(range.space());
        }
        let rewrites = range.written as f64 / range.flushed as f64;
        assert!(rewrites <= rewrites_max, "{rewrites} rewrites with {flushes} flushes");
        assert!(range.depth_max <= LIMITS.depth_max && space_max <= 1.7, "{} {space_max}", range.depth_max);
    }
}

#[test]
fn a_growing_range_is_rewritten_by_the_logarithm() {
    let mut range = Simulated::new(0);
    let mut rng = Rng::new(7);
    for _ in 0..5_000 {
        range.flush(500 + rng.below(1_000), false);
    }
    let rewrites = range.written as f64 / range.flushed as f64;
    assert!(rewrites <= 10.0 && range.depth_max <= LIMITS.depth_max, "{rewrites} {}", range.depth_max);
}

#[test]
fn speed_follows_pressure() {
    assert_eq!((flush_share_percent(0, 0, false), flush_share_percent(60, 60, false)), (25, 25));
    assert_eq!((flush_share_percent(85, 0, false), flush_share_percent(0, 300, false)), (100, 100));
    let shares: Vec<_> = (0..100).map(|memory| flush_share_percent(memory, 0, false)).collect();
    assert!(shares.is_sorted() && shares[70] > 25 && shares[70] < shares[80]);
    assert_eq!((flush_share_percent(0, 0, true), merge_share_percent(99, 0, true)), (100, 100));
    assert_eq!((merge_share_percent(0, 50, false), merge_share_percent(0, 112, false)), (25, 100));
    assert_eq!(merge_share_percent(90, 112, false), 25, "a merge frees no memory");
    assert_eq!((percent(50, 200), percent(1, 0), percent(u64::MAX, 1)), (25, 100, u64::MAX));
}

#[test]
fn memory_is_split() {
    assert_eq!(split_memory(800, 400, 0), (800, 400));
    assert_eq!(split_memory(800, 400, 100), (800, 300));
    assert_eq!(split_memory(800, 400, 300), (800, 100));
    assert_eq!(split_memory(800, 400, 500), (600, 100));
    assert_eq!(split_memory(800, 400, 5_000), (200, 100));
}
