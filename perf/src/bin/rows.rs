//! Prints rows of the wide table as CSV without header, for engines that are not driven from Rust; `ts` in
//! microseconds since 1970.
//!
//! `rows COUNT`

use std::io::{self, BufWriter, Write};

use omen_perf::rows::wide;

fn main() -> io::Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000);
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    for row in (0..count).map(wide) {
        writeln!(out, "{},{},{:.2},{},{},{}", row.id, row.a, row.price, row.email, row.ts, row.status)?;
    }
    out.flush()
}
