//! Numbers of which few are drawn often: number `i` with a weight of `1 / (i + 1) ^ THETA` (Gray et al., "Quickly
//! Generating Billion-Record Synthetic Databases", SIGMOD 1994, as YCSB has it).

use crate::harness::load::Random;

/// YCSB's.
const THETA: f64 = 0.99;

/// Numbers below a bound.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Those below `count`, which is above 1.
    pub(super) fn new(count: u64) -> Zipf {
        let weight = |number: u64| (number as f64).powf(-THETA);
        let zeta: f64 = (1..=count).map(weight).sum();
        let zeta_2 = 1.0 + weight(2);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta_2 / zeta);
        Zipf { count, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// The next one.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        let share = random.share();
        let weight = share * self.zeta;
        if weight < 1.0 {
            return 0;
        }
        if weight < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let number = self.count as f64 * (self.eta * share - self.eta + 1.0).powf(self.alpha);
        (number as u64).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_are_drawn_often() {
        let (zipf, mut random, mut counts) = (Zipf::new(1_000), Random::new(1), vec![0u32; 1_000]);
        (0..100_000).for_each(|_| counts[zipf.draw(&mut random) as usize] += 1);
        let zeta: f64 = (1..=1_000u32).map(|number| f64::from(number).powf(-THETA)).sum();
        for number in [0, 1] {
            let expected = 100_000.0 / f64::from(number + 1).powf(THETA) / zeta;
            let found = f64::from(counts[number as usize]);
            assert!((found / expected - 1.0).abs() < 0.05, "{number}: {found} of {expected}");
        }
        assert!(counts[0] > counts[10] && counts[10] > counts[999]);
        assert!(counts.iter().filter(|count| **count > 0).count() > 900);
    }
}
