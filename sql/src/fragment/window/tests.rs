//! Frames and aggregates over them, against a model that looks at each row of each frame.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Float64Array, Int32Array};
use omen_core::types::Datum;

use super::*;
use crate::expr::Expr;
use crate::fragment::tests::{run_with, work};
use crate::fragment::{Pipeline, Stage};
use crate::logical::{Exclude, Frame, FrameBound, FrameUnits};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn bound(&mut self) -> FrameBound {
        match self.below(4) {
            0 => FrameBound::Unbounded,
            1 => FrameBound::Current,
            kind => {
                let offset =
                    Expr::Literal { value: Datum::Int8(self.below(5) as i64), pg_type: PgType::Int8 };
                FrameBound::Offset { following: kind == 2, offset, values: None }
            }
        }
    }
}

/// A place relative to the row, in rows or groups.
fn distance(bound: &FrameBound, at_start: bool) -> i64 {
    match bound {
        FrameBound::Unbounded if at_start => i64::MIN,
        FrameBound::Unbounded => i64::MAX,
        FrameBound::Current => 0,
        FrameBound::Offset { following, offset: Expr::Literal { value: Datum::Int8(count), .. }, .. } => {
            if *following {
                *count
            } else {
                -count
            }
        }
        FrameBound::Offset { .. } => panic!("offsets are literals"),
    }
}

/// Rows that a row sees, one after another.
fn model(frame: &Frame, keys: &[(i32, i32)], row: usize) -> Vec<usize> {
    let partition: Vec<usize> = (0..keys.len()).filter(|other| keys[*other].0 == keys[row].0).collect();
    let mut groups: Vec<i32> = partition.iter().map(|other| keys[*other].1).collect();
    groups.dedup();
    let group = |other: usize| groups.iter().position(|key| *key == keys[other].1).unwrap() as i64;
    let (start, end) = (distance(&frame.start, true), distance(&frame.end, false));
    let seen = partition.into_iter().filter(|other| {
        let away = match frame.units {
            FrameUnits::Rows => *other as i64 - row as i64,
            FrameUnits::Groups | FrameUnits::Range => group(*other) - group(row),
        };
        let peer = keys[*other].1 == keys[row].1;
        let excluded = match frame.exclude {
            Exclude::NoOthers => false,
            Exclude::CurrentRow => *other == row,
            Exclude::Group => peer,
            Exclude::Ties => peer && *other != row,
        };
        start <= away && away <= end && !excluded
    });
    seen.collect()
}

fn window(stage: &WindowStage, types: &[PgType], output: &[PgType]) -> Window {
    let (stage, input, schema) = (stage.clone(), types.to_vec(), schema_of(output));
    Window { stage, input, schema, context: EvalContext::new(1), memory_bytes: 1 << 20 }
}

/// What a window gives for rows that come in two batches.
fn run_within(
    stage: &WindowStage,
    types: &[PgType],
    output: &[PgType],
    whole: &RecordBatch,
    cut: usize,
    memory_bytes: usize,
) -> RecordBatch {
    let pipeline = Pipeline {
        input: types.to_vec(),
        stages: vec![Stage::Window(Box::new(stage.clone()))],
        context: Arc::new(EvalContext::new(1)),
        memory_bytes: 1 << 20,
    };
    let batches = [whole.slice(0, cut), whole.slice(cut, whole.num_rows() - cut)];
    let batches = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
    let out = run_with(&pipeline, batches, &work(memory_bytes));
    arrow_select::concat::concat_batches(&schema_of(output), &out).unwrap()
}

/// A call of every kind of function, over rows of (partition, order, value, value as float).
fn every_function(types: &[PgType]) -> Vec<(WindowFunction, Vec<Expr>, PgType)> {
    let column = |index: usize| Expr::Column { index, pg_type: types[index] };
    let int = |value: i32| Expr::Literal { value: Datum::Int4(value), pg_type: PgType::Int4 };
    vec![
        (WindowFunction::RowNumber, vec![], PgType::Int8),
        (WindowFunction::Rank, vec![], PgType::Int8),
        (WindowFunction::DenseRank, vec![], PgType::Int8),
        (WindowFunction::PercentRank, vec![], PgType::Float8),
        (WindowFunction::CumeDist, vec![], PgType::Float8),
        (WindowFunction::Ntile, vec![int(7)], PgType::Int4),
        (WindowFunction::Lag, vec![column(2), int(2_500), column(0)], PgType::Int4),
        (WindowFunction::Lead, vec![column(2), column(2)], PgType::Int4),
        (WindowFunction::FirstValue, vec![column(2)], PgType::Int4),
        (WindowFunction::LastValue, vec![column(2)], PgType::Int4),
        (WindowFunction::NthValue, vec![column(2), int(5)], PgType::Int4),
        (WindowFunction::Aggregate("sum"), vec![column(2)], PgType::Int8),
        (WindowFunction::Aggregate("min"), vec![column(2)], PgType::Int4),
        (WindowFunction::Aggregate("sum"), vec![column(3)], PgType::Float8),
    ]
}

/// All functions over two partitions of thousands of rows and some small ones, as they are computed over all rows at once.
#[test]
fn large_partitions_are_computed_in_pieces() {
    let mut random = Random(3);
    let count = 9_000_usize;
    let firsts = (0..count as i32).map(|row| match row {
        0..4_000 => 0,
        4_000..8_900 => 1,
        _ => row,
    });
    let seconds = (0..count as i32).map(|row| if row < 4_000 { row / 900 } else { row / 3 });
    let values: Vec<Option<i32>> =
        (0..count).map(|_| (random.below(9) > 0).then(|| random.below(1_000) as i32)).collect();
    let floats: Float64Array = values.iter().map(|value| value.map(f64::from)).collect();
    let types = [PgType::Int4, PgType::Int4, PgType::Int4, PgType::Float8];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(firsts.collect::<Int32Array>()),
        Arc::new(seconds.collect::<Int32Array>()),
        Arc::new(Int32Array::from(values)),
        Arc::new(floats),
    ];
    let whole = batch_of(&schema_of(&types), columns, count);
    let offset = |following, count| FrameBound::Offset {
        following,
        offset: Expr::Literal { value: Datum::Int8(count), pg_type: PgType::Int8 },
        values: None,
    };
    let frames = [
        (FrameUnits::Range, FrameBound::Unbounded, FrameBound::Current, Exclude::NoOthers),
        (FrameUnits::Rows, offset(false, 3), offset(true, 1), Exclude::NoOthers),
        (FrameUnits::Rows, offset(false, 700), offset(true, 900), Exclude::CurrentRow),
        (FrameUnits::Groups, offset(true, 1), offset(true, 3), Exclude::Group),
        (FrameUnits::Rows, FrameBound::Unbounded, FrameBound::Unbounded, Exclude::NoOthers),
    ];
    let functions = every_function(&types);
    for (units, start, end, exclude) in frames {
        let frame = Frame { units, start, end, exclude };
        let calls = functions.iter().map(|(function, args, pg_type)| WindowCall {
            function: *function,
            args: args.clone(),
            filter: None,
            frame: frame.clone(),
            pg_type: *pg_type,
        });
        let order = vec![SortKey { column: 1, descending: false, nulls_first: false }];
        let stage = WindowStage { partition: vec![0], order, calls: calls.collect() };
        let results = functions.iter().map(|(_, _, pg_type)| *pg_type);
        let output: Vec<PgType> = types.iter().copied().chain(results).collect();
        let window = window(&stage, &types, &output);
        let rows = Rows::new(&window.partition_keys(&whole), &window.order_keys(&whole), count);
        let of = |call: &WindowCall| window.column(call, &whole, &rows).unwrap();
        let expected: Vec<ArrayRef> = stage.calls.iter().map(of).collect();
        for memory_bytes in [40_000, 64 << 20] {
            let out = run_within(&stage, &types, &output, &whole, 5_000, memory_bytes);
            for (place, (function, _, _)) in functions.iter().enumerate() {
                let what = format!("{function:?}, {frame:?}, {memory_bytes} bytes");
                assert_eq!(out.column(types.len() + place), &expected[place], "{what}");
            }
        }
    }
}

#[test]
fn frames_are_those_of_the_model() {
    let mut random = Random(7);
    let int = |values: Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    for round in 0..400 {
        let count = 1 + random.below(40) as usize;
        let mut keys: Vec<(i32, i32)> =
            (0..count).map(|_| (random.below(3) as i32, random.below(8) as i32)).collect();
        keys.sort_unstable();
        let values: Vec<i32> = (0..count).map(|_| random.below(100) as i32).collect();
        let units = if random.below(2) == 0 { FrameUnits::Rows } else { FrameUnits::Groups };
        let exclude = [Exclude::NoOthers, Exclude::CurrentRow, Exclude::Group, Exclude::Ties];
        let exclude = exclude[random.below(4) as usize];
        let frame = Frame { units, start: random.bound(), end: random.bound(), exclude };
        let types = [PgType::Int4, PgType::Int4, PgType::Int4];
        let column = |index| Expr::Column { index, pg_type: PgType::Int4 };
        let call = |name, pg_type| WindowCall {
            function: WindowFunction::Aggregate(name),
            args: vec![column(2)],
            filter: None,
            frame: frame.clone(),
            pg_type,
        };
        let stage = WindowStage {
            partition: vec![0],
            order: vec![SortKey { column: 1, descending: false, nulls_first: false }],
            calls: vec![call("sum", PgType::Int8), call("max", PgType::Int4), call("count", PgType::Int8)],
        };
        let output = [&types[..], &[PgType::Int8, PgType::Int4, PgType::Int8]].concat();
        let (firsts, seconds): (Vec<i32>, Vec<i32>) = keys.iter().copied().unzip();
        let whole = batch_of(&schema_of(&types), vec![int(firsts), int(seconds), int(values.clone())], count);
        let cut = random.below(count as u64) as usize;
        let run = |memory_bytes| run_within(&stage, &types, &output, &whole, cut, memory_bytes);
        let out = run(1 << 20);
        assert_eq!(run(1), out, "round {round}, {frame:?}");
        assert_eq!(run(2_000), out, "round {round}, {frame:?}");
        let window = window(&stage, &types, &output);
        let rows = Rows::new(&window.partition_keys(&whole), &window.order_keys(&whole), count);
        let seen = seen(&frame, &rows, &whole, &stage.order, &window.context).unwrap();
        let sum = AggregateCall::plain("sum", vec![column(2)], PgType::Int8);
        let input = Input { call: &sum, args: vec![whole.column(2).clone()], filter: None, rows: count };
        let (tree, one_by_one) = (input.in_tree(&seen).unwrap(), input.one_by_one(&seen).unwrap());
        for (row, own) in seen.iter().enumerate() {
            let expected = model(&frame, &keys, row);
            let what = format!("round {round}, row {row}, {frame:?}");
            assert_eq!(own.intervals().flatten().collect::<Vec<_>>(), expected, "{what}");
            let sum = (!expected.is_empty())
                .then(|| expected.iter().map(|row| i64::from(values[*row])).sum::<i64>());
            for results in [out.column(3), &tree, &one_by_one] {
                let results = results.as_primitive::<arrow_array::types::Int64Type>();
                assert_eq!(results.is_valid(row).then(|| results.value(row)), sum, "{what}");
            }
            let largest = out.column(4).as_primitive::<Int32Type>();
            let expected_largest = expected.iter().map(|row| values[*row]).max();
            assert_eq!(largest.is_valid(row).then(|| largest.value(row)), expected_largest, "{what}");
        }
    }
}
