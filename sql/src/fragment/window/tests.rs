//! Frames and aggregates over them, against a model that looks at each row of each frame.

use omen_core::types::Datum;

use super::*;
use crate::expr::Expr;
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
        let mut run = WindowRun::new(&stage, &types, &output, EvalContext::new(0), 1 << 20);
        let (firsts, seconds): (Vec<i32>, Vec<i32>) = keys.iter().copied().unzip();
        let whole = batch_of(&schema_of(&types), vec![int(firsts), int(seconds), int(values.clone())], count);
        let mut out = Vec::new();
        let cut = random.below(count as u64) as usize;
        run.push(whole.slice(0, cut), &mut out).unwrap();
        run.push(whole.slice(cut, count - cut), &mut out).unwrap();
        run.finish(&mut out).unwrap();
        let out = arrow_select::concat::concat_batches(&schema_of(&output), &out).unwrap();
        let rows = Rows::new(&run.partition_keys(&whole), &run.order_keys(&whole), count);
        let seen = seen(&frame, &rows, &whole, &stage.order, &run.context).unwrap();
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
