//! Tables of columns that are made in many ways, and of each other, over several blocks: what was written reads back.

use super::{Values, check, encode, int_bytes, value};
use crate::test_rows::{ALL_TYPES, Random};
use crate::types::{Numeric, PgType};

/// Tables in a run of all tests; the variable asks for more, from another seed.
const ROUNDS: u64 = 60;
const ROUNDS_VARIABLE: &str = "OMENDB_ENCODING_ROUNDS";

/// A number of some size, the size being random too.
fn wide(random: &mut Random) -> i64 {
    let bits = random.below(65) as u32;
    let number = random.next().checked_shr(u64::BITS - bits).unwrap_or(0).cast_signed();
    if random.one_in(2) { number } else { number.wrapping_neg() }
}

/// One of several places, far or near, even or ragged, that come in stretches or in any order.
fn stretches(random: &mut Random, rows: usize) -> Vec<i64> {
    let unit = match random.below(4) {
        0 => wide(random),
        1 => 10i64.pow(random.below(19) as u32),
        _ => 1,
    };
    let noise = random.pick(&[1, 1, 2, 30, 1 << 20]);
    let length = random.pick(&[1, 7, 60, 400, 3_000]);
    let places: Vec<(i64, i64)> = (0..=random.below(4))
        .map(|_| (wide(random), random.pick(&[0, 1, 1, 2, -1, 1_000, i64::MAX / 700])))
        .collect();
    let (mut at, mut step) = places[0];
    let mut out = Vec::with_capacity(rows);
    for _ in 0..rows {
        if random.one_in(length) {
            (at, step) = random.pick(&places);
            at = at.wrapping_add(random.below(300).cast_signed());
        }
        out.push(at.wrapping_mul(unit));
        at = at.wrapping_add(step).wrapping_add(random.below(noise).cast_signed());
    }
    out
}

/// Integers on their own.
fn alone(random: &mut Random, rows: usize) -> Vec<i64> {
    let mut ints = match random.below(6) {
        0 => {
            let few: Vec<i64> = (0..=random.below(300)).map(|_| wide(random)).collect();
            (0..rows).map(|_| random.pick(&few)).collect()
        }
        1 => {
            let (limit, base) = (random.pick(&[2, 10, 1_000, 1 << 17, 1 << 40]), wide(random));
            (0..rows).map(|_| base.wrapping_add(random.below(limit).cast_signed())).collect()
        }
        2 => (0..rows).map(|_| wide(random)).collect(),
        _ => stretches(random, rows),
    };
    if random.one_in(4) {
        ints.sort_unstable();
    }
    ints
}

/// Integers that follow from those of other columns.
fn following(random: &mut Random, others: &[Vec<i64>]) -> Vec<i64> {
    let pick = |random: &mut Random| &others[random.below(others.len() as u64) as usize];
    let (first, second) = (pick(random), pick(random));
    let (kind, seed, shift) = (random.below(8), random.next(), random.below(12) as u32);
    let factor = if random.one_in(3) { wide(random) } else { random.below(100).cast_signed() - 50 };
    let limit = random.pick(&[1, 2, 7, 4_000]);
    let hash = |number: i64, limit: u64| {
        let mixed = (number.cast_unsigned() ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed >> 30) % limit).cast_signed()
    };
    first
        .iter()
        .zip(second)
        .map(|(a, b)| match kind {
            0 => a.wrapping_add(*b),
            1 => a.wrapping_sub(*b),
            2 => a.wrapping_mul(factor) >> shift,
            3 => hash(*a, 1 << 20),
            4 => hash(*a, 1 << 20).wrapping_add(random.below(limit).cast_signed()),
            5 => hash(a.wrapping_add(random.below(limit).cast_signed() << 50), 1 << 40),
            6 => {
                let price = if random.one_in(500) { i64::MAX / 3 } else { random.below(limit * 30) as i64 };
                (a / (shift as i64 % 3 * 50 + 1)).wrapping_mul(factor.wrapping_add(price))
            }
            _ => (a >> shift).wrapping_add(random.below(limit).cast_signed()),
        })
        .collect()
}

/// Some rows become others.
fn disturb(random: &mut Random, ints: &mut [i64]) {
    let rare = random.pick(&[20, 60, 300, 2_000]);
    let other = wide(random);
    for int in ints {
        if random.one_in(rare) {
            *int = if random.one_in(2) { other } else { wide(random) };
        }
    }
}

/// The value that stands for an integer in a column of some type.
fn value_of(random: &mut Random, pg_type: PgType, style: u64, int: i64) -> Vec<u8> {
    match pg_type {
        PgType::Float8 | PgType::Float4 => {
            let float = match style % 4 {
                0 => int as f64,
                1 => (int >> 20) as f64 / 100.0,
                2 => (int % 100_000) as f64 / 10f64.powi((style / 4 % 9) as i32),
                _ => f64::from_bits(int.cast_unsigned()),
            };
            match pg_type {
                PgType::Float8 => float.to_le_bytes().to_vec(),
                _ if float.is_nan() => f32::NAN.to_le_bytes().to_vec(),
                _ => (float as f32).to_le_bytes().to_vec(),
            }
        }
        PgType::Numeric(_) => {
            let scale =
                if style.is_multiple_of(5) && random.one_in(9) { random.below(30) } else { style % 20 };
            let coefficient = i128::from(int) * if style.is_multiple_of(7) { 1 << 40 } else { 1 };
            Numeric::new(coefficient, scale as u8).unwrap_or(Numeric::NAN).to_bytes().to_vec()
        }
        PgType::Text | PgType::Bytea | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => match style % 6 {
            0 => format!("customer/{:020}/order", int.cast_unsigned()).into_bytes(),
            1 => format!("{int:x}").into_bytes(),
            2 => "the quick brown fox jumps over the lazy dog, "
                .repeat((int % 7).unsigned_abs() as usize)
                .into_bytes(),
            3 => ["", "AA", "UA", "漢字", "a\0b"][(int % 5).unsigned_abs() as usize].into(),
            4 if pg_type == PgType::Bytea => int.to_le_bytes()[..(int % 9).unsigned_abs() as usize].to_vec(),
            _ => format!("furiously {} deposits {}", int % 50, int % 3).into_bytes(),
        },
        PgType::Interval | PgType::Uuid => [int.to_le_bytes(), (int % 3).to_le_bytes()].concat(),
        _ => int_bytes(pg_type, int),
    }
}

/// Which rows are NULL.
fn nulls(random: &mut Random, rows: usize, before: &[Vec<bool>]) -> Vec<bool> {
    let rare = random.pick(&[2, 20, 500]);
    match random.below(10) {
        0 => (0..rows).map(|_| random.one_in(rare)).collect(),
        1 => (0..rows).map(|row| row / 700 % 2 == 1).collect(),
        2 => (0..rows).map(|row| row % 1_024 == 0).collect(),
        3 if !before.is_empty() => before[random.below(before.len() as u64) as usize].clone(),
        4 if random.one_in(4) => vec![true; rows],
        _ => vec![false; rows],
    }
}

fn round(random: &mut Random) {
    let rows = random.pick(&[1, 40, 129, 1_024, 1_025, 2_600, 5_000]);
    let block_rows = random.pick(&[100, 300, 1_024, 1_024]);
    let count = 2 + random.below(6) as usize;
    let (mut ints, mut masks): (Vec<Vec<i64>>, Vec<Vec<bool>>) = (Vec::new(), Vec::new());
    let (mut types, mut columns): (Vec<PgType>, Vec<Values>) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut own =
            if ints.is_empty() || random.one_in(3) { alone(random, rows) } else { following(random, &ints) };
        if random.one_in(3) {
            disturb(random, &mut own);
        }
        let pg_type = if random.one_in(2) { PgType::Int8 } else { random.pick(&ALL_TYPES) };
        // Narrow types hold what is left of the integer, and others follow from that.
        if pg_type == PgType::Time || (pg_type != PgType::Int8 && random.one_in(2)) {
            own.iter_mut().for_each(|int| *int = int.rem_euclid(86_400_000_000));
        }
        let style = random.next() >> 32;
        let null = nulls(random, rows, &masks);
        let mut values: Values = own
            .iter()
            .zip(&null)
            .map(|(int, null)| (!null).then(|| value_of(random, pg_type, style, *int)))
            .collect();
        if pg_type.row_size().is_none() && random.one_in(4) {
            values.sort_unstable();
        }
        if random.one_in(40) {
            values[rows / 2] = super::bytes_of(&value(random, pg_type));
        }
        ints.push(own);
        masks.push(null);
        types.push(pg_type);
        columns.push(values);
    }
    check(&types, &columns, block_rows);
}

#[test]
fn tables_of_columns_that_are_made_of_each_other_round_trip() {
    let asked = std::env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse::<u64>().ok());
    let from = asked.map_or(0, |_| u64::from(std::process::id()) << 32);
    for seed in from..from + asked.unwrap_or(ROUNDS) {
        let failed = std::panic::catch_unwind(|| round(&mut Random::new(seed + 1)));
        assert!(failed.is_ok(), "seed {seed}");
    }
}

/// Amounts of quantities at prices, with and without digits behind the point; some are rounded, NULL or none.
#[test]
fn products_are_stored_as_prices() {
    let mut random = Random::new(12);
    let types = [PgType::Numeric(None), PgType::Numeric(None), PgType::Int4];
    for (nulls, rare) in [(0, 0), (0, 30), (9, 60)] {
        let mut columns: Vec<Values> = vec![Vec::new(); types.len()];
        for _ in 0..3_000 {
            let quantity = 1 + random.below(50).cast_signed();
            let odd = if rare > 0 && random.one_in(rare) { random.pick(&[-1, 1, 1 << 40]) } else { 0 };
            let amount = quantity * (90_000 + random.below(1 << 16).cast_signed()) + odd;
            let numeric = |int: i64| Numeric::new(i128::from(int), 2).expect("small").to_bytes().to_vec();
            let values = [numeric(quantity * 100), numeric(amount), int_bytes(PgType::Int4, amount >> 40)];
            for (column, value) in columns.iter_mut().zip(values) {
                column.push((nulls == 0 || !random.one_in(nulls)).then_some(value));
            }
        }
        check(&types, &columns, 1_000);
        if nulls == 0 {
            let encoded = encode(&types, &columns, 1_000);
            let bytes: u32 = encoded.blocks.iter().map(|(_, sections, _)| sections[1].bytes).sum();
            // Alone they would take 23 bits.
            assert!(bytes * 8 / 3_000 < if rare == 0 { 17 } else { 20 }, "{} bits", bytes * 8 / 3_000);
        }
    }
}
