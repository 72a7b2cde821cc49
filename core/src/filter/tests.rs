use std::ops::Bound;

use super::image::is_exact;
use super::mask::{count, fill, for_each, words};
use super::*;
use crate::column::ColumnBuf;
use crate::key;
use crate::row::{RowBuilder, datum_from_bytes};
use crate::segment::zone::{Judgement, Zone};
use crate::test_rows::{ALL_TYPES, Random, schema, value};

const OPERATORS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];

/// What PostgreSQL orders by, through the bytes of keys.
fn order(a: &Datum, b: &Datum) -> Ordering {
    let bytes = |datum: &Datum| {
        let mut out = Vec::new();
        key::encode(datum, &mut out);
        out
    };
    bytes(a).cmp(&bytes(b))
}

/// What a test means.
pub(crate) fn holds(test: &Test, value: &Datum) -> bool {
    let compare = |op: Comparison, other: &Datum| {
        !value.is_null()
            && !other.is_null()
            && match op {
                Comparison::Equal => order(value, other).is_eq(),
                Comparison::NotEqual => order(value, other).is_ne(),
                Comparison::Less => order(value, other).is_lt(),
                Comparison::LessOrEqual => order(value, other).is_le(),
                Comparison::Greater => order(value, other).is_gt(),
                Comparison::GreaterOrEqual => order(value, other).is_ge(),
            }
    };
    match test {
        Test::Compare(op, other) => compare(*op, other),
        Test::Between(low, high) => {
            compare(Comparison::GreaterOrEqual, low) && compare(Comparison::LessOrEqual, high)
        }
        Test::In(list) => list.iter().any(|other| compare(Comparison::Equal, other)),
        Test::Among(set) => super::int_datum(value).is_some_and(|value| set.contains(value)),
        Test::IsNull => value.is_null(),
        Test::IsNotNull => !value.is_null(),
        Test::Never => false,
    }
}

/// A value, extreme, near one of the others, or special.
fn some_value(random: &mut Random, pg_type: PgType, near: &[Datum]) -> Datum {
    if random.one_in(12) {
        return Datum::Null;
    }
    let near = (!near.is_empty() && random.one_in(2))
        .then(|| near[random.below(near.len() as u64) as usize].clone());
    match (near, pg_type) {
        (Some(Datum::Int8(v)), _) => Datum::Int8(v.wrapping_add(random.pick(&[-1, 0, 1]))),
        (Some(Datum::Int4(v)), _) => Datum::Int4(v.wrapping_add(random.pick(&[-1, 0, 1]))),
        (Some(Datum::Timestamp(v)), _) => Datum::Timestamp(v.wrapping_add(random.pick(&[-1, 0, 1]))),
        (Some(Datum::Float8(v)), _) => Datum::Float8(random.pick(&[v, v.next_up(), v.next_down(), -v])),
        (Some(Datum::Text(v)), _) => Datum::Text(random.pick(&[&*v, "", "\u{10FFFF}"]).into()),
        (Some(near), _) => near,
        (None, PgType::Float4) => {
            Datum::Float4(random.pick(&[f32::NAN, 0.0, -0.0, 1.5, f32::NEG_INFINITY, f32::MAX]))
        }
        (None, PgType::Float8) => Datum::Float8(random.pick(&[
            f64::NAN,
            -f64::NAN,
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            2.5,
            5e-324,
        ])),
        (None, PgType::Numeric(_)) if random.one_in(2) => {
            let value = random.pick(&[(10, 1), (1, 0), (100, 2), (0, 3), (0, 0), (-1, 38), (12_345, 2)]);
            Datum::Numeric(Numeric::new(value.0, value.1).expect("small"))
        }
        (None, PgType::Interval) if random.one_in(2) => {
            let (months, days) = random.pick(&[(1, 0), (0, 30), (i32::MAX, i32::MAX), (i32::MIN, i32::MIN)]);
            Datum::Interval(Interval { months, days, micros: 0 })
        }
        _ => value(random, pg_type),
    }
}

/// A test that has something to do with these values.
pub(crate) fn some_test(random: &mut Random, pg_type: PgType, values: &[Datum]) -> Test {
    let ordered = !matches!(pg_type, PgType::Json | PgType::Jsonb);
    match random.below(if ordered { 10 } else { 2 }) {
        0 => Test::IsNull,
        1 => Test::IsNotNull,
        2 if random.one_in(2) && ordered => {
            let numbers: Vec<i64> = (0..1 + random.below(12))
                .filter_map(|_| super::int_datum(&some_value(random, pg_type, values)))
                .collect();
            let mut set = NumberSetBuilder::default();
            set.extend(numbers.into_iter());
            set.finish().map_or(Test::Never, |set| Test::Among(set.into()))
        }
        2 => Test::In((0..random.below(12)).map(|_| some_value(random, pg_type, values)).collect()),
        3 => Test::Between(some_value(random, pg_type, values), some_value(random, pg_type, values)),
        _ => Test::Compare(random.pick(&OPERATORS), some_value(random, pg_type, values)),
    }
}

/// The value's bytes as `row` encodes them.
fn bytes_of(value: &Datum, pg_type: PgType) -> Option<Vec<u8>> {
    let row = RowBuilder::default().row(std::slice::from_ref(value)).expect("small");
    RowReader::new(&row, 1)
        .and_then(|mut reader| reader.next_bytes(pg_type))
        .expect("just made")
        .map(<[u8]>::to_vec)
}

#[test]
fn filters_mean_what_sql_means_and_zones_exclude_no_match() {
    let (mut pruned, mut whole) = (0, 0);
    for pg_type in ALL_TYPES {
        let table = schema(&[pg_type], &[]);
        for seed in 0..60 {
            let mut random = Random::new(seed * 100 + pg_type.oid() as u64);
            let rows = random.pick(&[1usize, 3, 64, 65, 200]);
            let mut values: Vec<Datum> = Vec::new();
            let one_value = random.one_in(4).then(|| some_value(&mut random, pg_type, &[]));
            for _ in 0..rows {
                let next = one_value.clone().unwrap_or_else(|| some_value(&mut random, pg_type, &values));
                values.push(next);
            }
            let mut column = ColumnBuf::with_capacity(pg_type, rows, 0);
            let encoded: Vec<Option<Vec<u8>>> = values.iter().map(|value| bytes_of(value, pg_type)).collect();
            encoded.iter().for_each(|bytes| column.push(bytes.as_deref()));
            let column = column.freeze();
            let zone = Zone::of(pg_type, column.view(), rows);
            assert_eq!(Zone::from_bytes(&zone.to_bytes()), Some(zone));
            let array = column.array().expect("values of the type");
            let start = random.below(rows as u64) as usize;
            for _ in 0..20 {
                let tests: Vec<Test> =
                    (0..random.pick(&[1, 1, 2])).map(|_| some_test(&mut random, pg_type, &values)).collect();
                let filters: Vec<ColumnFilter> =
                    tests.iter().map(|test| ColumnFilter { column: 0, test: test.clone() }).collect();
                let ready = Filter::all(&filters, &table);
                let expected = |value: &Datum| tests.iter().all(|test| holds(test, value));
                let context = || format!("{pg_type} seed {seed}: {tests:?} of {values:?}");
                for (value, bytes) in values.iter().zip(&encoded) {
                    let accepted = ready.iter().all(|filter| filter.accepts(bytes.as_deref()));
                    assert_eq!(accepted, expected(value), "{value:?}, {}", context());
                }
                let part = array.slice(start, rows - start);
                let mut mask = vec![0; words(rows - start)];
                fill(&mut mask, rows - start);
                ready.iter().for_each(|filter| filter.retain_array(&part, &mut mask));
                let mut left = Vec::new();
                for_each(&mask, |row| left.push(row + start));
                let wanted: Vec<usize> = (start..rows).filter(|row| expected(&values[*row])).collect();
                assert_eq!(left, wanted, "{}", context());
                for filter in &ready {
                    let matches = encoded.iter().filter(|bytes| filter.accepts(bytes.as_deref())).count();
                    let verdict = zone.judge(filter);
                    let right = match verdict {
                        Judgement::None => matches == 0,
                        Judgement::All => matches == rows,
                        Judgement::Some => true,
                    };
                    assert!(right, "{verdict:?} by {zone:?} for {filter:?}, {}", context());
                    pruned += usize::from(verdict == Judgement::None);
                    whole += usize::from(verdict == Judgement::All);
                }
            }
        }
    }
    assert!(pruned > 2_000 && whole > 500, "zones decide: {pruned} excluded, {whole} wholly inside");
}

#[test]
fn images_are_monotone() {
    for pg_type in ALL_TYPES.into_iter().filter(|t| !matches!(t, PgType::Json | PgType::Jsonb)) {
        let mut random = Random::new(7);
        let mut values: Vec<Datum> = Vec::new();
        for _ in 0..400 {
            let next = some_value(&mut random, pg_type, &values);
            values.extend(Some(next).filter(|value| !value.is_null()));
        }
        values.sort_by(order);
        for pair in values.windows(2) {
            let image_of = |value: &Datum| image(pg_type, &bytes_of(value, pg_type).expect("not NULL"));
            let (a, b) = (image_of(&pair[0]), image_of(&pair[1]));
            match order(&pair[0], &pair[1]) {
                Ordering::Equal => assert_eq!(a, b, "{pg_type}: {pair:?}"),
                _ => assert!(a < b || (a == b && !is_exact(pg_type)), "{pg_type}: {pair:?}"),
            }
        }
    }
}

#[test]
fn tests_of_one_column_become_one() {
    let table = schema(&[PgType::Int4, PgType::Text, PgType::Float8], &[]);
    let on = |column, test| ColumnFilter { column, test };
    let ready = Filter::all(
        &[
            on(0, Test::Compare(Comparison::Greater, Datum::Int4(3))),
            on(1, Test::IsNotNull),
            on(0, Test::Compare(Comparison::LessOrEqual, Datum::Int4(9))),
            on(0, Test::IsNotNull),
            on(1, Test::Compare(Comparison::Equal, Datum::Text("x".into()))),
            on(2, Test::Compare(Comparison::Less, Datum::Float8(f64::NEG_INFINITY))),
        ],
        &table,
    );
    let x: Box<[u8]> = b"x"[..].into();
    let tests: Vec<Ready> = ready.into_iter().map(|filter| filter.ready).collect();
    let expected = vec![
        Ready::Ints(IntTest::Range(4, 9)),
        Ready::Bytes(Members::Between(Bound::Included(x.clone()), Bound::Included(x))),
        Ready::Never,
    ];
    assert_eq!(tests, expected);
}

#[test]
fn rows_are_asked_whole() {
    let types = [PgType::Int4, PgType::Text];
    let table = schema(&types, &[0]);
    let row = RowBuilder::default().row(&[Datum::Int4(5), Datum::Null]).expect("small");
    let five = ColumnFilter { column: 0, test: Test::In(vec![Datum::Int4(5), Datum::Int4(7), Datum::Null]) };
    let text = ColumnFilter { column: 1, test: Test::Compare(Comparison::NotEqual, Datum::Text("".into())) };
    assert_eq!(accepts_row(std::slice::from_ref(&five), &table, &row), Ok(true));
    assert_eq!(accepts_row(&[five.clone(), text], &table, &row), Ok(false));
    assert_eq!(accepts_row(&[five], &table, &row[..3]), Err(Malformed));
    assert_eq!(datum_from_bytes(PgType::Int4, &5i32.to_le_bytes()), Ok(Datum::Int4(5)));
}

#[test]
fn masks_of_any_length() {
    for rows in [0, 1, 63, 64, 65, 128, 130] {
        let mut mask = vec![u64::MAX; words(rows) + 1];
        fill(&mut mask, rows);
        assert_eq!(count(&mask), rows);
        let values: Vec<i64> = (0..rows as i64).collect();
        mask::retain_values(&mut mask, &values, |value| value % 3 == 1);
        let mut left = Vec::new();
        for_each(&mask, |row| left.push(row as i64));
        assert_eq!(left, (0..rows as i64).filter(|value| value % 3 == 1).collect::<Vec<_>>());
        mask::retain(&mut mask, |row| row % 2 == 0);
        let sixth = (0..rows).filter(|row| row % 6 == 4).count();
        assert_eq!((count(&mask), mask::is_empty(&mask)), (sixth, sixth == 0));
    }
    let bits: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(37)).collect();
    for start in [0, 1, 7, 8, 13, 70] {
        let rows = bits.len() * 8 - start;
        let set = |row: usize| bits[(row + start) / 8] >> ((row + start) % 8) & 1 == 1;
        let (mut with, mut without) = (vec![0; words(rows)], vec![0; words(rows)]);
        fill(&mut with, rows);
        fill(&mut without, rows);
        mask::and_bits(&mut with, &bits, start);
        mask::and_not_bits(&mut without, &bits, start);
        for row in 0..rows {
            let is_in = |mask: &[u64]| mask[row / 64] >> (row % 64) & 1 == 1;
            assert_eq!((is_in(&with), is_in(&without)), (set(row), !set(row)), "row {row} from {start}");
        }
    }
}
