use std::sync::Arc;

use super::*;
use crate::catalog::format::{encode_schema, encode_table};
use crate::catalog::{RangeDescriptor, Table};
use crate::env::Rng;
use crate::id::{CoreId, RangeId, TableId};
use crate::key::{Key, KeySpan};
use crate::test_rows::{self, ALL_TYPES, Random};
use crate::write_batch::WriteBatch;

/// Runs the body on the seeds and on damaged copies of them.
fn run(body: fn(&[u8]), seeds: &[Vec<u8>], turns: u64) {
    let mut rng = Rng::new(1);
    seeds.iter().for_each(|seed| body(seed));
    for _ in 0..turns {
        let mut input = seeds[rng.index(seeds.len())].clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.index(input.len());
            match rng.below(6) {
                0 => input[at] ^= 1 << rng.below(8),
                1 => input[at] = rng.next_u64() as u8,
                2 => input[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.index(5)],
                3 => input.truncate(at + 1),
                4 => drop(input.splice(at..at, [0xFF; 4])),
                _ => {
                    let from = rng.index(input.len());
                    let copied = input[from..(from + 8).min(input.len())].to_vec();
                    drop(input.splice(at..(at + copied.len()).min(input.len()), copied));
                }
            }
        }
        body(&input);
    }
}

fn record_seeds() -> Vec<Vec<u8>> {
    let schema = test_rows::schema(&ALL_TYPES, &[0]);
    let mut random = Random::new(5);
    let mut batch = WriteBatch::new();
    let mut seeds = Vec::new();
    for id in 0..4 {
        let values = test_rows::values(&mut random, &schema, &[crate::types::Datum::Int8(id)]);
        let row = test_rows::row(&values);
        batch.insert(&test_rows::key_of(&schema, &values), &row);
        seeds.push([&[2, ALL_TYPES.len() as u8 - 1], &*row].concat());
    }
    batch.delete(b"key");
    for kind in 1..=6 {
        let rest = if kind <= 2 { batch.as_bytes().to_vec() } else { vec![7; 8] };
        seeds.push([&[0, kind][..], &[9; 8], &rest].concat());
    }
    seeds.push([&[1, 0], batch.as_bytes()].concat());
    seeds.push([&[3, 0][..], &encode_schema(&schema)].concat());
    let range = |id, end| RangeDescriptor {
        id: RangeId(id),
        span: KeySpan { start: Key::from_bytes(b"a"), end },
        core: CoreId(1),
    };
    let ranges = vec![range(1, Some(Key::from_bytes(b"b"))), range(2, None)];
    let table = Table { id: TableId(5), name: "t".into(), schema: Arc::clone(&schema), ranges };
    seeds.push([&[4, 0][..], &encode_table(&table)].concat());
    seeds
}

#[test]
fn records_refuse_damage() {
    run(records, &record_seeds(), 30_000);
}

#[test]
fn segments_refuse_damage() {
    let block = crate::segment::fuzz::seed();
    let as_part = |part: u8| [&[part], &block[1..]].concat();
    // Three column groups of a block each.
    let groups = [&[3, 9, 3, 0][..], &[0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0], &block[4..]].concat();
    run(segment, &[block.clone(), as_part(0), as_part(1), as_part(2), as_part(5), groups], 4_000);
}

/// A page of a file: the fields that the bodies put right may hold anything.
fn page(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut page = vec![0; 4_096];
    fields.iter().for_each(|(at, bytes)| page[*at..at + bytes.len()].copy_from_slice(bytes));
    page
}

#[test]
fn logs_refuse_damage() {
    let batch = |records: u32| {
        let bytes = 40 + records * 60;
        let mut page = page(&[(0, b"O"), (32, &bytes.to_le_bytes())]);
        for record in 0..records as usize {
            page[40 + record * 60 + 4] = 12;
        }
        page
    };
    let seed = [vec![0; 9], batch(2), batch(1), batch(30)].concat();
    run(wal, &[seed], 400);
}

#[test]
fn manifests_refuse_damage() {
    // Edits NextSegment and ClockAtLeast; then NextTxn.
    let edit = |tag: u8| [&[tag][..], &5u64.to_le_bytes()].concat();
    let frame = |edits: &[u8]| {
        let payload = edits.iter().flat_map(|tag| edit(*tag)).collect::<Vec<u8>>();
        let bytes = (payload.len() as u32).to_le_bytes();
        page(&[(24, &bytes), (28, &(edits.len() as u32).to_le_bytes()), (40, &payload)])
    };
    let seed = [vec![0; 9], frame(&[7, 8]), frame(&[11]), frame(&[12, 10])].concat();
    let closed = [vec![0; 9], frame(&[7, 13])].concat();
    run(manifest, &[seed, closed], 400);
}
