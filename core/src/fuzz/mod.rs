//! Bodies of the fuzz targets in `core/fuzz`: each takes any bytes and panics if a decoder does what it must not. The
//! tests here run them on damaged copies of valid input, so that they are checked without a fuzzer.

mod manifest;
mod records;
mod wal;

use std::path::Path;

use crate::env::sim::SimEnv;
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::types::PgType;

pub use crate::segment::encodings::fuzz as encoding;
pub use crate::segment::fuzz::segment;
pub use manifest::manifest;
pub use records::records;
pub use wal::wal;

#[cfg(test)]
mod tests;

/// Bytes of a page of logs and manifests.
const PAGE: usize = 4_096;
/// The salt of files that the bodies make.
const SALT: u64 = 0x0102_0304_0506_0708;

/// Every type once; the first may be a key.
pub(crate) const ALL_TYPES: [PgType; 18] = [
    PgType::Int8,
    PgType::Bool,
    PgType::Int2,
    PgType::Int4,
    PgType::Float4,
    PgType::Float8,
    PgType::Numeric(None),
    PgType::Text,
    PgType::Varchar(Some(9)),
    PgType::Bytea,
    PgType::Date,
    PgType::Time,
    PgType::Timestamp,
    PgType::Timestamptz,
    PgType::Interval,
    PgType::Uuid,
    PgType::Json,
    PgType::Jsonb,
];

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes")) as usize
}

/// What the input of a body of files says: what to put right, if anything, and the file behind its header.
fn file_image(input: &[u8], file_bytes: usize) -> Option<(Option<u64>, Vec<u8>)> {
    let (flags, bytes) = input.split_first_chunk::<9>()?;
    let mut image = vec![0; file_bytes];
    let len = bytes.len().min(file_bytes - PAGE);
    image[PAGE..PAGE + len].copy_from_slice(&bytes[..len]);
    let keep = flags.first_chunk().map(|keep| u64::from_le_bytes(*keep));
    Some((keep.filter(|_| flags[8] & 1 == 0), image))
}

/// Puts the first page of a file right.
fn mend_header(image: &mut [u8], magic: &[u8; 8], version: u32) {
    put(image, 0, magic);
    put(image, 8, &version.to_le_bytes());
    put(image, 24, &SALT.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&image[..12]), &image[16..PAGE]);
    put(image, 12, &checksum.to_le_bytes());
}

/// Makes the image the only file of a new folder.
async fn create(env: &SimEnv, path: &Path, image: &[u8]) {
    env.create_dir(path.parent().expect("a folder")).await.expect("an empty disk");
    let file = env.open(path, OpenMode::CreateNew).await.expect("a new name");
    let mut buffer = AlignedBuf::zeroed(image.len());
    buffer.copy_from_slice(image);
    file.write_durable(0, buffer).await.0.expect("space");
}
