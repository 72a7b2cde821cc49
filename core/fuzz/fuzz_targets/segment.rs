//! Any bytes as a block, a footer or a trailer of a segment: decoding answers with an error, or with something that can be
//! read without a panic. Checksums stand outside of these parts, so nothing has to be put right but the first fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omen_core::segment::format::{BLOCK_MAGIC, BlockId, Footer, Trailer};
use omen_core::segment::{Block, SegmentId};
use omen_core::types::PgType;

/// The first columns of `tests/fixtures/segment/v1`, whose blocks, behind a `\2`, a byte 10 and the number of rows, are a
/// good start.
const TYPES: [PgType; 10] = [
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
];

fn block(bytes: &[u8], columns: usize, rows: usize) {
    let id = BlockId { segment: SegmentId(7), block: 3 };
    let mut image = bytes.to_vec();
    image.resize(image.len().max(64), 0);
    image[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
    image[4..8].copy_from_slice(&(rows as u32).to_le_bytes());
    image[8..16].copy_from_slice(&id.segment.0.to_le_bytes());
    image[16..20].copy_from_slice(&id.block.to_le_bytes());
    image[20..24].copy_from_slice(&(columns as u32).to_le_bytes());
    if let Ok(block) = Block::decode(&image, id, rows, &TYPES[..columns]) {
        let _ = block.verify();
        let mut key = Vec::new();
        for row in 0..block.rows() {
            key.clear();
            block.append_key(row, &mut key);
            let _ = (block.find(&key), block.begin(row), block.values(row).count());
        }
    }
}

fuzz_target!(|input: (u8, u8, u16, &[u8])| {
    let (part, columns, number, bytes) = input;
    match part % 4 {
        0 => {
            if let Ok(footer) = Footer::decode(bytes, u32::from(number), u16::from(columns)) {
                assert_eq!(footer.encode(), bytes);
            }
        }
        1 => {
            let crc = bytes.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
            let _ = Trailer::decode(bytes, crc);
        }
        _ => block(bytes, usize::from(columns) % (TYPES.len() + 1), usize::from(number) % 1_025),
    }
});
