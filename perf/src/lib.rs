//! Load and latency measurements. Variants are interleaved in one run, so that their ratios hold on a busy machine.
//!
//! `docs/performance.md` has the figures; `perf/report.py` makes it from what the programs here print.

pub mod args;
pub mod harness;
pub mod rows;
pub mod tables;
pub mod usage;

use hdrhistogram::Histogram;

pub use usage::process_cpu_time;

/// Times in nanoseconds, up to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

/// A quantile in microseconds.
pub fn quantile_us(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use omen_core::key::Key;
    use omen_core::row::RowBuilder;
    use omen_core::types::Datum;

    use super::rows;

    #[test]
    fn rows_have_the_bytes_of_the_engine() {
        let mut bytes = Vec::new();
        for number in [0, 1, 77, 5_000_000] {
            let row = rows::wide(number);
            row.encode(&mut bytes);
            let values = [
                Datum::Int8(row.id),
                Datum::Int8(row.a),
                Datum::Float8(row.price),
                Datum::Text(row.email.as_str().into()),
                Datum::Timestamp(row.ts),
                Datum::Text(row.status.into()),
            ];
            assert_eq!(*bytes, *RowBuilder::default().row(&values).expect("small"));
            assert_eq!(rows::key(row.id), *Key::of(&values[..1]).expect("short"));
            assert!(rows::wide_id(number) < rows::wide_id(number + 1));
            assert_eq!(row.email.len(), 18);
        }
        for id in [i64::MIN, -1, 0, 9, i64::MAX] {
            let row = rows::narrow(id);
            row.encode(&mut bytes);
            let values = [
                Datum::Int8(row.id),
                Datum::Int4(row.device),
                Datum::Float8(row.value),
                Datum::Timestamp(row.ts),
            ];
            assert_eq!(*bytes, *RowBuilder::default().row(&values).expect("small"));
            assert_eq!(rows::key(id), *Key::of(&values[..1]).expect("short"));
        }
    }
}
