use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{
    Array, BinaryArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use omen_core::error::SqlState;
use omen_core::types::{Interval, Numeric};

use super::source::{Intervals, Numerics, Source};
use super::*;

/// A generator of test data (xorshift).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn numeric(text: &str) -> Numeric {
    Numeric::parse(text).unwrap()
}

fn numerics(texts: &[Option<&str>]) -> ArrayRef {
    Numerics::array(texts.iter().map(|text| text.map(numeric)))
}

fn interval(months: i32, days: i32, micros: i64) -> Interval {
    Interval { months, days, micros }
}

/// A value as PostgreSQL would print it, more or less.
fn show(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".into();
    }
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(17) => {
            let mut out = Vec::new();
            Numerics::value(Numerics::raw(array)[row]).write(&mut out);
            String::from_utf8(out).unwrap()
        }
        DataType::FixedSizeBinary(16) => {
            let Interval { months, days, micros } = Intervals::value(Intervals::raw(array)[row]);
            format!("{months} mons {days} days {micros} us")
        }
        other => format!("{other}:{:?}", array.slice(row, 1).to_data().buffers()[0].as_slice()),
    }
}

fn one_group(name: &str, types: &[PgType], distinct: bool, args: &[ArrayRef]) -> Result<String, ValueError> {
    let mut accumulator = accumulator(name, types, distinct);
    accumulator.resize(1);
    accumulator.update(Groups::One(args.first().map_or(0, |arg| arg.len())), args, None)?;
    Ok(show(&accumulator.finish()?, 0))
}

/// Results of several functions, in one line.
fn line(names: &str, pg_type: PgType, arg: ArrayRef) -> String {
    let one = |name| one_group(name, &[pg_type], false, std::slice::from_ref(&arg)).unwrap();
    names.split(' ').map(one).collect::<Vec<_>>().join("|")
}

const MOMENTS: &str = "avg sum stddev stddev_pop variance var_pop";

/// Expected values are answers of PostgreSQL 15.
#[test]
fn sums_and_deviations() {
    let ints =
        "2.3333333333333333|7|1.5275252316519467|1.2472191289246471|2.3333333333333333|1.5555555555555556";
    let values = [Some(1), Some(2), Some(4), None];
    assert_eq!(line(MOMENTS, PgType::Int4, Arc::new(Int32Array::from(values.to_vec()))), ints);
    let small = values.map(|value| value.map(|value| value as i16));
    assert_eq!(line(MOMENTS, PgType::Int2, Arc::new(Int16Array::from(small.to_vec()))), ints);

    let values = numerics(&[Some("1.10"), Some("2.2"), Some("4.345"), None]);
    let wanted = "2.5483333333333333|7.645|1.6503055272686126|1.3474688205009503|2.7235083333333333|1.8156722222222222";
    assert_eq!(line(MOMENTS, PgType::Numeric(None), values), wanted);

    let values = Float64Array::from(vec![Some(1.1), Some(2.2), Some(4.345), None]);
    let wanted =
        "2.5483333333333333|7.645|1.650305527268613|1.3474688205009504|2.723508333333334|1.8156722222222228";
    assert_eq!(line(MOMENTS, PgType::Float8, Arc::new(values)), wanted);

    let values = Float32Array::from(vec![Some(1.1), Some(2.2), Some(4.345), None]);
    let wanted = "2.5483332872390747|7.645|1.6503053975664324|1.3474687145995636|2.7235079052369002|1.8156719368246002";
    assert_eq!(line(MOMENTS, PgType::Float4, Arc::new(values)), wanted);

    let values = Int64Array::from(vec![i64::MAX, i64::MAX, 5]);
    let wanted = "6148914691236517206|18446744073709551619|5325116328314171697|4347939275110927401\
                  |28356863910078205251721062471894914401|18904575940052136834480708314596609601";
    assert_eq!(line(MOMENTS, PgType::Int8, Arc::new(values)), wanted);
}

#[test]
fn few_and_odd_values() {
    let names = "stddev variance avg stddev_pop sum";
    assert_eq!(
        line(names, PgType::Int4, Arc::new(Int32Array::from(vec![7]))),
        "NULL|NULL|7.0000000000000000|0|7"
    );
    assert_eq!(line(names, PgType::Float8, Arc::new(Float64Array::from(vec![7.0]))), "NULL|NULL|7|0|7");
    let infinite = Float64Array::from(vec![f64::INFINITY, 1.0]);
    assert_eq!(line("stddev variance avg", PgType::Float8, Arc::new(infinite)), "NaN|NaN|inf");
    let nan = numerics(&[Some("NaN"), Some("1")]);
    assert_eq!(line("sum avg stddev max min", PgType::Numeric(None), nan), "NaN|NaN|NaN|NaN|1");
    let zeros = Int32Array::from(vec![0, 0]);
    assert_eq!(line("avg", PgType::Int4, Arc::new(zeros)), "0.00000000000000000000");
    assert_eq!(line("sum", PgType::Float8, Arc::new(Float64Array::from(vec![-0.0]))), "-0");
    let nulls = Int32Array::from(vec![None::<i32>; 3]);
    assert_eq!(
        line("count sum avg min max stddev var_pop", PgType::Int4, Arc::new(nulls)),
        "0|NULL|NULL|NULL|NULL|NULL|NULL"
    );
}

#[test]
fn overflows() {
    let error = |name, pg_type, arg: ArrayRef| one_group(name, &[pg_type], false, &[arg]).unwrap_err();
    let wide: ArrayRef = Arc::new(Float64Array::from(vec![1e308, 1e308]));
    let steep: ArrayRef = Arc::new(Float64Array::from(vec![1e200, -1e200]));
    for error in [
        error("sum", PgType::Float4, Arc::new(Float32Array::from(vec![3e38, 3e38]))),
        error("sum", PgType::Float8, wide.clone()),
        error("avg", PgType::Float8, wide),
        error("stddev", PgType::Float8, steep),
    ] {
        assert_eq!(error.message, "value out of range: overflow");
        assert_eq!(error.state, SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
    }
    let nines = "9".repeat(38);
    let error = error("sum", PgType::Numeric(None), numerics(&[Some(&nines), Some("1")]));
    assert_eq!(error.state, SqlState::NUMERIC_VALUE_OUT_OF_RANGE);

    // More rows than a test can hold: partial states of them.
    let mut sum = accumulator("sum", &[PgType::Int4], false);
    sum.resize(1);
    let total = super::source::fixed_array([Some((i128::from(i64::MAX) + 1).to_le_bytes())].into_iter());
    sum.merge(Groups::One(1), &[total, Arc::new(Int64Array::from(vec![1i64 << 40]))]).unwrap();
    let error = sum.finish().unwrap_err();
    assert_eq!((error.state, &*error.message), (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"));
}

#[test]
fn intervals() {
    let hour = 3_600_000_000;
    let values = [interval(1, 3, 0), interval(0, 2, hour), interval(12, 0, 0), interval(0, 30, 0)];
    let values = Intervals::array(values.into_iter().map(Some));
    assert_eq!(
        line("avg sum min max", PgType::Interval, values),
        "3 mons 16 days 22500000000 us|13 mons 35 days 3600000000 us|0 mons 2 days 3600000000 us|12 mons 0 days 0 us"
    );
}

#[test]
fn extremes() {
    let floats = Float64Array::from(vec![f64::NAN, 1.0, f64::NEG_INFINITY]);
    assert_eq!(line("min max", PgType::Float8, Arc::new(floats)), "-inf|NaN");
    let equal = numerics(&[Some("1.0"), Some("1.00"), Some("0.5"), Some("0.50")]);
    assert_eq!(line("min max", PgType::Numeric(None), equal), "0.50|1.00");
    let texts = StringArray::from(vec![Some("b"), None, Some("B"), Some("é"), Some("ba")]);
    assert_eq!(line("min max", PgType::Varchar(Some(3)), Arc::new(texts)), "B|é");

    let zoned = TimestampMicrosecondArray::from(vec![Some(5), Some(7), None]).with_timezone("UTC");
    let mut max = accumulator("max", &[PgType::Timestamptz], false);
    max.resize(2);
    max.update(Groups::Each(&[1, 1, 0]), &[Arc::new(zoned)], None).unwrap();
    let result = max.finish().unwrap();
    assert_eq!(result.data_type(), &PgType::Timestamptz.arrow());
    assert_eq!((result.is_null(0), show(&result, 1).ends_with(":[7, 0, 0, 0, 0, 0, 0, 0]")), (true, true));
    let mut min = accumulator("min", &[PgType::Date], false);
    min.resize(1);
    min.update(Groups::One(2), &[Arc::new(Date32Array::from(vec![3, -3]))], None).unwrap();
    assert_eq!(min.finish().unwrap().as_primitive::<arrow_array::types::Date32Type>().value(0), -3);
}

#[test]
fn logic() {
    let cases: [(&[Option<bool>], &str); 4] = [
        (&[Some(true), None], "true|true|true"),
        (&[Some(true), Some(false)], "false|true|false"),
        (&[Some(false), Some(false)], "false|false|false"),
        (&[None], "NULL|NULL|NULL"),
    ];
    for (values, wanted) in cases {
        let values = Arc::new(BooleanArray::from(values.to_vec()));
        assert_eq!(line("bool_and bool_or every", PgType::Bool, values), wanted);
    }
}

#[test]
fn string_agg() {
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("c"), Some("")]));
    let delimiters: ArrayRef =
        Arc::new(StringArray::from(vec![Some("1"), Some("2"), None, Some("4"), Some("5")]));
    let types = [PgType::Text, PgType::Text];
    assert_eq!(one_group("string_agg", &types, false, &[values, delimiters]).unwrap(), "ab4c5");
    let values: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "b", "c"]));
    let commas: ArrayRef = Arc::new(StringArray::from(vec![","; 4]));
    assert_eq!(one_group("string_agg", &types, true, &[values, commas]).unwrap(), "a,b,c");
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values([[1u8], [2]]));
    let types = [PgType::Bytea, PgType::Bytea];
    assert_eq!(one_group("string_agg", &types, false, &[bytes.clone(), bytes]).unwrap(), "[1, 2, 2]");
}

#[test]
fn distinct_values() {
    let distinct = |name, pg_type, arg: ArrayRef| one_group(name, &[pg_type], true, &[arg]).unwrap();
    let values = numerics(&[Some("1.50"), Some("1.5"), None, Some("2.00")]);
    let of_numerics = |name| distinct(name, PgType::Numeric(None), values.clone());
    assert_eq!(["sum", "count", "avg"].map(of_numerics), ["3.50", "2", "1.7500000000000000"]);
    let floats = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]);
    assert_eq!(distinct("count", PgType::Float8, Arc::new(floats)), "2");
    let floats = Float64Array::from(vec![2.5, -1.5, 2.5, -1.5, 0.25]);
    assert_eq!(distinct("sum", PgType::Float8, Arc::new(floats)), "1.25");
    let months = Intervals::array([interval(1, 0, 0), interval(0, 30, 0)].into_iter().map(Some));
    assert_eq!(distinct("count", PgType::Interval, months), "1");
    let ints = Int32Array::from(vec![Some(-3), Some(5), None, Some(-3), Some(5)]);
    assert_eq!(distinct("sum", PgType::Int4, Arc::new(ints)), "2");
    let bools = BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]);
    assert_eq!(distinct("count", PgType::Bool, Arc::new(bools)), "2");
    let texts = StringArray::from(vec!["x", "", "x", "y"]);
    assert_eq!(distinct("count", PgType::Text, Arc::new(texts)), "3");
    let texts = StringArray::from(vec!["x", "w", "x"]);
    assert_eq!(distinct("max", PgType::Text, Arc::new(texts)), "x");
}

#[test]
fn filters_and_count() {
    let filter = BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]);
    let ids = [0, 1, 2, 3];
    let mut count = accumulator("count", &[], false);
    count.resize(5);
    count.update(Groups::Each(&ids), &[], Some(&filter)).unwrap();
    count.update(Groups::Each(&ids), &[], None).unwrap();
    assert_eq!(count.finish().unwrap().as_primitive::<Int64Type>().values(), &[2, 1, 1, 2, 0]);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(4), None]));
    for (name, wanted) in [("count", "1"), ("sum", "1"), ("max", "1"), ("var_pop", "0")] {
        let mut filtered = accumulator(name, &[PgType::Int8], false);
        filtered.resize(1);
        filtered.update(Groups::One(4), std::slice::from_ref(&values), Some(&filter)).unwrap();
        assert_eq!(show(&filtered.finish().unwrap(), 0), wanted, "{name}");
    }
}

/// Random rows of a type, a fifth of them NULL.
fn random(pg_type: PgType, rows: usize, rng: &mut Rng) -> ArrayRef {
    let mut values =
        (0..rows).map(|_| (rng.below(5) > 0).then(|| rng.next())).collect::<Vec<_>>().into_iter();
    let real = |bits: u64| (bits % 2000) as f64 / 8.0 - 100.0;
    match pg_type {
        PgType::Bool => Arc::new(values.map(|v| v.map(|v| v % 3 == 0)).collect::<BooleanArray>()),
        PgType::Int2 => Arc::new(values.map(|v| v.map(|v| v as i16 % 100)).collect::<Int16Array>()),
        PgType::Int4 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        PgType::Int8 => Arc::new(values.map(|v| v.map(|v| v as i64 >> (v % 60))).collect::<Int64Array>()),
        PgType::Float4 => Arc::new(values.map(|v| v.map(|v| real(v) as f32)).collect::<Float32Array>()),
        PgType::Float8 => Arc::new(values.map(|v| v.map(real)).collect::<Float64Array>()),
        PgType::Numeric(_) => Numerics::array(
            values.map(|v| v.map(|v| Numeric::new(i128::from(v as i32 % 5000), (v % 4) as u8).unwrap())),
        ),
        PgType::Interval => Intervals::array(
            values.map(|v| v.map(|v| interval(v as i32 % 9, (v >> 32) as i32 % 90, (v % 1000) as i64))),
        ),
        PgType::Text => {
            Arc::new(values.map(|v| v.map(|v| "xyzé".repeat(v as usize % 7))).collect::<StringArray>())
        }
        PgType::Bytea => Arc::new(BinaryArray::from_iter(
            values.by_ref().map(|v| v.map(|v| v.to_le_bytes()[..v as usize % 3].to_vec())),
        )),
        other => panic!("{other}"),
    }
}

/// Each function over each type that it takes.
fn all_calls() -> Vec<(&'static str, Vec<PgType>)> {
    use PgType::{Bool, Bytea, Float4, Float8, Int2, Int4, Int8, Interval, Text};
    let numeric = PgType::Numeric(None);
    let mut calls =
        vec![("count", vec![]), ("string_agg", vec![Text, Text]), ("string_agg", vec![Bytea, Bytea])];
    for pg_type in [Bool, Int2, Int4, Int8, Float4, Float8, numeric, Interval, Text, Bytea] {
        for name in ["count", "sum", "avg", "min", "max", "stddev", "var_pop", "bool_and", "bool_or"] {
            if let Ok(signature) = resolve(name, &[Some(pg_type)], false) {
                calls.push((signature.name, signature.args));
            }
        }
    }
    calls
}

fn close(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        _ => a == b,
    }
}

#[test]
fn merged_states_are_a_single_pass() {
    const GROUPS: usize = 7;
    let mut rng = Rng(0x5eed);
    for (name, types) in all_calls() {
        for distinct in [false, true] {
            let mut whole = accumulator(name, &types, distinct);
            let mut merged = accumulator(name, &types, distinct);
            whole.resize(GROUPS);
            merged.resize(GROUPS);
            for rows in [40, 0, 90, 13] {
                let args: Vec<ArrayRef> = types.iter().map(|t| random(*t, rows, &mut rng)).collect();
                // The last group stays empty; the sender counts groups in another order.
                let ids: Vec<u32> = (0..rows).map(|_| rng.below(GROUPS as u64 - 1) as u32).collect();
                let theirs: Vec<u32> = ids.iter().map(|id| GROUPS as u32 - 1 - id).collect();
                let filter: BooleanArray = (0..rows).map(|_| Some(rng.below(4) > 0)).collect();
                let filter = (rows == 90).then_some(&filter);
                whole.update(Groups::Each(&ids), &args, filter).unwrap();
                let mut part = accumulator(name, &types, distinct);
                part.resize(GROUPS);
                part.update(Groups::Each(&theirs), &args, filter).unwrap();
                let states = part.state().unwrap();
                let state_types: Vec<DataType> = states.iter().map(|s| s.data_type().clone()).collect();
                assert_eq!(state_types, merged.state_types(), "{name} {types:?}");
                let back: Vec<u32> = (0..GROUPS as u32).rev().collect();
                merged.merge(Groups::Each(&back), &states).unwrap();
                assert!(merged.size_bytes() > 0);
            }
            let (whole, merged) = (whole.finish().unwrap(), merged.finish().unwrap());
            let signature =
                resolve(name, &types.iter().copied().map(Some).collect::<Vec<_>>(), false).unwrap();
            assert_eq!(whole.data_type(), &signature.result.arrow(), "{name} {types:?}");
            for group in 0..GROUPS {
                let (whole, merged) = (show(&whole, group), show(&merged, group));
                assert!(close(&whole, &merged), "{name} {types:?} {distinct}: {whole} or {merged}");
            }
            assert_eq!(show(&whole, GROUPS - 1), if name == "count" { "0" } else { "NULL" });
        }
    }
}

/// All rows as one group, and the same rows as groups of which only one has any, are the same.
#[test]
fn one_group_is_each_group() {
    let mut rng = Rng(77);
    for (name, types) in all_calls() {
        for distinct in [false, true] {
            let mut one = accumulator(name, &types, distinct);
            let mut each = accumulator(name, &types, distinct);
            one.resize(1);
            each.resize(3);
            for with_nulls in [true, false] {
                let mut args: Vec<ArrayRef> = types.iter().map(|t| random(*t, 50, &mut rng)).collect();
                if !with_nulls {
                    let valid = args.first().and_then(|arg| arg.nulls().cloned());
                    let keep: Vec<usize> =
                        (0..50).filter(|row| valid.as_ref().is_none_or(|v| v.is_valid(*row))).collect();
                    args = args.iter().map(|arg| arg.slice(keep[0], 1)).collect();
                }
                let rows = args.first().map_or(50, |arg| arg.len());
                one.update(Groups::One(rows), &args, None).unwrap();
                each.update(Groups::Each(&vec![2; rows]), &args, None).unwrap();
            }
            let (one, each) = (one.finish().unwrap(), each.finish().unwrap());
            assert_eq!(show(&one, 0), show(&each, 2), "{name} {types:?} {distinct}");
        }
    }
}

#[test]
fn resolution() {
    let resolved = |name, args: &[Option<PgType>]| resolve(name, args, false).map(|s| s.result);
    assert_eq!(resolved("sum", &[Some(PgType::Time)]), Ok(PgType::Interval));
    assert_eq!(resolved("stddev", &[None]), Ok(PgType::Float8));
    assert_eq!(resolved("max", &[None]), Ok(PgType::Text));
    assert_eq!(resolved("max", &[Some(PgType::Numeric(Some((9, 2))))]), Ok(PgType::Numeric(None)));
    assert_eq!(resolved("every", &[None]), Ok(PgType::Bool));
    assert_eq!(resolved("string_agg", &[None, None]), Ok(PgType::Text));
    assert_eq!(resolved("string_agg", &[Some(PgType::Bytea), None]), Ok(PgType::Bytea));
    assert_eq!(resolved("count", &[]), Ok(PgType::Int8));
    assert!(exists("var_samp") && !exists("abs"));

    let message =
        |name, args: &[Option<PgType>], distinct| resolve(name, args, distinct).unwrap_err().message.clone();
    for (name, args, wanted) in [
        ("max", vec![Some(PgType::Bool)], "function max(boolean) does not exist"),
        ("max", vec![Some(PgType::Uuid)], "function max(uuid) does not exist"),
        ("sum", vec![], "function sum() does not exist"),
        ("sum", vec![None], "function sum(unknown) is not unique"),
        ("avg", vec![Some(PgType::Text)], "function avg(text) does not exist"),
        (
            "string_agg",
            vec![Some(PgType::Int4), None],
            "function string_agg(integer, unknown) does not exist",
        ),
        ("string_agg", vec![None], "function string_agg(unknown) does not exist"),
        (
            "count",
            vec![Some(PgType::Int4), Some(PgType::Int4)],
            "function count(integer, integer) does not exist",
        ),
        ("bool_and", vec![Some(PgType::Int4)], "function bool_and(integer) does not exist"),
    ] {
        assert_eq!(message(name, &args, false), wanted);
    }
    assert_eq!(
        message("count", &[Some(PgType::Json)], true),
        "could not identify an equality operator for type json"
    );
}
