//! Round trips of every read, and bytes that were changed.

use std::rc::Rc;

use arrow_buffer::Buffer;

use super::{EncodedBlock, Section, SegmentEncoder, Tables};
use crate::column::{Column, ColumnBuf, ColumnView};
use crate::row::RowBuilder;
use crate::test_rows::{ALL_TYPES, Random, value};
use crate::types::{Datum, PgType};

/// Values of a column as `row.rs` encodes them.
type Values = Vec<Option<Vec<u8>>>;

struct Encoded {
    types: Vec<PgType>,
    blocks: Vec<(Buffer, Vec<Section>, usize)>,
    tables: Vec<u8>,
}

fn bytes_of(datum: &Datum) -> Option<Vec<u8>> {
    if datum.is_null() {
        return None;
    }
    let row = crate::test_rows::row(std::slice::from_ref(datum));
    let var = matches!(datum, Datum::Text(_) | Datum::Bytea(_));
    Some(row[if var { 5 } else { 1 }..].to_vec())
}

fn column_of(pg_type: PgType, values: &[Option<Vec<u8>>]) -> Column {
    let mut column = ColumnBuf::with_capacity(pg_type, 0, 0);
    values.iter().for_each(|value| column.push(value.as_deref()));
    column.freeze()
}

/// Encodes columns in blocks of up to `block_rows` rows.
fn encode(types: &[PgType], columns: &[Values], block_rows: usize) -> Encoded {
    let mut encoder = SegmentEncoder::new(types);
    let rows = columns[0].len();
    let mut blocks = Vec::new();
    for start in (0..rows).step_by(block_rows) {
        let end = rows.min(start + block_rows);
        let parts: Vec<Column> =
            columns.iter().zip(types).map(|(values, t)| column_of(*t, &values[start..end])).collect();
        let views: Vec<ColumnView<'_>> = parts.iter().map(Column::view).collect();
        let mut out = vec![0xee; 64];
        let sections = encoder.encode(&views, end - start, &mut out, 24);
        assert!(sections.iter().all(|section| section.offset.is_multiple_of(8)));
        blocks.push((Buffer::from_slice_ref(&out[24..]), sections, end - start));
    }
    Encoded { types: types.to_vec(), blocks, tables: encoder.tables() }
}

/// Reads everything in every way and compares.
fn check(types: &[PgType], columns: &[Values], block_rows: usize) -> Encoded {
    let encoded = encode(types, columns, block_rows);
    let tables = Rc::new(Tables::decode(&encoded.tables, types).expect("tables"));
    let mut start = 0;
    for (buffer, sections, rows) in &encoded.blocks {
        let block = EncodedBlock::decode(buffer, sections, *rows, types, &tables).expect("a block");
        for (column, values) in columns.iter().enumerate() {
            check_column(&block, column, types[column], &values[start..start + rows]);
        }
        start += rows;
    }
    encoded
}

fn check_column(block: &EncodedBlock, column: usize, pg_type: PgType, values: &[Option<Vec<u8>>]) {
    let rows = values.len();
    let at = |row: usize| format!("{pg_type} column {column} row {row}");
    let (mut builder, mut expected) = (RowBuilder::default(), RowBuilder::default());
    for (row, value) in values.iter().enumerate() {
        let mut out = vec![7];
        assert_eq!(block.value(column, row, &mut out), value.is_some(), "{}", at(row));
        assert_eq!(&out[1..], value.as_deref().unwrap_or(&[]), "{}", at(row));
        builder.start(1);
        block.push_to(column, row, &mut builder);
        expected.start(1);
        match value {
            None => expected.push_null(),
            Some(bytes) if pg_type.row_size().is_none() => expected.push_var(bytes),
            Some(bytes) => expected.push_fixed(bytes),
        }
        assert_eq!(builder.finish().expect("small"), expected.finish().expect("small"), "{}", at(row));
    }
    let has_null = values.iter().any(Option::is_none);
    assert_eq!(block.valid(column).is_some(), has_null);
    let compare = |out: &ColumnBuf, picked: &[usize]| {
        let want: Values = picked.iter().map(|row| values[*row].clone()).collect();
        for (index, value) in want.iter().enumerate() {
            assert_eq!(out.view().value(index), value.as_deref(), "{}", at(picked[index]));
        }
    };
    for range in [0..rows, rows / 3..rows, rows / 2..rows / 2, 0..rows / 2, rows - 1..rows] {
        let mut out = ColumnBuf::with_capacity(pg_type, 0, 0);
        block.append_to(column, range.clone(), &mut out);
        let mut picked: Vec<usize> = range.clone().collect();
        compare(&out, &picked);
        // Onto what is there.
        block.append_to(column, range.clone(), &mut out);
        picked.extend(range);
        compare(&out, &picked);
    }
    let some: Vec<u16> = (0..rows as u16).filter(|row| row % 7 == 3 || row % 11 == 0).collect();
    let mut out = ColumnBuf::with_capacity(pg_type, 0, 0);
    block.gather_to(column, &some, &mut out);
    compare(&out, &some.iter().map(|row| usize::from(*row)).collect::<Vec<_>>());
    check_numbers(block, column, pg_type, values);
    if block.is_constant(column) {
        let mut valid = values.iter().flatten();
        let first = valid.next();
        assert!(valid.all(|value| Some(value) == first));
    }
}

fn check_numbers(block: &EncodedBlock, column: usize, pg_type: PgType, values: &[Option<Vec<u8>>]) {
    let rows = values.len();
    let range = rows / 4..rows;
    let mut ints = vec![0; range.len()];
    if block.ints(column, range.clone(), &mut ints) {
        let int = |bytes: &[u8]| match bytes.len() {
            2 => i64::from(i16::from_le_bytes(bytes.try_into().expect("2"))),
            4 => i64::from(i32::from_le_bytes(bytes.try_into().expect("4"))),
            _ => i64::from_le_bytes(bytes.try_into().expect("8")),
        };
        let all: Vec<Option<i64>> = values.iter().map(|value| value.as_deref().map(int)).collect();
        for (index, row) in range.clone().enumerate() {
            if let Some(value) = all[row] {
                assert_eq!((ints[index], block.int(column, row)), (value, value), "{pg_type} row {row}");
            }
        }
        if let Some(all) = all.iter().copied().collect::<Option<Vec<i64>>>()
            && all.is_sorted()
        {
            for value in all.iter().flat_map(|v| [*v, v.wrapping_add(1), v.wrapping_sub(1)]) {
                let found = block.int_lower_bound(column, range.clone(), value);
                let want = range.start + all[range.clone()].partition_point(|other| *other < value);
                assert_eq!(found, want, "{pg_type} {value}");
            }
        }
    }
    let mut floats = vec![0.0; range.len()];
    if block.floats(column, range.clone(), &mut floats) {
        for (float, row) in floats.iter().zip(range.clone()) {
            let Some(bytes) = &values[row] else { continue };
            let want = match bytes.len() {
                4 => f64::from(f32::from_le_bytes(bytes[..].try_into().expect("4"))),
                _ => f64::from_le_bytes(bytes[..].try_into().expect("8")),
            };
            assert!(float.to_bits() == want.to_bits() || (float.is_nan() && want.is_nan()));
        }
    }
    let mut codes = vec![0; range.len()];
    if let Some(id) = block.codes(column, range.clone(), &mut codes) {
        for (code, row) in codes.iter().zip(range) {
            let Some(bytes) = &values[row] else { continue };
            assert_eq!(block.tables().dictionary_value(id, *code), bytes.as_slice());
            assert!((*code as usize) < block.tables().dictionary_len(id));
        }
    }
}

/// Reads everything of bytes that may be anything: no panic.
fn read_all(encoded: &Encoded, tables: &[u8], blocks: &[Buffer]) {
    let Ok(tables) = Tables::decode(tables, &encoded.types) else { return };
    let tables = Rc::new(tables);
    for (bytes, (_, sections, rows)) in blocks.iter().zip(&encoded.blocks) {
        if let Ok(block) = EncodedBlock::decode(bytes, sections, *rows, &encoded.types, &tables) {
            super::probe::read_all(&block, &encoded.types);
        }
    }
}

fn corrupt(random: &mut Random, encoded: &Encoded, times: usize) {
    for _ in 0..times {
        let mut tables = encoded.tables.clone();
        let mut blocks: Vec<Vec<u8>> = encoded.blocks.iter().map(|(bytes, ..)| bytes.to_vec()).collect();
        for _ in 0..=random.below(3) {
            let part = random.below(blocks.len() as u64 + 1) as usize;
            let bytes = blocks.get_mut(part).unwrap_or(&mut tables);
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] =
                    random.pick(&[0, 1, 255, bytes[at] ^ 1, bytes[at] ^ 128, random.clone().next() as u8]);
            }
        }
        let blocks: Vec<Buffer> = blocks.into_iter().map(Buffer::from_vec).collect();
        read_all(encoded, &tables, &blocks);
    }
}

#[test]
fn random_values_of_every_type() {
    let mut random = Random::new(1);
    for (rows, block_rows, nulls) in
        [(1, 1024, 0), (1, 1024, 1), (7, 1024, 3), (2100, 1024, 0), (1500, 1024, 5), (900, 100, 2)]
    {
        let column = |pg_type: &PgType, random: &mut Random| -> Values {
            (0..rows)
                .map(|_| {
                    let null = nulls > 0 && random.one_in(nulls);
                    if null { None } else { bytes_of(&value(random, *pg_type)) }
                })
                .collect()
        };
        let columns: Vec<Values> = ALL_TYPES.iter().map(|t| column(t, &mut random)).collect();
        let encoded = check(&ALL_TYPES, &columns, block_rows);
        corrupt(&mut random, &encoded, 10);
    }
}
