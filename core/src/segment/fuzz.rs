//! Any bytes as a part of a segment: decoding answers with an error, or with something that can be read without a panic.

use std::rc::Rc;

use super::SegmentId;
#[cfg(test)]
use super::block::PlainRows;
use super::block::{Block, RowGroup, with_begins};
use super::encoding::{SegmentEncoder, Tables};
use super::format::{BLOCK_MAGIC, BlockId, Detail, Footer, Trailer};
use super::groups::{Groups, split_tables};
use super::keys::KeyColumns;
use crate::catalog::{Column, TableSchema};
use crate::fuzz::ALL_TYPES;
#[cfg(test)]
use crate::row::RowReader;
use crate::sketch::Sketch;
#[cfg(test)]
use crate::types::Datum;
use crate::types::PgType;

/// Columns of the rows: the first of all types.
const TYPES: &[PgType] = ALL_TYPES.split_at(10).0;

const ID: BlockId = BlockId { segment: SegmentId(7), block: 3, group: 0 };

/// The part (0 footer, 1 trailer, 2 tables, 3 column groups and a row group of them, 4 a block, 5 a sketch), columns, a
/// number (of blocks, column groups or rows), then the bytes. The first fields of a block are put right.
pub fn segment(input: &[u8]) {
    let Some(([part, columns, low, high], bytes)) = input.split_first_chunk() else { return };
    let number = u16::from_le_bytes([*low, *high]);
    let types: Vec<PgType> = with_begins(TYPES[..1 + usize::from(*columns) % TYPES.len()].iter().copied());
    match part % 6 {
        0 => {
            if let Ok(footer) = Footer::decode(bytes, u32::from(number)) {
                assert_eq!(footer.encode(), bytes);
            }
        }
        1 => {
            let crc = bytes.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
            let _ = Trailer::decode(bytes, crc);
        }
        2 => drop(Tables::decode(bytes, &types)),
        3 => read_groups(bytes, &types, usize::from(number) % 17),
        4 => read_block(bytes, &types, usize::from(number) % 1_025),
        _ => {
            if let Some((sketch, rest)) = Sketch::decode(bytes) {
                let mut again = Vec::new();
                sketch.encode(&mut again);
                again.extend_from_slice(rest);
                assert_eq!(again, bytes);
                assert!(sketch.estimate() >= 0.0);
            }
        }
    }
}

/// The division, what blocks share, and the same block for every column group.
fn read_groups(bytes: &[u8], types: &[PgType], count: usize) {
    let _ = split_tables(bytes, count);
    let Some((division, block)) = bytes.split_at_checked(types.len()) else { return };
    let Some(groups) = Groups::decode(division, count, types.len(), &[0]) else { return };
    assert_eq!(groups.encode(), division);
    let (rows, groups) = (block.len() % 1_025, Rc::new(groups));
    let mut group = RowGroup::new(&groups);
    for number in 0..count {
        let types: Vec<PgType> = groups.columns(number).iter().map(|column| types[*column]).collect();
        let Ok(block) = decode_block(block, &types, rows) else { return };
        group.set(number, block);
    }
    let _ = group.verify(&KeyColumns::new(&schema(types), &groups), types);
}

fn read_block(bytes: &[u8], types: &[PgType], rows: usize) {
    let groups = Rc::new(Groups::one(types.len()));
    if let Ok(block) = decode_block(bytes, types, rows) {
        let mut group = RowGroup::new(&groups);
        group.set(0, block);
        let _ = group.verify(&KeyColumns::new(&schema(types), &groups), types);
    }
}

fn decode_block(bytes: &[u8], types: &[PgType], rows: usize) -> Result<Block, Detail> {
    let mut image = bytes.to_vec();
    image.resize(image.len().max(24), 0);
    image[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
    image[4..6].copy_from_slice(&(rows as u16).to_le_bytes());
    image[6..8].copy_from_slice(&(types.len() as u16).to_le_bytes());
    image[8..16].copy_from_slice(&ID.segment.0.to_le_bytes());
    image[16..20].copy_from_slice(&ID.block.to_le_bytes());
    image[20..24].fill(0);
    let tables = Tables::decode(&SegmentEncoder::new(types).tables(), types).expect("of nothing");
    Block::decode(&image, ID, rows, types, &Rc::new(tables))
}

fn schema(types: &[PgType]) -> TableSchema {
    let column = |pg_type: &PgType| Column {
        name: "c".into(),
        pg_type: *pg_type,
        not_null: false,
        default: None,
        hidden: false,
    };
    // Without the begins.
    let columns = types[..types.len() - 1].iter().map(column).collect();
    TableSchema { columns, key: vec![0], key_name: None, index: crate::learned::IndexKind::Auto }
}

/// A block of all these types, as input.
#[cfg(test)]
pub fn seed() -> Vec<u8> {
    let types = with_begins(TYPES.iter().copied());
    let mut plain = PlainRows::new(&types);
    for id in 0..20 {
        let mut data = vec![Datum::Int8(id), Datum::Bool(id % 2 == 0), Datum::Int2(id as i16)];
        data.extend([Datum::Int4(-1), Datum::Float4(0.5), Datum::Float8(id as f64), Datum::Null]);
        data.extend([Datum::Text("text".into()), Datum::Null, Datum::Bytea(vec![id as u8; 3].into())]);
        let row = crate::row::RowBuilder::default().row(&data).expect("small");
        let mut reader = RowReader::new(&row, TYPES.len()).expect("a row");
        let values = TYPES.iter().map(|pg_type| reader.next_bytes(*pg_type).expect("a value"));
        plain.push(crate::stamp::Stamp::committed(crate::clock::Timestamp(9)), values);
    }
    let mut input = vec![4, TYPES.len() as u8 - 1, 20, 0];
    let columns: Vec<usize> = (0..types.len()).collect();
    let mut encoder = SegmentEncoder::new(&types);
    futures_lite::future::block_on(plain.encode(&columns, ID, &mut encoder, &mut input, &async || ()));
    input
}
