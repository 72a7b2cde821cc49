use std::rc::Rc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Int32Array, StringArray};

use futures_lite::future::block_on;

use super::local::Given;
use super::spill::{DiskSpace, Work};
use super::*;
use crate::tests::mem_router::MemFile;

fn context() -> Arc<EvalContext> {
    Arc::new(EvalContext::new(1))
}

fn numbers(values: &[i32]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int32Array::from(values.to_vec()));
    batch_of(&schema_of(&[PgType::Int4]), vec![column], values.len())
}

fn run(stages: Vec<Stage>, batches: Vec<RecordBatch>) -> Vec<i32> {
    let run = |memory_bytes| {
        let input = vec![PgType::Int4];
        let pipeline = Pipeline { input, stages: stages.clone(), context: context(), memory_bytes: 64 << 20 };
        run_with(&pipeline, batches.clone(), &work(memory_bytes))
    };
    let out = run(64 << 20);
    for memory_bytes in [1, 20_000, 1 << 20] {
        assert_eq!(numbers_of(&run(memory_bytes)), numbers_of(&out));
    }
    numbers_of(&out)
}

/// What operators work with in tests: files in memory.
pub(crate) fn work(memory_bytes: usize) -> Work {
    let create = || -> omen_core::temporary::Answer<'static, _> {
        let file: Rc<dyn omen_core::temporary::TemporaryFile> = Rc::new(MemFile::default());
        Box::pin(async move { Ok(file) })
    };
    Work::new(|| Box::pin(async { Ok(()) }), || 0, create, DiskSpace::new(None), memory_bytes, 5)
}

pub(crate) fn run_with(pipeline: &Pipeline, batches: Vec<RecordBatch>, work: &Work) -> Vec<RecordBatch> {
    let mut run = pipeline.start_local(work);
    let mut batches = batches.into_iter();
    let mut out = Vec::new();
    block_on(async {
        loop {
            match run.next().await.expect("no errors") {
                Given::Batch(batch) => out.push(batch),
                Given::End => return out,
                Given::Input => match batches.next() {
                    Some(batch) => run.push(batch),
                    None => run.end(),
                },
            }
        }
    })
}

fn numbers_of(batches: &[RecordBatch]) -> Vec<i32> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
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
    let out = run_with(&pipeline, vec![batch], &work(64 << 20));
    assert_eq!(out[0].column(0).as_primitive::<Int32Type>().values(), &[3, 1, 2]);
}
