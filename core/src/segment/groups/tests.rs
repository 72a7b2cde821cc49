use std::rc::Rc;
use std::sync::Arc;

use super::super::tests::{
    ModelVersion, at, check, check_cursor, path, scan_columns, set_ends, simulate, versions, view, write,
};
use super::super::{BlockCache, BlockScan, SegmentId, SegmentWriter, merge, merge_span};
use super::*;
use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::filter::tests::{holds, some_test};
use crate::filter::{ColumnFilter, Comparison, Filter, Test};
use crate::key::{Key, KeySpan};
use crate::row::RowBuilder;
use crate::segment::Segment;
use crate::stamp::visible;
use crate::test_rows::{self, ALL_TYPES, Random};
use crate::types::{Datum, PgType};

#[test]
fn narrow_tables_are_not_divided() {
    assert!(Groups::choose(&[2_000, 9_000, 4_000, 60], 1_024, &[0]).is_one());
    // A large text: no division gives more rows.
    assert!(Groups::choose(&[200, 900, 90_000, 60], 36, &[0]).is_one());
    assert!(Groups::choose(&[0, 0], 1, &[0]).is_one());
}

#[test]
fn wide_tables_are_divided_in_order() {
    // 100 columns of 3 bytes a row; the key is in the middle.
    let groups = Groups::choose(&[1_200; 101], 400, &[50]);
    assert!((13..=16).contains(&groups.len()), "{groups:?}");
    let at = |column: usize| groups.place(column).group;
    assert_eq!((at(0), at(50), at(100)), (0, 0, 0));
    let others: Vec<usize> = (0..100).filter(|column| *column != 50).map(at).collect();
    assert!(others.is_sorted());
    for group in 0..groups.len() {
        assert!(
            groups.columns(group).is_sorted()
                && groups.columns(group).len() * 3 * 1_024 <= FILL_BYTES_GOOD * 4 / 3
        );
    }
    assert_eq!(Groups::decode(&groups.encode(), groups.len(), 101, &[50]).as_ref(), Some(&groups));
    assert_eq!(groups.of_columns(&[50, 0]), GroupSet::KEY);
    assert_eq!(groups.all().iter().count(), groups.len());
    // Columns of 100 bytes: as many groups as there may be, of few rows.
    let groups = Groups::choose(&[4_000; 101], 40, &[0]);
    assert!((GROUPS_MAX / 2..=GROUPS_MAX).contains(&groups.len()), "{groups:?}");
    // One large column among many.
    let mut sizes = vec![120; 60];
    sizes[30] = 50_000;
    let groups = Groups::choose(&sizes, 36, &[0]);
    assert!(groups.len() > 1 && groups.place(30).group > 0, "{groups:?}");
}

#[test]
fn other_bytes_are_refused() {
    let bytes = [0, 1, 1, 2, 0];
    assert!(Groups::decode(&bytes, 3, 5, &[0]).is_some());
    for (count, columns, key) in [(2, 5, 0), (4, 5, 0), (3, 4, 0), (3, 6, 0), (3, 5, 1), (0, 5, 0)] {
        assert!(Groups::decode(&bytes, count, columns, &[key]).is_none());
    }
    assert!(Groups::decode(&[0, 1, 1, 2, 2], 3, 5, &[0]).is_none());
    let tables = join_tables([vec![1, 2], vec![], vec![3]].into_iter());
    assert_eq!(split_tables(&tables, 3), Some(vec![&[1, 2][..], &[], &[3]]));
    assert!(split_tables(&tables, 2).is_none() && split_tables(&tables, 4).is_none());
    assert!(split_tables(&[255; 8], 1).is_none());
}

/// A table of this many columns of all types; its key is in the middle.
fn wide_schema(columns: usize) -> Arc<TableSchema> {
    let mut types: Vec<PgType> = (0..columns).map(|column| ALL_TYPES[column % ALL_TYPES.len()]).collect();
    let middle = columns / 2;
    (types[middle], types[middle + 1]) = (PgType::Int8, PgType::Text);
    test_rows::schema(&types, &[middle + 1, middle])
}

fn wide_versions(random: &mut Random, schema: &TableSchema, rows: usize) -> Vec<ModelVersion> {
    let mut all = versions(random, schema, rows, false);
    for version in &mut all {
        // Now and then a text that needs more than a block for itself.
        if random.one_in(400) {
            let bytes = random.pick(&[3_000, 90_000]);
            let text: String = (0..bytes).map(|_| char::from(b' ' + random.below(90) as u8)).collect();
            let texts = (0..schema.columns.len()).filter(|column| {
                schema.columns[*column].pg_type == PgType::Text && !schema.key.contains(column)
            });
            let texts: Vec<usize> = texts.collect();
            version.values[texts[random.below(texts.len() as u64) as usize]] = Datum::Text(text.into());
        }
    }
    all
}

#[test]
fn wide_rows_are_what_was_written() {
    for (seed, columns, rows) in [(1, 40, 900), (2, 70, 700), (3, 120, 500)] {
        simulate(seed, |_, env| async move {
            let mut random = Random::new(seed);
            let schema = wide_schema(columns);
            let all = wide_versions(&mut random, &schema, rows);
            let segment = write(&env, &schema, 1, &all).await;
            assert!(!segment.groups().is_one(), "{:?}", segment.groups());
            segment.verify().await.expect("in order");
            let live: Vec<_> =
                all.iter().cloned().map(|version| ModelVersion { end: u64::MAX, ..version }).collect();
            check_cursor(&segment, &live, &KeySpan::all()).await;
            set_ends(&segment, &all).await;
            check(&segment, &all, &mut random).await;
            let points = segment.split_points(4);
            assert!(!points.is_empty() && points.is_sorted());
        });
    }
}

#[test]
fn filtered_scans_of_wide_tables_answer_what_the_model_answers() {
    simulate(5, |_, env| async move {
        let mut random = Random::new(5);
        let schema = wide_schema(64);
        let model = wide_versions(&mut random, &schema, 1_200);
        let segment = write(&env, &schema, 1, &model).await;
        set_ends(&segment, &model).await;
        for round in 0..80 {
            // Sometimes too small for a row group.
            let cache = BlockCache::new(random.pick(&[0, 100 << 10, 64 << 20]));
            let tests = (0..random.below(3)).map(|_| {
                let column = random.below(64) as usize;
                let values: Vec<Datum> = (0..9).map(|i| model[i * 130].values[column].clone()).collect();
                let test = some_test(&mut random, schema.columns[column].pg_type, &values);
                ColumnFilter { column, test }
            });
            let filters: Vec<ColumnFilter> = tests.collect();
            let mut columns: Vec<usize> = (0..64).collect();
            columns.retain(|_| round % 5 != 0 && random.one_in(10));
            let keys = [0, 1].map(|_| model[random.below(1_200) as usize].key.clone());
            let [a, b] = keys;
            let end = (!random.one_in(3)).then(|| a.clone().max(b.clone()));
            let span = if random.one_in(3) { KeySpan::all() } else { KeySpan { start: a.min(b), end } };
            let view = view(random.pick(&[0, 999_500, 1_000_000, 1_500_000]));
            let ready = Filter::all(&filters, &schema);
            let mut scan = BlockScan::new(&schema, &columns, &ready, &view);
            let batches = scan_columns(&segment, &mut scan, &span, &cache).await;
            let wanted = model.iter().filter(|version| {
                let passes = |filter: &ColumnFilter| holds(&filter.test, &version.values[filter.column]);
                let seen = visible(at(version.begin), version.end(), &view);
                span.contains(&version.key) && seen && filters.iter().all(passes)
            });
            let wanted: Vec<Vec<Datum>> = wanted
                .map(|version| columns.iter().map(|column| version.values[*column].clone()).collect())
                .collect();
            let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            assert_eq!(rows, wanted.len(), "{filters:?} in {span:?}");
            let found: Vec<Vec<Datum>> = batches
                .iter()
                .flat_map(|batch| test_rows::values_of_batch(&schema, &columns, batch))
                .collect();
            assert!(columns.is_empty() || found == wanted, "{filters:?} in {span:?}");
        }
    });
}

#[test]
fn merging_wide_segments_keeps_what_can_be_seen() {
    simulate(6, |_, env| async move {
        let mut random = Random::new(6);
        let schema = wide_schema(50);
        let mut all = wide_versions(&mut random, &schema, 1_500);
        let mut parts: Vec<Vec<ModelVersion>> = vec![Vec::new(); 3];
        // The last part is small: one group.
        all.iter().for_each(|version| {
            let part = if random.one_in(60) { 2 } else { random.below(2) };
            parts[part as usize].push(version.clone());
        });
        let mut inputs = Vec::new();
        for (id, part) in parts.iter().enumerate() {
            let segment = write(&env, &schema, id as u64, part).await;
            set_ends(&segment, part).await;
            inputs.push(segment);
        }
        assert!(inputs[2].groups().is_one() && !inputs[0].groups().is_one());
        let horizon = Timestamp(998_500);
        let writer = SegmentWriter::new(env.clone(), path(9), SegmentId(9), schema.clone()).await;
        let merged = merge(&inputs, horizon, writer.expect("creates")).await.expect("merges");
        all.retain(|version| version.end > horizon.0);
        let meta = merged.meta.expect("rows are left");
        let output = Segment::open(env.clone(), &path(9), schema.clone(), &meta).await.expect("opens");
        let output = Rc::new(output);
        merged.positions.carry(&inputs, &output);
        check_cursor(&output, &all, &KeySpan::all()).await;
        check(&output, &all, &mut random).await;

        let span = KeySpan { start: all[300].key.clone(), end: Some(all[900].key.clone()) };
        let writer = SegmentWriter::new(env.clone(), path(10), SegmentId(10), schema.clone()).await;
        let half = merge_span(&[Rc::clone(&output)], &span, horizon, writer.expect("creates")).await;
        let half = half.expect("merges");
        let meta = half.meta.expect("rows are left");
        let half_output = Segment::open(env, &path(10), schema, &meta).await.expect("opens");
        half.positions.carry(&[output], &half_output);
        let inside: Vec<_> = all.iter().filter(|version| span.contains(&version.key)).cloned().collect();
        check_cursor(&Rc::new(half_output), &inside, &KeySpan::all()).await;
    });
}

/// Texts that hardly repeat: that few rows share no value is no reason to believe that there are few values.
#[test]
fn tables_of_many_texts_are_divided() {
    simulate(8, |_, env| async move {
        let mut random = Random::new(8);
        let mut types = [PgType::Text; 61];
        types[0] = PgType::Int8;
        let schema = test_rows::schema(&types, &[0]);
        let version = |n: i64| {
            let text = |random: &mut Random| {
                let text: String = (0..24).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
                Datum::Text(text.into())
            };
            let mut values = vec![Datum::Int8(n)];
            values.extend((0..60).map(|_| text(&mut random)));
            ModelVersion { key: Key::of(&values[..1]).expect("short"), begin: 9, end: u64::MAX, values }
        };
        let all: Vec<ModelVersion> = (0..3_000).map(version).collect();
        let segment = write(&env, &schema, 1, &all).await;
        let (groups, blocks) = (segment.groups().len(), segment.block_count());
        assert!(groups > GROUPS_MAX / 2 && blocks <= 8, "{groups} groups, {blocks} row groups");
        let each = segment.meta().bytes as usize / (groups * blocks);
        assert!(each <= 64 << 10, "{each} bytes in a block");
        println!("{groups} groups, {blocks} row groups, {each} bytes in a block");
        check(&segment, &all, &mut random).await;
    });
}

/// What is read of a table with 100 columns of 8 random bytes each.
#[test]
fn what_is_not_asked_for_is_not_read() {
    simulate(7, |sim, env| async move {
        let mut random = Random::new(7);
        let schema = test_rows::schema(&[PgType::Int8; 100], &[0]);
        let version = |n: i64| {
            let value = |column: usize| if column == 0 { n } else { random.next().cast_signed() };
            let values: Vec<Datum> = (0..100).map(value).map(Datum::Int8).collect();
            ModelVersion { key: Key::of(&values[..1]).expect("short"), begin: 9, end: u64::MAX, values }
        };
        let all: Vec<ModelVersion> = (0..4_000).map(version).collect();
        let segment = write(&env, &schema, 1, &all).await;
        let (groups, blocks) = (segment.groups(), segment.block_count());
        assert!(groups.len() > GROUPS_MAX / 2 && blocks <= 12, "{} groups, {blocks}", groups.len());
        let last = groups.columns(groups.len() - 1)[0];
        // Every read is an event, and nothing else happens meanwhile.
        let reads = |before: u64| sim.events_total() - before;
        let mut out = RowBuilder::default();
        for (columns, expected) in
            [(&[0][..], 1), (&[last], 2), (&[last, 1, 0], 2), (&(0..100).collect::<Vec<_>>(), 2)]
        {
            let cache = BlockCache::new(4 << 20);
            let before = sim.events_total();
            let found = segment.find(&all[2_000].key, columns, &cache).await.expect("reads");
            assert_eq!(reads(before), expected, "{columns:?}");
            let read = groups.of_columns(columns).and(GroupSet::KEY).iter().count();
            assert!(cache.size_bytes() <= read * (66 << 10), "{} bytes for {columns:?}", cache.size_bytes());
            found.newest().expect("there").read(columns, &mut out);
            let row = out.finish().expect("small");
            let values = test_rows::values_of_row(&schema, columns, &row);
            assert!(values.iter().eq(columns.iter().map(|column| &all[2_000].values[*column])));
            assert!(segment.find_cached(&all[2_000].key, columns, &cache).is_some());
            let more = segment.find_cached(&all[2_000].key, &(0..100).collect::<Vec<_>>(), &cache);
            assert_eq!(more.is_some(), columns.len() == 100);
        }
        let scanned = async |columns: &[usize], filters: &[ColumnFilter]| {
            let (cache, ready) = (BlockCache::new(64 << 20), Filter::all(filters, &schema));
            let mut scan = BlockScan::new(&schema, columns, &ready, &view(100));
            let batches = scan_columns(&segment, &mut scan, &KeySpan::all(), &cache).await;
            (batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), cache.size_bytes() / (40 << 10))
        };
        // One column group of each row group.
        let (rows, read) = scanned(&[last], &[]).await;
        assert!(rows == 4_000 && read <= 2 * blocks, "{rows} rows, {read} blocks of {blocks}");
        // Hardly any row passes: the wanted columns are read for one row group only.
        let value = all[2_000].values[1].clone();
        let one = ColumnFilter { column: 1, test: Test::Compare(Comparison::Equal, value) };
        let wanted: Vec<usize> = (50..100).collect();
        let (rows, read) = scanned(&wanted, &[one]).await;
        assert!(rows == 1 && read <= 2 * (blocks + groups.len()), "{rows} rows, {read} blocks");
    });
}
