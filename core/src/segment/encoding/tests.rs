//! Round trips of every read, and bytes that were changed.

mod structured;

use std::ops::Bound;
use std::rc::Rc;

use super::super::format::BLOCK_ROWS;
use super::{EncodedBlock, Section, SegmentEncoder, Tables};
use crate::column::{Column, ColumnBuf, ColumnView};
use crate::filter::{FloatTest, mask};
use crate::row::RowBuilder;
use crate::test_rows::{ALL_TYPES, Random, value};
use crate::types::numeric::NUMERIC_BYTES;
use crate::types::{Datum, Numeric, PgType};

/// Values of a column as `row.rs` encodes them.
type Values = Vec<Option<Vec<u8>>>;

struct Encoded {
    types: Vec<PgType>,
    blocks: Vec<(Rc<[u8]>, Vec<Section>, usize)>,
    tables: Vec<u8>,
    encoder_bytes: usize,
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
    encode_with(SegmentEncoder::new(types), types, columns, block_rows)
}

fn encode_with(
    mut encoder: SegmentEncoder,
    types: &[PgType],
    columns: &[Values],
    block_rows: usize,
) -> Encoded {
    let rows = columns[0].len();
    let mut blocks = Vec::new();
    for start in (0..rows).step_by(block_rows) {
        let end = rows.min(start + block_rows);
        let parts: Vec<Column> =
            columns.iter().zip(types).map(|(values, t)| column_of(*t, &values[start..end])).collect();
        let views: Vec<ColumnView<'_>> = parts.iter().map(Column::view).collect();
        let mut out = vec![0xee; 64];
        let encoded = encoder.encode(&views, end - start, &mut out, 24, &async || ());
        let sections = futures_lite::future::block_on(encoded);
        assert!(sections.iter().all(|section| section.offset.is_multiple_of(8)));
        blocks.push((Rc::from(&out[24..]), sections, end - start));
    }
    Encoded { types: types.to_vec(), blocks, tables: encoder.tables(), encoder_bytes: encoder.size_bytes() }
}

/// Reads everything in every way and compares.
fn check(types: &[PgType], columns: &[Values], block_rows: usize) -> Encoded {
    let encoded = encode(types, columns, block_rows);
    check_encoded(&encoded, columns);
    encoded
}

fn check_encoded(encoded: &Encoded, columns: &[Values]) {
    let types = &encoded.types;
    let tables = Rc::new(Tables::decode(&encoded.tables, types).expect("tables"));
    let mut start = 0;
    for (buffer, sections, rows) in &encoded.blocks {
        let block =
            EncodedBlock::decode(Rc::clone(buffer), sections, *rows, types, &tables).expect("a block");
        for (column, values) in columns.iter().enumerate() {
            check_column(&block, column, types[column], &values[start..start + rows]);
        }
        // What one read of a copy leaves for others depends on their order.
        let copy = block.clone();
        for (column, values) in columns.iter().enumerate().rev() {
            check_column(&copy, column, types[column], &values[start..start + rows]);
        }
        start += rows;
    }
}

/// What does not fit into the dictionaries any more is written otherwise.
#[test]
fn dictionaries_of_a_segment_share_a_limit() {
    let (mut random, types) = (Random::new(11), [PgType::Text; 4]);
    let value =
        |random: &mut Random| Some(format!("customer number {:08}", random.below(20_000)).into_bytes());
    let columns: Vec<Values> =
        types.iter().map(|_| (0..8_192).map(|_| value(&mut random)).collect()).collect();
    let without = encode(&types, &columns, BLOCK_ROWS);
    let encoded = encode_with(SegmentEncoder::new(&types).one_of(16), &types, &columns, BLOCK_ROWS);
    let (all, some) = (without.tables.len(), encoded.tables.len());
    assert!((256 << 10..400 << 10).contains(&some) && all > 600 << 10, "{some} of {all} bytes");
    check_encoded(&encoded, &columns);
}

/// Keys that find no room in a map are written otherwise, in all blocks.
#[test]
fn maps_keep_to_their_memory() {
    let (mut random, types) = (Random::new(12), [PgType::Int8; 2]);
    let customers: Vec<i64> = (0..16_384).map(|_| random.below(3_000) as i64).collect();
    let far = |customer: &i64| (*customer).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 30;
    let values = |of: &dyn Fn(&i64) -> i64| -> Values {
        customers.iter().map(|customer| Some(of(customer).to_le_bytes().to_vec())).collect()
    };
    let columns = vec![values(&|customer| *customer), values(&far)];
    let sizes = [usize::MAX, 16 << 10].map(|bytes| {
        let mut encoder = SegmentEncoder::new(&types);
        encoder.limit_maps(bytes);
        let encoded = encode_with(encoder, &types, &columns, BLOCK_ROWS);
        check_encoded(&encoded, &columns);
        (encoded.tables.len(), encoded.encoder_bytes)
    });
    let [(all, all_bytes), (some, some_bytes)] = sizes;
    assert!(all > 10 << 10 && all_bytes > 100 << 10, "maps are used: {all} bytes, {all_bytes} of memory");
    assert!(some < all && some_bytes <= 20 << 10, "{some} of {all} bytes, {some_bytes} of memory");
}

/// Most rows have keys that a small map takes; some keys between those come when it is full.
#[test]
fn maps_without_room_read_back() {
    let (mut random, types) = (Random::new(13), [PgType::Int8; 2]);
    let key = |random: &mut Random| match random.below(20) {
        0 => random.below(2_800) as i64,
        _ => random.below(400) as i64 * 7,
    };
    let keys: Vec<i64> = (0..32_768).map(|_| key(&mut random)).collect();
    let far = |key: &i64| (1 << 40) + ((*key).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 34);
    let values = |of: &dyn Fn(&i64) -> i64| -> Values {
        keys.iter().map(|key| Some(of(key).to_le_bytes().to_vec())).collect()
    };
    let columns = vec![values(&|key| *key), values(&far)];
    for kib in [16, 32, 64, 128, 256, 512] {
        let mut encoder = SegmentEncoder::new(&types);
        encoder.limit_maps(kib << 10);
        check_encoded(&encode_with(encoder, &types, &columns, BLOCK_ROWS), &columns);
    }
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
    check_ranges(block, column, values);
    let mut codes = vec![0; range.len()];
    if let Some(id) = block.codes(column, range.clone(), &mut codes) {
        for (code, row) in codes.iter().zip(range) {
            let Some(bytes) = &values[row] else { continue };
            assert_eq!(block.tables().dictionary_value(id, *code), bytes.as_slice());
            assert!((*code as usize) < block.tables().dictionary_len(id));
        }
    }
}

/// Whether a row is to be left.
type Accepts<'a> = &'a dyn Fn(usize) -> bool;

/// Ranges of numbers that are asked of the codes.
fn check_ranges(block: &EncodedBlock, column: usize, values: &[Option<Vec<u8>>]) {
    let rows = values.len();
    let mut all = [0; mask::words(BLOCK_ROWS)];
    mask::fill(&mut all, rows);
    (0..rows).step_by(5).for_each(|row| mask::clear(&mut all, row));
    let compare = |mask: &[u64], accepts: Accepts<'_>| {
        for row in (0..rows).filter(|row| values[*row].is_some()) {
            let is_left = mask[row / 64] >> (row % 64) & 1 == 1;
            assert_eq!(is_left, row % 5 != 0 && accepts(row), "column {column} row {row}");
        }
    };
    let picked = |place: usize| place * 7 % rows;
    for (a, b) in [(0, 1), (2, 3), (4, 4), (5, 6)].map(|(a, b)| (picked(a), picked(b))) {
        let (low, high) = (block.int(column, a), block.int(column, b));
        for (low, high) in [(low, high), (low.saturating_add(1), i64::MAX), (i64::MIN, high.wrapping_sub(1))]
        {
            let mut left = all;
            if block.retain_ints(column, low, high, &mut left) {
                compare(&left, &|row| (low..=high).contains(&block.int(column, row)));
            }
        }
        if let (Some(a), Some(b)) = (numeric_of(values, a), numeric_of(values, b)) {
            check_numerics(block, column, values, (a, b), &all, &compare);
        }
        let mut floats = vec![0.0; rows];
        if !block.floats(column, 0..rows, &mut floats) {
            return;
        }
        let (low, high) = (floats[a], floats[b]);
        for (low, high) in [(low, high), (low.next_up(), f64::INFINITY), (f64::NEG_INFINITY, high - 1e-3)] {
            let (test, mut left) = (FloatTest::Range { low, high, nan: a % 2 == 0 }, all);
            if block.retain_floats(column, &test, &mut left) {
                compare(&left, &|row| test.accepts(floats[row]));
            }
        }
    }
}

/// The value of a row, if it is a numeric.
fn numeric_of(values: &[Option<Vec<u8>>], row: usize) -> Option<Numeric> {
    let bytes: [u8; NUMERIC_BYTES] = values[row].as_deref()?.try_into().ok()?;
    Numeric::from_bytes(bytes)
}

/// Bounds at, and a little beside, two of the values.
fn check_numerics(
    block: &EncodedBlock,
    column: usize,
    values: &[Option<Vec<u8>>],
    (a, b): (Numeric, Numeric),
    all: &[u64],
    compare: &dyn Fn(&[u64], Accepts<'_>),
) {
    let finer = |value: Numeric| {
        let scale = value.scale() + 1;
        let coefficient = value.coefficient().checked_mul(10).and_then(|number| number.checked_add(3));
        coefficient.and_then(|coefficient| Numeric::new(coefficient, scale)).unwrap_or(value)
    };
    let bounds = |value: Numeric| {
        [Bound::Included(value), Bound::Excluded(value), Bound::Included(finer(value)), Bound::Unbounded]
    };
    for low in bounds(a) {
        for high in bounds(b) {
            let is_inside = |value: Numeric| {
                let above = match low {
                    Bound::Unbounded => true,
                    Bound::Included(low) => low.compare(value).is_le(),
                    Bound::Excluded(low) => low.compare(value).is_lt(),
                };
                above
                    && match high {
                        Bound::Unbounded => true,
                        Bound::Included(high) => high.compare(value).is_ge(),
                        Bound::Excluded(high) => high.compare(value).is_gt(),
                    }
            };
            let of_bytes = |bytes: &[u8]| is_inside(Numeric::from_bytes(bytes.try_into().unwrap()).unwrap());
            let mut left = all.to_vec();
            if block.retain_numerics(column, (&low, &high), of_bytes, &mut left, &mut Vec::new()) {
                compare(&left, &|row| of_bytes(values[row].as_deref().unwrap()));
            }
        }
    }
}

/// Reads everything of bytes that may be anything: no panic.
fn read_all(encoded: &Encoded, tables: &[u8], blocks: &[Rc<[u8]>]) {
    let Ok(tables) = Tables::decode(tables, &encoded.types) else { return };
    let tables = Rc::new(tables);
    for (bytes, (_, sections, rows)) in blocks.iter().zip(&encoded.blocks) {
        if let Ok(block) = EncodedBlock::decode(Rc::clone(bytes), sections, *rows, &encoded.types, &tables) {
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
        let blocks: Vec<Rc<[u8]>> = blocks.into_iter().map(Rc::from).collect();
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

fn int_bytes(pg_type: PgType, int: i64) -> Vec<u8> {
    match pg_type {
        PgType::Int2 => (int as i16).to_le_bytes().to_vec(),
        PgType::Int4 | PgType::Date => (int as i32).to_le_bytes().to_vec(),
        PgType::Bool => vec![int as u8 & 1],
        _ => int.to_le_bytes().to_vec(),
    }
}

/// Integers that each model serves, and some that none does.
fn int_patterns(random: &mut Random, rows: i64) -> Vec<Vec<i64>> {
    let mut random_of = |f: &mut dyn FnMut(&mut Random, i64) -> i64| -> Vec<i64> {
        (0..rows).map(|row| f(random, row)).collect()
    };
    let mut sum = 0i64;
    let mut gapped = |random: &mut Random, _| {
        sum += 1 + random.below(9) as i64;
        sum
    };
    let mut ragged = 0i64;
    let mut days = |random: &mut Random, row: i64| {
        ragged = if row % 300 == 0 { 500 } else { ragged + random.below(4) as i64 };
        ragged
    };
    vec![
        (0..rows).collect(),
        (0..rows).map(|row| (1 << 53) + row * 3).collect(),
        (0..rows).map(|row| i64::MAX - rows + row).collect(),
        (0..rows).map(|row| if row % 2 == 0 { i64::MIN } else { i64::MAX }).collect(),
        (0..rows).map(|row| i64::MIN + row * (i64::MAX / rows.max(1))).collect(),
        (0..rows).map(|row| row / 100).collect(),
        (0..rows).map(|row| row / 3).collect(),
        vec![7; rows as usize],
        random_of(&mut gapped),
        random_of(&mut days),
        random_of(&mut |random, _| random.below(9) as i64 - if random.one_in(40) { 1 << 40 } else { 0 }),
        random_of(&mut |random, row| {
            1_600_000_000_000_000 + (row * 60 + random.below(50) as i64) * 1_000_000
        }),
        random_of(&mut |random, _| random.next() as i64),
        random_of(&mut |random, _| (random.next() as u32) as i64),
        random_of(&mut |random, _| random.below(2000) as i64 * 365),
        random_of(&mut |random, row| row * -5 + random.below(3) as i64),
    ]
}

const INT_TYPES: [PgType; 8] = [
    PgType::Int8,
    PgType::Int4,
    PgType::Int2,
    PgType::Bool,
    PgType::Date,
    PgType::Time,
    PgType::Timestamp,
    PgType::Timestamptz,
];

#[test]
fn integers_of_every_pattern() {
    let mut random = Random::new(2);
    for (rows, block_rows, nulls) in
        [(1100, 1024, 0), (1024, 1024, 30), (1024, 1024, 2), (300, 128, 0), (20, 20, 0)]
    {
        for pg_type in INT_TYPES {
            // Timestamps are 64 bits wide as Int8 is, and so on.
            if rows > 300 && nulls != 30 && !matches!(pg_type, PgType::Int8 | PgType::Int2) {
                continue;
            }
            let column = |ints: &Vec<i64>, random: &mut Random| -> Values {
                let null = |random: &mut Random| nulls > 0 && random.one_in(nulls);
                ints.iter().map(|int| (!null(random)).then(|| int_bytes(pg_type, *int))).collect()
            };
            let patterns = int_patterns(&mut random, rows);
            let columns: Vec<Values> = patterns.iter().map(|ints| column(ints, &mut random)).collect();
            let types = vec![pg_type; columns.len()];
            let encoded = check(&types, &columns, block_rows);
            corrupt(&mut random, &encoded, if pg_type == PgType::Int8 { 60 } else { 3 });
        }
    }
}

#[test]
fn integers_are_small() {
    let mut random = Random::new(3);
    let patterns = int_patterns(&mut random, 1024);
    let columns: Vec<Values> = patterns
        .iter()
        .map(|ints| ints.iter().map(|int| Some(int_bytes(PgType::Int8, *int))).collect())
        .collect();
    let encoded = encode(&vec![PgType::Int8; columns.len()], &columns, 1024);
    let sizes: Vec<u32> = encoded.blocks[0].1.iter().map(|section| section.bytes).collect();
    let limits = [30, 30, 30, 160, 40, 70, 160, 20, 900, 760, 700, 900, 8220, 4120, 1450, 330];
    for ((size, limit), index) in sizes.iter().zip(limits).zip(0..) {
        assert!(*size <= limit, "pattern {index}: {size} bytes of at most {limit}");
    }
}

fn string_patterns(random: &mut Random, rows: usize) -> Vec<Vec<Vec<u8>>> {
    const WORDS: [&str; 12] = [
        "carefully",
        "final",
        "deposits",
        "quickly",
        "ideas",
        "the",
        "regular",
        "naïve",
        "above",
        "sleep",
        "漢字",
        "x",
    ];
    let sentence = |random: &mut Random| -> Vec<u8> {
        let words: Vec<&str> = (0..random.below(6)).map(|_| random.pick(&WORDS)).collect();
        words.join(" ").into_bytes()
    };
    let unique =
        |random: &mut Random| (0..random.below(30)).map(|_| random.next() as u8).collect::<Vec<u8>>();
    let mut sorted: Vec<Vec<u8>> =
        (0..rows).map(|row| format!("customer/{:07}/order", row * 7).into_bytes()).collect();
    sorted.sort();
    vec![
        (0..rows).map(|_| random.pick(&WORDS).as_bytes().to_vec()).collect(),
        (0..rows).map(|_| sentence(random)).collect(),
        (0..rows).map(|_| unique(random)).collect(),
        sorted,
        vec![Vec::new(); rows],
        vec![b"same for all of them".to_vec(); rows],
        (0..rows).map(|row| if row == 5 { vec![b'y'; 3000] } else { sentence(random) }).collect(),
        (0..rows).map(|row| WORDS[row / 400 % 12].as_bytes().to_vec()).collect(),
    ]
}

#[test]
fn strings_of_every_pattern() {
    let mut random = Random::new(4);
    for (rows, block_rows, nulls) in
        [(2500, 1024, 0), (1024, 1024, 4), (1024, 1024, 60), (200, 100, 9), (3, 3, 0)]
    {
        for pg_type in [PgType::Bytea, PgType::Text] {
            let column = |values: Vec<Vec<u8>>, random: &mut Random| -> Values {
                let null = |random: &mut Random| nulls > 0 && random.one_in(nulls);
                values.into_iter().map(|value| (!null(random)).then_some(value)).collect()
            };
            let patterns = string_patterns(&mut random, rows);
            let columns: Vec<Values> =
                patterns.into_iter().map(|values| column(values, &mut random)).collect();
            let encoded = check(&vec![pg_type; columns.len()], &columns, block_rows);
            corrupt(&mut random, &encoded, 20);
        }
    }
}

#[test]
fn floats_and_numerics_of_every_pattern() {
    let mut random = Random::new(5);
    let odd = [
        f64::NAN,
        f64::from_bits(0xfff0_0000_0000_0001),
        -0.0,
        f64::INFINITY,
        f64::MIN_POSITIVE / 2.0,
        1e300,
    ];
    for (rows, nulls) in [(2000, 0), (1024, 5), (40, 3), (1, 0)] {
        let mut types = Vec::new();
        let mut columns: Vec<Values> = Vec::new();
        for pattern in 0..5 {
            let float = |random: &mut Random| match pattern {
                0 => random.below(100_000) as f64 / 100.0,
                1 if random.one_in(30) => random.pick(&odd),
                1 => random.below(1000) as f64 / 8.0,
                2 => f64::from_bits(random.next()),
                3 => random.below(1 << 40) as f64,
                _ => 0.1,
            };
            let floats: Vec<f64> = (0..rows).map(|_| float(&mut random)).collect();
            let null = |random: &mut Random| nulls > 0 && random.one_in(nulls);
            columns.push(
                floats.iter().map(|f| (!null(&mut random)).then(|| f.to_le_bytes().to_vec())).collect(),
            );
            types.push(PgType::Float8);
            let narrow = |f: &f64| if f.is_nan() { f32::from_bits(0x7fa0_0001) } else { *f as f32 };
            columns.push(floats.iter().map(|f| Some(narrow(f).to_le_bytes().to_vec())).collect());
            types.push(PgType::Float4);
            let numeric = |random: &mut Random| {
                let scale = if pattern == 1 && random.one_in(20) { random.below(39) as u8 } else { 2 };
                let coefficient = match pattern {
                    2 => i128::from(random.next()) * i128::from(random.next() >> 8),
                    3 => -i128::from(random.below(1 << 50)),
                    _ => i128::from(random.below(1 << 20)),
                };
                let value = if pattern == 1 && random.one_in(50) {
                    Numeric::NAN
                } else {
                    Numeric::new(coefficient, scale).expect("38 digits")
                };
                value.to_bytes().to_vec()
            };
            columns.push((0..rows).map(|_| Some(numeric(&mut random))).collect());
            types.push(PgType::Numeric(None));
        }
        let encoded = check(&types, &columns, 1024);
        corrupt(&mut random, &encoded, 40);
    }
}

/// Columns that follow from each other, through others and with exceptions; NULLs lie where they like.
fn related(random: &mut Random, rows: usize, nulls: u64) -> (Vec<PgType>, Vec<Values>) {
    let types = vec![
        PgType::Int4,
        PgType::Int4,
        PgType::Int8,
        PgType::Int4,
        PgType::Text,
        PgType::Text,
        PgType::Timestamp,
        PgType::Int2,
        PgType::Numeric(None),
        PgType::Int8,
        PgType::Bool,
    ];
    let mut columns: Vec<Values> = vec![Vec::new(); types.len()];
    for row in 0..rows as i64 {
        let shipped = random.below(2500) as i64;
        let received = shipped + 1 + random.below(30) as i64 + if random.one_in(50) { 100_000 } else { 0 };
        let delay = received - shipped + random.pick(&[0, 0, 0, -40, 40]);
        let tail = random.below(60) as i64;
        let hour = random.below(24) as i64;
        let numeric = Numeric::new(i128::from(tail * 1000 + tail % 7), 2).expect("small");
        let wide = if random.one_in(20) { i64::MIN } else { shipped.wrapping_mul(1 << 50) };
        let values = [
            int_bytes(PgType::Int4, shipped),
            int_bytes(PgType::Int4, received),
            delay.to_le_bytes().to_vec(),
            int_bytes(PgType::Int4, shipped / 365 + if random.one_in(60) { 7 } else { 0 }),
            format!("N{tail:05}").into_bytes(),
            random.pick(&["UA", "AA", "DL", "漢"]).repeat(1 + (tail % 3) as usize).into_bytes(),
            (hour * 3_600_000_000 + row / 700 * 86_400_000_000).to_le_bytes().to_vec(),
            int_bytes(PgType::Int2, hour),
            numeric.to_bytes().to_vec(),
            wide.to_le_bytes().to_vec(),
            vec![u8::from(shipped > 1200)],
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push((nulls == 0 || !random.one_in(nulls)).then_some(value));
        }
    }
    (types, columns)
}

#[test]
fn columns_that_follow_from_others() {
    let mut random = Random::new(6);
    for (rows, block_rows, nulls) in [(256 * 17 + 5, 256, 0), (2048, 512, 12), (1024, 512, 2)] {
        let (types, columns) = related(&mut random, rows, nulls);
        let encoded = check(&types, &columns, block_rows);
        corrupt(&mut random, &encoded, 8);
        if nulls == 0 {
            let size = |column: usize| {
                let bytes = encoded.blocks.iter().map(|(_, sections, _)| sections[column].bytes as usize);
                bytes.sum::<usize>() * 8 / rows
            };
            // Bits of a row: alone they would take 12, 5 and 12 or more.
            let sizes: Vec<usize> = (0..types.len()).map(size).collect();
            let limits = [13, 8, 8, 3, 7, 3, 2, 6, 2, 15, 2];
            assert!(sizes.iter().zip(limits).all(|(size, limit)| *size <= limit), "{sizes:?} of {limits:?}");
        }
    }
}

#[test]
fn columns_that_follow_from_themselves_are_refused() {
    let types = [PgType::Int8, PgType::Int8];
    let follow = |other: u16| {
        let mut section = vec![super::block::INTS, super::block::VALID_ALL, 3, 0, 0, 0];
        section.extend_from_slice(&[0; 8]);
        section.extend_from_slice(&other.to_le_bytes());
        section.extend_from_slice(&1i64.to_le_bytes());
        section
    };
    let decode = |first: u16, second: u16| {
        let (mut bytes, second) = (follow(first), follow(second));
        let size = bytes.len() as u32;
        bytes.resize(32, 0);
        bytes.extend_from_slice(&second);
        let sections = [Section { offset: 0, bytes: size }, Section { offset: 32, bytes: size }];
        let tables = Rc::new(Tables::decode(&[0; 4], &types).expect("none"));
        EncodedBlock::decode(Rc::from(bytes), &sections, 9, &types, &tables).map(|_| ())
    };
    assert!(decode(1, 0).is_err() && decode(0, 0).is_err() && decode(1, 1).is_err() && decode(2, 1).is_err());
}

#[test]
fn fuzz_target_on_changed_bytes() {
    let mut random = Random::new(7);
    let (_, columns) = related(&mut random, 300, 9);
    let picked =
        [(0, 3, PgType::Int4), (2, 0, PgType::Int8), (4, 7, PgType::Text), (8, 6, PgType::Numeric(None))];
    let types: Vec<PgType> = picked.iter().map(|(.., pg_type)| *pg_type).collect();
    let columns: Vec<Values> = picked.iter().map(|(column, ..)| columns[*column].clone()).collect();
    let encoded = encode(&types, &columns, 300);
    let (bytes, sections, rows) = &encoded.blocks[0];
    let mut input = vec![picked.len() as u8 - 1];
    input.extend_from_slice(&(*rows as u16 - 1).to_le_bytes());
    input.extend_from_slice(&(encoded.tables.len() as u16).to_le_bytes());
    for ((_, kind, _), section) in picked.iter().zip(sections) {
        input.push(*kind);
        input.extend_from_slice(&(section.offset as u16).to_le_bytes());
        input.extend_from_slice(&(section.bytes as u16).to_le_bytes());
    }
    input.extend_from_slice(&encoded.tables);
    input.extend_from_slice(bytes);
    super::probe::fuzz(&input);
    for _ in 0..300 {
        let mut changed = input.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(changed.len() as u64) as usize;
            changed[at] = random.next() as u8;
        }
        super::probe::fuzz(&changed);
    }
}

/// Columns of stretches that each rise evenly, stay, or jump about, at places far apart: what keys, times and counters
/// of several writers look like together. Differences to a line through them can have a divisor by chance.
#[test]
fn stretches_of_integers_round_trip() {
    let mut random = Random::new(11);
    for _ in 0..4_000 {
        let unit = if random.one_in(3) { 1 << random.below(20) } else { 1 };
        let jump = 1u64 << random.below(64);
        let noise = if random.one_in(3) { random.below(50) } else { 0 };
        let mut values: Vec<i64> = Vec::new();
        for _ in 0..=random.below(3) {
            let step = if random.one_in(4) { random.below(3) } else { 1 };
            let mut at = random.below(3).wrapping_mul(jump).wrapping_add(random.below(300));
            for _ in 0..=random.below(40) {
                values.push(at.wrapping_mul(unit) as i64);
                at = at.wrapping_add(step + random.below(noise + 1));
            }
        }
        if random.one_in(2) {
            values.sort_unstable();
        }
        let second: Vec<i64> =
            values.iter().map(|value| value.wrapping_add(random.below(5) as i64)).collect();
        let column = |values: &[i64]| values.iter().map(|v| Some(v.to_le_bytes().to_vec())).collect();
        check(&[PgType::Int8, PgType::Int8], &[column(&values), column(&second)], 128);
    }
}
