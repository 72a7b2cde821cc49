//! Bodies of the fuzz targets in `core/fuzz`: each takes any bytes and panics if a decoder does what it must not. The
//! tests here run them on damaged copies of valid input, so that they are checked without a fuzzer.

mod manifest;
mod records;
mod wal;

pub use crate::segment::encodings::fuzz as encoding;
pub use crate::segment::fuzz::segment;
pub use manifest::manifest;
pub use records::records;
pub use wal::wal;

#[cfg(test)]
mod tests;
