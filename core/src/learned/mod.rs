//! What is learned from the distribution of keys: where a key lies, how many lie below it, how to sort.
//!
//! - [`cone`]: key -> position, piecewise linear, with a measured error bound; above the fences of segments.
//!
//! Invariant: nothing here decides what is found. A model names a place to look first; searches check it.
//!
//! Sources: A. Galakatos et al., "FITing-Tree", SIGMOD 2019 (the shrinking cone); P. Ferragina and G. Vinciguerra, "The
//! PGM-index", VLDB 2020 (the point after a repeated key).

pub mod cone;
pub mod search;

pub use cone::Model;

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
