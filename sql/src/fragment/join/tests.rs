//! A join with keys against the same join as a nested loop, over random rows.

use std::sync::Arc;

use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, Int64Array, StringArray};
use omen_core::fragment::FragmentRun;
use omen_core::types::Datum;

use super::probe::Probe;
use super::*;
use crate::expr::{ExprBuilder, ParameterTypes};

const TYPES: [PgType; 3] = [PgType::Int4, PgType::Int8, PgType::Text];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Batches of a few values each, NULLs among them.
    fn batches(&mut self) -> Vec<RecordBatch> {
        (0..self.below(4)).map(|_| self.batch()).collect()
    }

    fn batch(&mut self) -> RecordBatch {
        let rows = self.below(40) as usize;
        let mut value = |bound| (self.below(5) > 0).then(|| self.below(bound));
        let ints: Vec<Option<i32>> = (0..rows).map(|_| value(12).map(|v| v as i32)).collect();
        let longs: Vec<Option<i64>> = (0..rows).map(|_| value(4).map(|v| v as i64)).collect();
        let texts: Vec<Option<String>> =
            (0..rows).map(|_| value(6).map(|v| "xy".repeat(v as usize))).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(ints)),
            Arc::new(Int64Array::from(longs)),
            Arc::new(StringArray::from(texts)),
        ];
        batch_of(&schema_of(&TYPES), columns, rows)
    }
}

fn column(index: usize) -> Expr {
    Expr::Column { index, pg_type: TYPES[index % 3] }
}

fn operator(name: &str, left: Expr, right: Expr) -> Expr {
    let (context, mut parameters) = (EvalContext::new(1), ParameterTypes::default());
    let mut builder = ExprBuilder { context: &context, parameters: &mut parameters };
    builder.operator(name, left, right).expect("types with this operator")
}

fn stage(keys: Vec<JoinKey>, conjuncts: Vec<Expr>, keeps: (bool, bool)) -> JoinStage {
    JoinStage {
        probe: TYPES.to_vec(),
        build: TYPES.to_vec(),
        keys,
        conjuncts,
        gives: Gives::Pairs,
        keeps_probe: keeps.0,
        keeps_build: keeps.1,
        output: vec![0, 5, 1, 2, 3, 4],
        context: EvalContext::new(1),
        memory_bytes: 64 << 20,
        given: None,
    }
}

/// The rows of a join, in order of their text.
fn rows(stage: JoinStage, probe: &[RecordBatch], build: &[RecordBatch]) -> Vec<String> {
    let mut side = BuildSide::new(stage);
    build.iter().for_each(|batch| side.push(batch.clone()).expect("few rows"));
    let (mut run, _) = side.finish();
    let shared = run.table().fan_out().map(|_| rows_of_stages(run.table(), probe));
    let mut probe = probe.iter();
    let mut out = Vec::new();
    loop {
        match run.next().expect("no errors") {
            Next::Batch(batch) => {
                assert!(batch.num_rows() > 0 && batch.num_rows() <= BATCH_ROWS);
                out.extend((0..batch.num_rows()).map(|row| shown(&batch, row)));
            }
            Next::Idle => {}
            Next::Input => match probe.next() {
                Some(batch) => run.push(batch.clone()).expect("no errors"),
                None => run.end_probe(),
            },
            Next::End => break,
        }
    }
    out.sort();
    if let Some(shared) = shared {
        assert_eq!(shared, out, "as a stage of fragments");
    }
    out
}

/// The same, of two fragments that share the build side.
fn rows_of_stages(table: &Arc<JoinTable>, probe: &[RecordBatch]) -> Vec<String> {
    let stage = Probe(table.clone());
    let mut runs = [stage.start(), stage.start()];
    let mut out = Vec::new();
    for (number, batch) in probe.iter().enumerate() {
        runs[number % 2].push(batch.clone(), &mut out).expect("no errors");
    }
    runs.iter_mut().for_each(|run| run.finish(&mut out).expect("no errors"));
    let most = table.fan_out().expect("a bound");
    let given: usize = out.iter().map(RecordBatch::num_rows).sum();
    assert!(given <= most * probe.iter().map(RecordBatch::num_rows).sum::<usize>());
    let mut rows: Vec<String> =
        out.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| shown(batch, row))).collect();
    rows.sort();
    rows
}

fn shown(batch: &RecordBatch, row: usize) -> String {
    let types = [PgType::Int4, PgType::Text, PgType::Int8, PgType::Text, PgType::Int4, PgType::Int8];
    let cells = batch.columns().iter().zip(types);
    cells.map(|(array, pg_type)| format!("{:?} ", crate::expr::datum_at(array, pg_type, row))).collect()
}

#[test]
fn hash_joins_are_nested_loops() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let choices: [&[usize]; 5] = [&[0], &[1], &[2], &[0, 2], &[1, 0, 2]];
    for round in 0..400u64 {
        let (probe, build) = (random.batches(), random.batches());
        let columns = choices[random.below(5) as usize];
        let keys = columns.iter().map(|index| JoinKey {
            probe: column(*index),
            build: column(*index),
            null_safe: false,
        });
        let others = match random.below(3) {
            0 => vec![operator("<", column(1), column(4))],
            1 => vec![operator("<>", column(0), column(3)), operator("<=", column(2), column(5))],
            _ => Vec::new(),
        };
        let keeps = (random.below(2) == 0, random.below(2) == 0);
        let mut all = others.clone();
        all.extend(columns.iter().map(|index| operator("=", column(*index), column(index + 3))));
        let hashed = rows(stage(keys.collect(), others, keeps), &probe, &build);
        let looped = rows(stage(Vec::new(), all, keeps), &probe, &build);
        assert_eq!(hashed, looped, "round {round}");
    }
}

#[test]
fn many_partners_come_in_pieces() {
    let ones = |rows: usize| -> RecordBatch {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![1; rows]));
        let longs: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x"); rows]));
        batch_of(&schema_of(&TYPES), vec![ints, longs, texts], rows)
    };
    for keys in [vec![], vec![JoinKey { probe: column(0), build: column(0), null_safe: false }]] {
        let mut side = BuildSide::new(stage(keys, Vec::new(), (true, true)));
        side.push(ones(3_000)).expect("enough memory");
        let (mut run, _) = side.finish();
        run.push(ones(100)).expect("no errors");
        let mut given = 0;
        loop {
            match run.next().expect("no errors") {
                Next::Batch(batch) => {
                    assert!(batch.num_rows() <= BATCH_ROWS);
                    let first = batch.column(4).as_primitive::<Int32Type>();
                    assert_eq!(first.null_count(), 0);
                    let number = batch.column(5).as_primitive::<Int64Type>().value(0);
                    assert_eq!(number, given % 3_000, "partners come in the order of the build side");
                    given += batch.num_rows() as i64;
                }
                Next::Idle => {}
                Next::Input => run.end_probe(),
                Next::End => break,
            }
        }
        assert_eq!(given, 300_000);
    }
}

#[test]
fn long_values_make_small_batches() {
    let wide = |rows: usize| -> RecordBatch {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![1; rows]));
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![1; rows]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x".repeat(1 << 20)); rows]));
        batch_of(&schema_of(&TYPES), vec![ints, longs, texts], rows)
    };
    let mut side = BuildSide::new(stage(Vec::new(), Vec::new(), (false, false)));
    side.push(wide(20)).expect("enough memory");
    let (mut run, _) = side.finish();
    run.push(wide(10)).expect("no errors");
    let mut given = 0;
    while let Next::Batch(batch) = run.next().expect("no errors") {
        assert!(batch_bytes(&batch) <= OUTPUT_BYTES);
        given += batch.num_rows();
    }
    assert_eq!(given, 200);
}

#[test]
fn memory_is_bounded_and_keys_are_told() {
    let numbers = |from: i32, rows: i32| -> RecordBatch {
        let ints: ArrayRef = Arc::new(Int32Array::from_iter_values(from..from + rows));
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![None; rows as usize]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; rows as usize]));
        batch_of(&schema_of(&TYPES), vec![ints, longs, texts], rows as usize)
    };
    let keyed = |index: usize| {
        stage(
            vec![JoinKey { probe: column(index), build: column(index), null_safe: false }],
            Vec::new(),
            (false, false),
        )
    };
    let mut small = BuildSide::new(JoinStage { memory_bytes: 10_000, ..keyed(0) });
    small.push(numbers(0, 100)).expect("no errors");
    assert!(!small.is_full());
    small.push(numbers(0, 1_000)).expect("no errors");
    assert!(small.is_full());
    let mut few = BuildSide::new(keyed(0));
    few.push(numbers(7, 2)).expect("few rows");
    let (run, known) = few.finish();
    assert!(!run.needs_no_probe());
    let KeyValues::Few(values) = known else { panic!("few values") };
    assert_eq!(crate::expr::datum_at(&values[0][0], PgType::Int4, 1), Datum::Int4(8));
    let mut many = BuildSide::new(keyed(0));
    many.push(numbers(-5, 4_000)).expect("enough memory");
    let KeyValues::Numbers(sets) = many.finish().1 else { panic!("numbers near each other") };
    let set = sets[0].as_ref().expect("numbers near each other");
    assert_eq!((set.count(), set.min(), set.max()), (4_000, -5, 3_994));
    let mut far = BuildSide::new(keyed(0));
    far.push(numbers(-5, 4_000)).expect("enough memory");
    far.push(numbers(1 << 30, 1)).expect("enough memory");
    assert!(matches!(far.finish().1, KeyValues::Between(-5, 1_073_741_824)));
    let mut null = BuildSide::new(keyed(1));
    null.push(numbers(0, 3)).expect("few rows");
    assert!(null.finish().0.needs_no_probe(), "NULL has no partner");
}
