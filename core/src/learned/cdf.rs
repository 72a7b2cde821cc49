//! How many rows lie below a key, learned from what segments keep in memory anyway: their fences.
//!
//! Each source gives points (key, rows below it); between two points rows are taken as evenly spread. The sum of
//! sources is of the same form, thinned to [`KNOTS_MAX`] points of about equal weight, so that it costs some kilobytes
//! whatever the table's size.
//!
//! Invariants: rows below a key rise with the key, from 0 to all; where sources have a point and nothing was thinned they
//! are exact. Good for choosing plans and cutting ranges, never for answers.

/// Most points of a distribution: a point stands for at most 1/512 of the rows.
pub const KNOTS_MAX: usize = 1_024;

/// A key and the rows below it. Two knots of one key mean that rows have that key.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Knot {
    key: u64,
    rows: f64,
}

/// The distribution of the keys of a table, a range or a segment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cdf {
    /// Rising in both.
    knots: Vec<Knot>,
}

impl Cdf {
    /// The distribution of one sorted source: rising keys with the rows below them, the last with all of its rows.
    pub fn of(points: impl IntoIterator<Item = (u64, u64)>) -> Cdf {
        let knots: Vec<Knot> =
            points.into_iter().map(|(key, rows)| Knot { key, rows: rows as f64 }).collect();
        debug_assert!(knots.is_sorted_by(|a, b| a.key <= b.key && a.rows <= b.rows), "points do not rise");
        Cdf { knots: thin(knots) }
    }

    /// The distribution of keys that are all there, sorted.
    pub fn of_keys(keys: &[u64]) -> Cdf {
        let step = keys.len().div_ceil(KNOTS_MAX).max(1);
        let end = keys.last().map(|last| (last.saturating_add(1), keys.len() as u64));
        Cdf::of(keys.iter().copied().zip(0..).step_by(step).chain(end))
    }

    /// The distribution of all rows of some distributions.
    pub fn merge(parts: &[Cdf]) -> Cdf {
        if let [one] = parts {
            return one.clone();
        }
        let mut keys: Vec<u64> =
            parts.iter().flat_map(|part| part.knots.iter().map(|knot| knot.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut knots = Vec::with_capacity(keys.len());
        for key in keys {
            let below: f64 = parts.iter().map(|part| part.rows_below(key)).sum();
            let through: f64 = parts.iter().map(|part| part.rows_through(key)).sum();
            knots.push(Knot { key, rows: below });
            if through > below {
                knots.push(Knot { key, rows: through });
            }
        }
        Cdf { knots: thin(knots) }
    }

    /// All rows.
    pub fn rows(&self) -> f64 {
        self.knots.last().map_or(0.0, |last| last.rows)
    }

    /// Rows whose key is below this one.
    pub fn rows_below(&self, key: u64) -> f64 {
        self.rows_at(self.knots.partition_point(|knot| knot.key < key), key)
    }

    /// Rows whose key is at most this one, where knots tell.
    fn rows_through(&self, key: u64) -> f64 {
        let after = self.knots.partition_point(|knot| knot.key <= key);
        match self.knots[..after].last() {
            Some(last) if last.key == key => last.rows,
            _ => self.rows_at(after, key),
        }
    }

    /// Interpolates between the knot at `after`, whose key is not below, and the one before it.
    fn rows_at(&self, after: usize, key: u64) -> f64 {
        let Some(high) = self.knots.get(after) else { return self.rows() };
        let Some(low) = after.checked_sub(1).map(|before| self.knots[before]) else {
            return high.rows.min(0.0);
        };
        let share = (key - low.key) as f64 / (high.key - low.key) as f64;
        low.rows + (high.rows - low.rows) * share
    }

    /// The share of the rows whose key is below this one, 0 to 1.
    pub fn fraction_below(&self, key: u64) -> f64 {
        let rows = self.rows();
        if rows > 0.0 { self.rows_below(key) / rows } else { 0.0 }
    }

    /// The share of the rows with keys from `start` up to `end`, which `None` puts beyond all.
    pub fn fraction_in(&self, start: u64, end: Option<u64>) -> f64 {
        let below = |end| self.fraction_below(end);
        (end.map_or(1.0, below) - self.fraction_below(start)).max(0.0)
    }

    /// A key with about this share of the rows below it; `None` if there are no rows.
    pub fn quantile(&self, fraction: f64) -> Option<u64> {
        let wanted = self.rows() * fraction.clamp(0.0, 1.0);
        let after = self.knots.partition_point(|knot| knot.rows < wanted);
        let high = self.knots.get(after).or(self.knots.last())?;
        let low = self.knots[after.saturating_sub(1)];
        let rise = high.rows - low.rows;
        if rise <= 0.0 {
            return Some(high.key);
        }
        let way = (high.key - low.key) as f64 * ((wanted - low.rows) / rise).clamp(0.0, 1.0);
        Some(low.key.saturating_add(way as u64).min(high.key))
    }

    /// At most `parts - 1` keys, strictly rising, that cut the rows into parts of about equal size.
    pub fn split_points(&self, parts: usize) -> Vec<u64> {
        let at = |part: usize| self.quantile(part as f64 / parts as f64);
        let mut points: Vec<u64> = (1..parts).filter_map(at).collect();
        points.dedup();
        // Nothing is below the first key.
        points.retain(|point| self.rows_below(*point) > 0.0);
        points
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.knots.capacity() * size_of::<Knot>()
    }
}

/// Leaves out knots that stand for little: the first, the last, and one of each share stay.
fn thin(mut knots: Vec<Knot>) -> Vec<Knot> {
    let Some(last) = knots.last().copied().filter(|_| knots.len() > KNOTS_MAX) else { return knots };
    let share = last.rows / (KNOTS_MAX / 2 - 1) as f64;
    let mut kept: Vec<Knot> = Vec::with_capacity(KNOTS_MAX);
    for pair in knots.windows(2) {
        // A knot stays that begins a share or a leap.
        let from = kept.last().map_or(-share, |knot: &Knot| knot.rows);
        if pair[1].rows - from >= share {
            kept.push(pair[0]);
        }
    }
    kept.push(last);
    knots.clear();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state ^ *state >> 29
    }

    fn key_sets(n: usize) -> Vec<(&'static str, Vec<u64>)> {
        let mut state = 1;
        let mut random = |map: &dyn Fn(u64) -> u64| -> Vec<u64> {
            let mut keys: Vec<u64> = (0..n).map(|_| map(next(&mut state))).collect();
            keys.sort_unstable();
            keys
        };
        vec![
            ("random", random(&|bits| bits)),
            ("sequential", (0..n as u64).collect()),
            ("to the end", (u64::MAX - n as u64 + 1..=u64::MAX).collect()),
            ("squares", random(&|bits| (bits >> 32).pow(2))),
            ("few values", random(&|bits| bits % 10)),
            ("a third equal", random(&|bits| if bits % 3 == 0 { 1 << 60 } else { bits })),
            ("clusters", random(&|bits| (bits % 9) << 59 | bits >> 40)),
            ("equal", vec![7; n]),
        ]
    }

    fn check(name: &str, cdf: &Cdf, keys: &[u64], error: f64) {
        assert!((cdf.rows() - keys.len() as f64).abs() < 0.5, "{name}");
        let probes =
            keys.iter().step_by(7).flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]);
        let mut probes: Vec<u64> = probes.chain([0, 1, 1 << 63, u64::MAX]).collect();
        probes.sort_unstable();
        let mut last = 0.0;
        for key in probes {
            let below = cdf.rows_below(key);
            let expected = keys.partition_point(|k| *k < key) as f64;
            assert!((below - expected).abs() <= error, "{name}: {below} instead of {expected} below {key}");
            assert!(last <= below, "{name}: falls at {key}");
            last = below;
        }
        assert!(cdf.knots.len() <= KNOTS_MAX, "{name}: {} knots", cdf.knots.len());
    }

    #[test]
    fn near_the_truth_and_rising() {
        for n in [1, 2, 50, 20_000] {
            for (name, keys) in key_sets(n) {
                let error = (n as f64 / 256.0).max(1.0);
                check(name, &Cdf::of_keys(&keys), &keys, error);
                let parts: Vec<Cdf> = (0..5)
                    .map(|part| keys.iter().copied().skip(part).step_by(5).collect::<Vec<u64>>())
                    .map(|keys| Cdf::of_keys(&keys))
                    .collect();
                check(name, &Cdf::merge(&parts), &keys, error + 5.0);
            }
        }
    }

    #[test]
    fn quantiles_are_its_inverse() {
        for (name, keys) in key_sets(20_000) {
            let cdf = Cdf::of_keys(&keys);
            for percent in 0..=100_usize {
                let key = cdf.quantile(percent as f64 / 100.0).expect("rows");
                let wanted = percent as f64 / 100.0 * keys.len() as f64;
                let range = cdf.rows_below(key) - 20.0..=cdf.rows_through(key.saturating_add(1)) + 20.0;
                assert!(range.contains(&wanted), "{name}: {wanted} at {key}, which has {range:?}");
            }
            let points = cdf.split_points(4);
            assert!(
                points.is_sorted_by(|a, b| a < b) && points.iter().all(|point| *point > keys[0]),
                "{name}"
            );
            if ["random", "squares", "clusters"].contains(&name) {
                let sizes = points.iter().map(|point| keys.partition_point(|key| key < point));
                assert!(sizes.zip(1..).all(|(below, part)| below.abs_diff(part * 5_000) < 100), "{name}");
            }
        }
        assert_eq!((Cdf::default().quantile(0.5), Cdf::default().fraction_below(9)), (None, 0.0));
        assert_eq!(Cdf::default().split_points(4), []);
    }

    #[test]
    fn fractions_of_spans() {
        let cdf = Cdf::of((0..=100).map(|block| (block * 1_000, block * 512)));
        assert_eq!(cdf.fraction_in(0, None), 1.0);
        assert_eq!(cdf.fraction_in(25_000, Some(50_000)), 0.25);
        assert_eq!(cdf.fraction_in(500, Some(1_000)), 0.005);
        assert_eq!(cdf.fraction_in(9, Some(3)), 0.0);
        assert_eq!(cdf.fraction_in(200_000, None), 0.0);
    }
}
