use super::super::tests::{scan_blocks, scan_columns, set_ends, simulate, versions, view, write};
use super::*;
use crate::filter::tests::{holds, some_test};
use crate::filter::{ColumnFilter, Comparison, Test};
use crate::key::Key;
use crate::segment::BlockCache;
use crate::stamp::visible;
use crate::test_rows::{self, ALL_TYPES, Random};
use crate::types::Datum;

fn some_span(random: &mut Random, keys: &[Key]) -> KeySpan {
    let key = |random: &mut Random| keys[random.below(keys.len() as u64) as usize].clone();
    let (one, other) = (key(random), key(random));
    match random.below(4) {
        0 => KeySpan { start: one.clone().min(other.clone()), end: Some(one.max(other)) },
        1 => KeySpan { start: one, end: None },
        2 => KeySpan { start: Key::default(), end: Some(one) },
        _ => KeySpan::all(),
    }
}

#[test]
fn filtered_scans_answer_what_the_model_answers() {
    for seed in 0..4 {
        simulate(seed, |_, env| async move {
            let mut random = Random::new(seed + 40);
            let schema = test_rows::schema(&ALL_TYPES, &[0]);
            let mut model = versions(&mut random, &schema, 3_000, seed % 2 == 0);
            if seed % 2 == 1 {
                // Long runs of one value, so that zones and constants decide.
                let runs = model.clone();
                for (row, version) in model.iter_mut().enumerate() {
                    version.values[1..].clone_from_slice(&runs[row / 1_100].values[1..]);
                }
            }
            let segment = write(&env, &schema, 1, &model).await;
            set_ends(&segment, &model).await;
            let keys: Vec<Key> = model.iter().map(|version| version.key.clone()).collect();
            let cache = BlockCache::new(64 << 20);
            for round in 0..60 {
                let tests = (0..random.below(4)).map(|_| {
                    let column = random.below(ALL_TYPES.len() as u64) as usize;
                    let values: Vec<Datum> = (0..9).map(|i| model[i * 300].values[column].clone()).collect();
                    let test = some_test(&mut random, ALL_TYPES[column], &values);
                    ColumnFilter { column, test }
                });
                let filters: Vec<ColumnFilter> = tests.collect();
                let mut columns: Vec<usize> = (0..ALL_TYPES.len()).collect();
                columns.retain(|_| round % 5 != 0 && random.one_in(3));
                let span = some_span(&mut random, &keys);
                let view = view(random.pick(&[0, 999_500, 1_000_000, 1_500_000]));
                let ready = Filter::all(&filters, &schema);
                let mut scan = BlockScan::new(&schema, &columns, &ready, &view);
                let batches = scan_columns(&segment, &mut scan, &span, &cache).await;
                let wanted = model.iter().filter(|version| {
                    let passes = |filter: &ColumnFilter| holds(&filter.test, &version.values[filter.column]);
                    let begin = crate::stamp::Stamp::committed(crate::clock::Timestamp(version.begin));
                    span.contains(&version.key)
                        && visible(begin, version.end(), &view)
                        && filters.iter().all(passes)
                });
                let wanted: Vec<Vec<Datum>> = wanted
                    .map(|version| columns.iter().map(|column| version.values[*column].clone()).collect())
                    .collect();
                let found: Vec<Vec<Datum>> = batches
                    .iter()
                    .flat_map(|batch| test_rows::values_of_batch(&schema, &columns, batch))
                    .collect();
                assert!(batches.iter().all(|batch| batch.num_rows() <= BATCH_ROWS));
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(rows, wanted.len(), "{filters:?} in {span:?}");
                assert!(columns.is_empty() || found == wanted, "{filters:?} in {span:?}");
            }
        });
    }
}

#[test]
fn blocks_that_need_no_look_are_not_read() {
    simulate(7, |_, env| async move {
        let mut random = Random::new(7);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
        let model = versions(&mut random, &schema, 20_000, true);
        let segment = write(&env, &schema, 1, &model).await;
        let cache = BlockCache::new(64 << 20);
        let blocks = segment.block_count() as u64;
        assert!(blocks > 10);
        let count = async |tests: &[ColumnFilter], view: ReadView| {
            let ready = Filter::all(tests, &schema);
            let mut scan = BlockScan::new(&schema, &[], &ready, &view);
            let batches = scan_columns(&segment, &mut scan, &KeySpan::all(), &cache).await;
            (batches.iter().map(RecordBatch::num_rows).sum::<usize>(), scan.counts())
        };
        let on_key = |op, value| ColumnFilter { column: 0, test: Test::Compare(op, Datum::Int8(value)) };
        let only_counted = BlockCounts { read: 0, pruned: 0, counted: blocks };
        assert_eq!(count(&[], view(1_000_000)).await, (20_000, only_counted));
        assert_eq!(count(&[], view(5)).await, (0, BlockCounts { read: 0, pruned: blocks, counted: 0 }));
        assert_eq!(cache.size_bytes(), 0);
        let middle = model[10_000].values[0].clone();
        let Datum::Int8(middle) = middle else { panic!("the key column") };
        let (rows, counts) = count(&[on_key(Comparison::GreaterOrEqual, middle)], view(1_000_000)).await;
        assert_eq!(rows, 10_000);
        assert!(counts.read <= 1 && counts.pruned + counts.counted + counts.read == blocks, "{counts:?}");
        let (rows, counts) = count(&[on_key(Comparison::Equal, middle)], view(1_000_000)).await;
        assert_eq!((rows, counts.read, counts.pruned), (1, 1, blocks - 1));
        segment.set_end(
            segment
                .find(&model[3].key, &[], &cache)
                .await
                .expect("reads")
                .newest()
                .expect("there")
                .position(),
            crate::stamp::Stamp::committed(crate::clock::Timestamp(1_000_001)),
        );
        assert_eq!(count(&[], view(1_000_000)).await.0, 20_000);
        assert_eq!(count(&[], view(1_000_001)).await, (19_999, only_counted));
    });
}

#[test]
fn a_cold_point_read_is_one_read_of_64_kib_at_most() {
    simulate(8, |sim, env| async move {
        let mut random = Random::new(8);
        let schema = test_rows::schema(&ALL_TYPES, &[0]);
        let model = versions(&mut random, &schema, 5_000, true);
        let segment = write(&env, &schema, 1, &model).await;
        assert!(segment.block_count() > 3);
        for version in model.iter().step_by(97) {
            let cache = BlockCache::new(1 << 20);
            // Every read is an event, and nothing else happens meanwhile.
            let events = || sim.events_total();
            let before = events();
            let found = segment.find(&version.key, &[], &cache).await.expect("reads");
            assert!(found.newest().is_some());
            assert_eq!(events() - before, 1, "{:?}", version.key);
            assert!(cache.size_bytes() <= 66 << 10, "{} bytes for a row", cache.size_bytes());
            segment.find(&version.key, &[], &cache).await.expect("reads");
            assert_eq!(events() - before, 1, "{:?} was cached", version.key);
        }
    });
}

#[test]
fn numerics_are_coefficients_while_they_have_one_scale() {
    use crate::fragment::numerics_of;
    use crate::types::Numeric;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Decimal64Type;
    use arrow_schema::DataType;

    /// The values, whatever form they have, and whether they are coefficients.
    fn plain(schema: &TableSchema, batch: &RecordBatch) -> (Vec<Vec<Datum>>, bool) {
        let column = batch.column(0);
        let DataType::Decimal64(_, scale) = column.data_type() else {
            return (test_rows::values_of_batch(schema, &[1], batch), false);
        };
        let coefficients = column.as_primitive::<Decimal64Type>().values();
        let array = numerics_of(scale.cast_unsigned(), coefficients);
        let batch = RecordBatch::try_from_iter([("n", array)]).expect("one column");
        (test_rows::values_of_batch(schema, &[1], &batch), true)
    }

    simulate(11, |_, env| async move {
        let mut random = Random::new(11);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Numeric(None), PgType::Int4], &[0]);
        let mut model = versions(&mut random, &schema, 5 * BLOCK_ROWS, true);
        for (row, version) in model.iter_mut().enumerate() {
            // Blocks of scales 2, 2, 3, 3 with one that needs more bits, and 3 with NULLs.
            let (block, int) = (row / BLOCK_ROWS, row as i128 * 7_919 - 9_000_000);
            version.values[1] = match (block, row % BLOCK_ROWS) {
                (3, 77) => Datum::Numeric(Numeric::new(i128::from(i64::MAX) + 1, 3).expect("fits")),
                (4, rest) if rest % 9 == 0 => Datum::Null,
                _ => Datum::Numeric(Numeric::new(int, if block < 2 { 2 } else { 3 }).expect("fits")),
            };
            version.values[2] = Datum::Int4(row as i32 % 40);
        }
        let segment = write(&env, &schema, 1, &model).await;
        assert_eq!(segment.block_count(), 5);
        let cache = BlockCache::new(64 << 20);
        let below =
            |most| ColumnFilter { column: 2, test: Test::Compare(Comparison::Less, Datum::Int4(most)) };
        for (filter, of_40) in [(None, 40), (Some(below(20)), 20), (Some(below(1)), 1)] {
            for (rows_max, coefficients, expected) in [
                (BLOCK_ROWS, true, vec![true, true, true, false, false]),
                (BLOCK_ROWS, false, vec![false; 5]),
                (BATCH_ROWS, true, vec![false]),
            ] {
                let ready = Filter::all(filter.as_slice(), &schema);
                let mut scan = BlockScan::new(&schema, &[1], &ready, &view(1_000_000));
                scan.set_rows_max(rows_max);
                scan.set_encoded(coefficients, &[]);
                let batches = scan_columns(&segment, &mut scan, &KeySpan::all(), &cache).await;
                let (values, forms): (Vec<_>, Vec<_>) =
                    batches.iter().map(|batch| plain(&schema, batch)).unzip();
                assert_eq!(forms, expected, "{of_40} of 40, {rows_max} rows");
                let rows = model.iter().enumerate().filter(|(row, _)| (row % 40) < of_40);
                let wanted: Vec<Vec<Datum>> = rows.map(|(_, v)| vec![v.values[1].clone()]).collect();
                assert_eq!(values.concat(), wanted, "{of_40} of 40, {rows_max} rows");
            }
        }
    });
}

#[test]
fn texts_are_codes_while_they_come_from_one_dictionary() {
    use crate::fragment::plain;
    use arrow_schema::DataType;

    simulate(12, |_, env| async move {
        let mut random = Random::new(12);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text, PgType::Int4], &[0]);
        // Segments whose dictionaries differ; the last block has NULLs.
        let mut models = [versions(&mut random, &schema, 4 * BLOCK_ROWS, true), Vec::new()];
        models[1] = versions(&mut random, &schema, 2 * BLOCK_ROWS, true);
        for (segment, model) in models.iter_mut().enumerate() {
            for (row, version) in model.iter_mut().enumerate() {
                version.values[1] = match row % 5 {
                    4 if segment == 1 && row / BLOCK_ROWS == 1 => Datum::Null,
                    kind => {
                        Datum::Text(["", "open", "shut", "a longer one", "ajar"][(kind + segment) % 5].into())
                    }
                };
                version.values[2] = Datum::Int4(row as i32 % 40);
            }
        }
        let cache = BlockCache::new(64 << 20);
        let segments = [write(&env, &schema, 1, &models[0]).await, write(&env, &schema, 2, &models[1]).await];
        let below =
            |most| ColumnFilter { column: 2, test: Test::Compare(Comparison::Less, Datum::Int4(most)) };
        for (filter, of_40) in [(None, 40), (Some(below(20)), 20), (Some(below(1)), 1)] {
            for (rows_max, codes, expected) in [
                (BLOCK_ROWS, &[0][..], vec![true, true, true, true, true, false]),
                (BLOCK_ROWS, &[], vec![false; 6]),
                // One batch of both segments.
                (BATCH_ROWS, &[0], vec![false]),
            ] {
                let ready = Filter::all(filter.as_slice(), &schema);
                let mut scan = BlockScan::new(&schema, &[1], &ready, &view(1_000_000));
                scan.set_rows_max(rows_max);
                scan.set_encoded(true, codes);
                let mut batches = Vec::new();
                for segment in &segments {
                    batches.extend(scan_blocks(segment, &mut scan, &KeySpan::all(), &cache).await);
                }
                batches.extend(scan.take().expect("well formed"));
                let is_coded =
                    |batch: &RecordBatch| matches!(batch.column(0).data_type(), DataType::Dictionary(..));
                let forms: Vec<bool> = batches.iter().map(is_coded).collect();
                assert_eq!(forms, expected, "{of_40} of 40, {rows_max} rows");
                let values = batches.iter().flat_map(|batch| {
                    let batch =
                        RecordBatch::try_from_iter([("t", plain(batch.column(0)))]).expect("one column");
                    test_rows::values_of_batch(&schema, &[1], &batch)
                });
                let rows = models.iter().flat_map(|model| model.iter().enumerate());
                let rows = rows.filter(|(row, _)| (row % 40) < of_40);
                let wanted: Vec<Vec<Datum>> = rows.map(|(_, v)| vec![v.values[1].clone()]).collect();
                assert_eq!(values.collect::<Vec<_>>(), wanted, "{of_40} of 40, {rows_max} rows");
            }
        }
    });
}
