use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Int32Array, StringArray};

use super::*;

fn context() -> Arc<EvalContext> {
    Arc::new(EvalContext::new(1))
}

fn numbers(values: &[i32]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int32Array::from(values.to_vec()));
    batch_of(&schema_of(&[PgType::Int4]), vec![column], values.len())
}

fn run(stages: Vec<Stage>, batches: Vec<RecordBatch>) -> Vec<i32> {
    let pipeline = Pipeline { input: vec![PgType::Int4], stages, context: context(), memory_bytes: 64 << 20 };
    let mut run = pipeline.start();
    let mut out = Vec::new();
    for batch in batches {
        if run.push(batch, &mut out).expect("no errors") == Flow::Done {
            break;
        }
    }
    run.finish(&mut out).expect("no errors");
    out.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
}

fn key(descending: bool) -> Vec<SortKey> {
    vec![SortKey { column: 0, descending, nulls_first: descending }]
}

#[test]
fn limit_and_offset_across_batches() {
    let batches = || vec![numbers(&[1, 2, 3]), numbers(&[4, 5]), numbers(&[6])];
    assert_eq!(run(vec![Stage::Limit { offset: 2, count: 2 }], batches()), [3, 4]);
    assert_eq!(run(vec![Stage::Limit { offset: 0, count: 9 }], batches()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(run(vec![Stage::Limit { offset: 9, count: 9 }], batches()), [0; 0]);
    assert_eq!(run(vec![Stage::Limit { offset: 0, count: 0 }], batches()), [0; 0]);
}

#[test]
fn top_k_is_the_beginning_of_the_whole_order() {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as i32
    };
    let values: Vec<Vec<i32>> = (0..40).map(|_| (0..5_000).map(|_| next()).collect()).collect();
    let batches: Vec<RecordBatch> = values.iter().map(|values| numbers(values)).collect();
    for descending in [false, true] {
        let mut expected: Vec<i32> = values.iter().flatten().copied().collect();
        expected.sort_unstable();
        if descending {
            expected.reverse();
        }
        assert_eq!(run(vec![Stage::Sort(key(descending))], batches.clone()), expected);
        for count in [0, 1, 10, 3_000] {
            let got = run(vec![Stage::TopK { keys: key(descending), count }], batches.clone());
            assert_eq!(got, expected[..count]);
        }
    }
}

#[test]
fn distinct_in_two_steps() {
    let groups = vec![Expr::Column { index: 0, pg_type: PgType::Int4 }];
    let stage = |mode| Stage::Aggregate { groups: groups.clone(), aggregates: Vec::new(), mode };
    let stages = vec![stage(AggregateMode::Partial), stage(AggregateMode::Final), Stage::Sort(key(false))];
    let values: Vec<i32> = (0..200_000).map(|value| value % 70_000 + 10_000).collect();
    let batches = values.chunks(8_192).map(numbers).collect();
    assert_eq!(run(stages, batches), (10_000..80_000).collect::<Vec<i32>>());
}

#[test]
fn sorting_text_keeps_columns_together() {
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a")]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let types = vec![PgType::Int4, PgType::Text];
    let batch = batch_of(&schema_of(&types), vec![numbers, names], 3);
    let keys = vec![SortKey { column: 1, descending: false, nulls_first: false }];
    let pipeline = Pipeline {
        input: types,
        stages: vec![Stage::Sort(keys)],
        context: context(),
        memory_bytes: 64 << 20,
    };
    let mut run = pipeline.start();
    let mut out = Vec::new();
    run.push(batch, &mut out).expect("no errors");
    run.finish(&mut out).expect("no errors");
    assert_eq!(out[0].column(0).as_primitive::<Int32Type>().values(), &[3, 1, 2]);
}
