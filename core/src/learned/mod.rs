//! What is learned from the distribution of keys: where a key lies, how many lie below it, how to sort.
//!
//! - [`cdf`]: the share of a table's rows below a key, and its inverse; estimates and split points.
//! - [`cone`]: key -> position, piecewise linear, with a measured error bound; above the fences of segments.
//! - [`sort`]: a sort that puts each key near its place at once, by the distribution of a sample.
//!
//! Invariant: nothing here decides what is found. A model names a place to look first; searches check it.
//!
//! Sources: A. Galakatos et al., "FITing-Tree", SIGMOD 2019 (the shrinking cone); P. Ferragina and G. Vinciguerra, "The
//! PGM-index", VLDB 2020 (the point after a repeated key).

pub mod cdf;
pub mod cone;
pub mod search;
pub mod sort;

pub use cone::Model;

/// How the rows of a table's segments are found: `CREATE TABLE .. WITH (index = ..)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IndexKind {
    /// By a model where it pays.
    #[default]
    Auto,
    /// By a model wherever the key's bytes can be seen as a number.
    Learned,
    /// By binary search.
    Binary,
}

impl IndexKind {
    /// All kinds.
    pub const ALL: [IndexKind; 3] = [IndexKind::Auto, IndexKind::Learned, IndexKind::Binary];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            IndexKind::Auto => "auto",
            IndexKind::Learned => "learned",
            IndexKind::Binary => "binary",
        }
    }
}

/// The first eight bytes of a key as a number: rises with the key, but keys that differ later are equal.
pub fn order_prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

/// Bits of a float that rise with it, as in keys; NaN is largest.
pub fn float_bits(value: f64) -> u64 {
    let canonical = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = canonical.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Bits of an integer that rise with it, as in keys.
pub fn int_bits(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}
