//! How sure a ratio is (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13: the percentile interval),
//! widened for the few rounds there are (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, 4.1: of three
//! rounds the plain interval is from the least to the most, which leaves the true ratio out one time of four, not of
//! twenty).

use crate::rows::mix;

/// Samples that are drawn.
const DRAWS: u64 = 10_000;

/// How many times as much one is of another, with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ratio {
    /// Geometric mean of the rounds' ratios.
    pub ratio: f64,
    /// The true ratio is below one time of 40.
    pub low: f64,
    /// And above as often.
    pub high: f64,
}

impl Ratio {
    /// Whether the interval leaves out 1.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// The ratio of what was measured in the same rounds; `None` without a round in which both are above 0. Fewer than three
/// rounds say nothing of how sure it is: then the interval is unbounded.
pub fn paired(a: &[f64], b: &[f64]) -> Option<Ratio> {
    let both = a.iter().zip(b).filter(|(a, b)| **a > 0.0 && **b > 0.0);
    let logs: Vec<f64> = both.map(|(a, b)| (a / b).ln()).collect();
    interval(&logs, |draw| logs[(mix(draw) % logs.len() as u64) as usize])
}

/// The ratio of what was measured in different rounds, as of two results; as [`paired`].
pub fn unpaired(a: &[f64], b: &[f64]) -> Option<Ratio> {
    let logs = |values: &[f64]| -> Vec<f64> {
        values.iter().filter(|value| **value > 0.0).map(|value| value.ln()).collect()
    };
    let (a, b) = (logs(a), logs(b));
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let count = a.len().min(b.len());
    let center = mean(&a) - mean(&b);
    let pick = |values: &[f64], draw: u64| values[(mix(draw) % values.len() as u64) as usize];
    let draw = |number: u64| pick(&a, 2 * number) - pick(&b, 2 * number + 1);
    interval(&vec![center; count], draw)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `pick` gives one of the logarithms for each number.
fn interval(logs: &[f64], pick: impl Fn(u64) -> f64) -> Option<Ratio> {
    if logs.is_empty() {
        return None;
    }
    let center = mean(logs);
    let ratio = center.exp();
    let count = logs.len() as u64;
    if count < 3 {
        return Some(Ratio { ratio, low: 0.0, high: f64::INFINITY });
    }
    let draw = |number: u64| (0..count).map(|each| pick(number * count + each)).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..DRAWS).map(draw).collect();
    means.sort_unstable_by(f64::total_cmp);
    let wider = widening(count);
    let at = |share: f64| {
        let mean = means[((DRAWS - 1) as f64 * share).round() as usize];
        (center + (mean - center) * wider).exp()
    };
    Some(Ratio { ratio, low: at(0.025), high: at(0.975) })
}

/// How many times as wide as that of the draws the interval of so many rounds is: draws stray less than rounds, and how
/// much rounds stray is itself only guessed from them.
fn widening(count: u64) -> f64 {
    /// 97.5 % of Student's t for 1 to 10 degrees of freedom.
    const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    /// The same of the normal distribution.
    const NORMAL: f64 = 1.96;
    let (count, freedom) = (count as f64, count as f64 - 1.0);
    let beyond = NORMAL + (NORMAL.powi(3) + NORMAL) / (4.0 * freedom);
    let student = STUDENT.get(freedom as usize - 1).copied().unwrap_or(beyond);
    student / NORMAL * (count / freedom).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few rounds with noise as of a bell curve: the intervals leave out the true ratio one time of twenty, about.
    #[test]
    fn intervals_of_few_rounds_are_wide_enough() {
        let mut number = 0;
        // A sum of twelve even draws strays by 1.
        let mut noise = || {
            let draws = (0..12).map(|_| {
                number += 1;
                (mix(number) >> 11) as f64 / (1_u64 << 53) as f64
            });
            (draws.sum::<f64>() - 6.0) * 0.1
        };
        for rounds in [3, 5, 12] {
            let mut held = 0;
            for _ in 0..300 {
                let a: Vec<f64> = (0..rounds).map(|_| 2.0 * noise().exp()).collect();
                let found = paired(&a, &vec![1.0; rounds]).expect("rounds");
                held += usize::from(found.low <= 2.0 && 2.0 <= found.high);
            }
            assert!((270..=297).contains(&held), "{held} of 300 with {rounds} rounds");
        }
    }

    #[test]
    fn the_interval_holds_what_is_true() {
        // Twice as much, with noise of up to 10 % that is the same for both in a round.
        let noise = |round: u64| 1.0 + (mix(round) % 100) as f64 / 1_000.0;
        let b: Vec<f64> = (0..9).map(|round| 10.0 * noise(round)).collect();
        let a: Vec<f64> =
            (0..9).map(|round| 20.0 * noise(round) * (0.99 + (mix(round + 50) % 20) as f64 / 1e3)).collect();
        for found in [paired(&a, &b).expect("rounds"), unpaired(&a, &b).expect("rounds")] {
            assert!(found.low <= 2.0 && 2.0 <= found.high && found.high - found.low < 0.3, "{found:?}");
            assert!(found.differs() && (found.ratio - 2.0).abs() < 0.1, "{found:?}");
        }
        let same = unpaired(&b[..4], &b[4..]).expect("rounds");
        assert!(!same.differs(), "{same:?}");
        let (same, one) = (paired(&b, &b).expect("rounds"), paired(&a[..1], &b[..1]).expect("a round"));
        assert!((same.low, same.ratio, same.high) == (1.0, 1.0, 1.0) && !one.differs());
        assert_eq!(paired(&[], &[]), None);
        assert_eq!(paired(&[0.0], &[1.0]), None);
    }
}
