//! How sure a ratio is (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13: the percentile interval).

use crate::rows::mix;

/// Samples that are drawn.
const DRAWS: u64 = 10_000;

/// How many times as much one is of another, with its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ratio {
    /// Geometric mean of the rounds' ratios.
    pub ratio: f64,
    /// 2.5 % of the draws are below.
    pub low: f64,
    /// 2.5 % of the draws are above.
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
    let ratio = mean(logs).exp();
    let count = logs.len() as u64;
    if count < 3 {
        return Some(Ratio { ratio, low: 0.0, high: f64::INFINITY });
    }
    let draw = |number: u64| (0..count).map(|each| pick(number * count + each)).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..DRAWS).map(draw).collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| means[((DRAWS - 1) as f64 * share).round() as usize].exp();
    Some(Ratio { ratio, low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

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
