//! The command line of the programs that `perf/report.py` drives: `PROGRAM PART DIRECTORY [NAME=NUMBER]...`, and the
//! lines that it collects: `result name=PART engine=ENGINE KEY=VALUE...`. Uses nothing but the standard library,
//! because the programs in `perf/baselines` include this file, too.

use std::path::PathBuf;

/// A parsed command line.
#[derive(Clone, Debug)]
pub struct Args {
    /// What to measure.
    pub part: String,
    /// Where the engine's files are.
    pub dir: PathBuf,
    numbers: Vec<(String, u64)>,
}

impl Args {
    /// From the words after the program's name; `None` if they do not fit.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
        let (part, dir) = (words.next()?, PathBuf::from(words.next()?));
        let number = |word: String| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let numbers = words.map(number).collect::<Option<Vec<_>>>()?;
        Some(Args { part, dir, numbers })
    }

    /// The number of this name, or the default.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.numbers.iter().find(|(own, _)| own == name).map_or(default, |(_, value)| *value)
    }
}

/// Prints a line for the report.
pub fn print_result(part: &str, engine: &str, values: &[(&str, f64)]) {
    let values: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value:.3}")).collect();
    println!("result name={part} engine={engine} {}", values.join(" "));
}

/// A quantile of times in nanoseconds, in microseconds; sorts them.
pub fn quantile_us(times: &mut [u64], quantile: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * quantile) as usize).map_or(0.0, |ns| *ns as f64 / 1e3)
}
