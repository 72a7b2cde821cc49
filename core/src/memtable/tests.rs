use std::collections::BTreeMap;

use super::*;
use crate::clock::Timestamp;
use crate::id::TxnId;
use crate::test_rows::{self, ALL_TYPES, Random};
use crate::types::Datum;
use crate::write_batch::WriteBatch;

/// What a memtable should hold: every version of every key, oldest first.
#[derive(Default)]
struct Model {
    versions: BTreeMap<Key, Vec<ModelVersion>>,
}

#[derive(Clone)]
struct ModelVersion {
    id: RowId,
    values: Vec<Datum>,
    begin: Stamp,
    end: Stamp,
}

impl Model {
    fn find(&self, key: &Key, view: &ReadView) -> Option<&ModelVersion> {
        let versions = self.versions.get(key)?;
        let mut seen = versions.iter().filter(|version| visible(version.begin, version.end, view));
        let found = seen.next();
        assert!(seen.next().is_none(), "two versions of one key are visible");
        found
    }

    fn scan(&self, span: &KeySpan, view: &ReadView) -> Vec<Vec<Datum>> {
        let keys = self.versions.keys().filter(|key| span.contains(key));
        keys.filter_map(|key| Some(self.find(key, view)?.values.clone())).collect()
    }
}

/// Runs random transactions on a memtable and its model.
struct History {
    memtable: Memtable,
    model: Model,
    random: Random,
    now: u64,
    keys: u64,
    open: Vec<(TxnId, Vec<Key>)>,
    /// Whether batches are written too.
    bulk: bool,
}

/// The same changes, the last first.
fn reversed(batch: &WriteBatch) -> WriteBatch {
    let writes: Vec<_> = batch.iter().collect();
    let mut reversed = WriteBatch::new();
    writes.into_iter().rev().for_each(|write| reversed.push(write));
    reversed
}

fn at(ts: u64) -> Stamp {
    Stamp::committed(Timestamp(ts))
}

impl History {
    fn new(seed: u64, schema: Arc<TableSchema>, keys: u64) -> History {
        let (memtable, random) = (Memtable::new(schema), Random::new(seed));
        History { memtable, model: Model::default(), random, now: 10, keys, open: Vec::new(), bulk: false }
    }

    fn any_key(&mut self) -> Vec<Datum> {
        let n = self.random.below(self.keys);
        self.key_of(n)
    }

    fn key_of(&self, n: u64) -> Vec<Datum> {
        let schema = self.memtable.schema();
        let part = |(place, column): (usize, &usize)| match (schema.columns[*column].pg_type, place) {
            (PgType::Int8, _) => Datum::Int8(n as i64 - 50),
            (PgType::Int4, _) => Datum::Int4((n / 100) as i32),
            (_, _) => Datum::Text(format!("https://example.org/{}", n * n).into()),
        };
        schema.key.iter().enumerate().map(part).collect()
    }

    /// The newest version that exists, unless another transaction has its hand on the key.
    fn newest(&self, key: &Key, txn: Option<TxnId>) -> Result<Option<usize>, ()> {
        let Some(versions) = self.model.versions.get(key) else { return Ok(None) };
        let foreign = |stamp: Stamp| stamp.txn().is_some() && stamp.txn() != txn;
        if versions.iter().any(|version| foreign(version.begin) || foreign(version.end)) {
            return Err(());
        }
        Ok(versions.iter().rposition(|version| version.begin != Stamp::ABORTED))
    }

    /// Inserts, updates or deletes one key, for a transaction or committed at once.
    fn write(&mut self, txn: Option<TxnId>) {
        let key_values = self.any_key();
        let key = Key::of(&key_values).expect("short");
        let Ok(newest) = self.newest(&key, txn) else { return };
        self.now += 1;
        let stamp = txn.map_or(at(self.now), Stamp::provisional);
        let versions = self.model.versions.entry(key.clone()).or_default();
        let live = newest.filter(|newest| versions[*newest].end == Stamp::LIVE);
        if let Some(live) = live {
            versions[live].end = stamp;
            self.memtable.set_end(versions[live].id, stamp);
        }
        if live.is_none() || !self.random.one_in(3) {
            let values = test_rows::values(&mut self.random, self.memtable.schema(), &key_values);
            let id = self.memtable.insert(&key, &test_rows::row(&values), stamp).expect("valid");
            versions.push(ModelVersion { id, values, begin: stamp, end: Stamp::LIVE });
        }
        if let Some(txn) = txn {
            let open = self.open.iter_mut().find(|open| open.0 == txn).expect("open");
            open.1.push(key);
        }
    }

    /// Writes a batch: keys at even distances, so that some fall between others and some do not.
    fn write_many(&mut self, txn: Option<TxnId>) {
        let count = self.random.pick(&[1, 2, 40, 300, 1_500]);
        let step = self.random.pick(&[1, 1, 3, 17]);
        let first = self.random.below(self.keys * 2);
        self.now += 1;
        let stamp = txn.map_or(at(self.now), Stamp::provisional);
        let (mut batch, mut rows) = (WriteBatch::new(), BTreeMap::new());
        for n in (0..count).map(|i| first + i * step) {
            let key_values = self.key_of(n);
            let key = Key::of(&key_values).expect("short");
            let Ok(newest) = self.newest(&key, txn) else { continue };
            let versions = self.model.versions.get_mut(&key);
            if let Some(live) = versions.and_then(|versions| versions.get_mut(newest?))
                && live.end == Stamp::LIVE
            {
                live.end = stamp;
                self.memtable.set_end(live.id, stamp);
            }
            if !self.random.one_in(9) {
                let values = test_rows::values(&mut self.random, self.memtable.schema(), &key_values);
                batch.insert(&key, &test_rows::row(&values));
                rows.insert(key.clone(), values);
            }
            let open = self.open.iter_mut().find(|open| Some(open.0) == txn);
            open.into_iter().for_each(|open| open.1.push(key.clone()));
        }
        let batch = if self.random.one_in(2) { reversed(&batch) } else { batch };
        if batch.is_empty() {
            return;
        }
        let sorted = batch.sorted().expect("distinct keys");
        let located = self.memtable.locate(&sorted);
        let made = self.memtable.insert_sorted(&sorted, &located, stamp).expect("valid");
        for (position, ((key, values), id)) in rows.into_iter().zip(made).enumerate() {
            assert_eq!(sorted.key(position), &*key);
            let version = ModelVersion { id, values, begin: stamp, end: Stamp::LIVE };
            self.model.versions.entry(key).or_default().push(version);
        }
    }

    fn end_transaction(&mut self) {
        let (txn, keys) = self.open.remove(0);
        let commit = self.random.one_in(2);
        self.now += 1;
        let mine = Stamp::provisional(txn);
        let (begin, end) = if commit { (at(self.now), at(self.now)) } else { (Stamp::ABORTED, Stamp::LIVE) };
        let mut made = Vec::new();
        for key in keys {
            for version in self.model.versions.get_mut(&key).into_iter().flatten() {
                if version.begin == mine {
                    version.begin = begin;
                    made.push(version.id);
                }
                if version.end == mine {
                    version.end = end;
                    self.memtable.set_end(version.id, end);
                }
            }
        }
        self.memtable.set_begins(&made, begin);
    }

    fn run(&mut self, writes: u64) {
        for _ in 0..writes {
            match self.random.below(10) {
                0 if self.open.len() < 4 => self.open.push((TxnId(1_000 + self.now), Vec::new())),
                1 if !self.open.is_empty() => self.end_transaction(),
                2..5 if !self.open.is_empty() => {
                    let last = self.open.len() as u64;
                    let txn = self.open[self.random.below(last) as usize].0;
                    if self.bulk && self.random.one_in(20) {
                        self.write_many(Some(txn))
                    } else {
                        self.write(Some(txn))
                    }
                }
                _ if self.bulk && self.random.one_in(20) => self.write_many(None),
                _ => self.write(None),
            }
        }
    }

    /// Snapshots of readers, and what the open transactions see, whose snapshots are never older than what they wrote.
    fn views(&mut self) -> Vec<ReadView> {
        let snapshots = [0, self.now, self.now / 2, self.random.below(self.now + 1), Timestamp::MAX.0];
        let readers = snapshots.iter().map(|snapshot| (*snapshot, TxnId(0)));
        let writers = self.open.iter().map(|open| (self.now, open.0));
        readers
            .chain(writers)
            .map(|(snapshot, txn)| ReadView { snapshot: Timestamp(snapshot), txn })
            .collect()
    }

    fn spans(&mut self) -> Vec<KeySpan> {
        let mut spans = vec![KeySpan::all()];
        for _ in 0..3 {
            let (a, b) = (self.any_key(), self.any_key());
            let (a, b) = (Key::of(&a).expect("short"), Key::of(&b).expect("short"));
            spans.push(KeySpan::point(a.clone()));
            spans.push(KeySpan { start: a.clone(), end: None });
            spans.push(KeySpan { start: Key::default(), end: Some(b.clone()) });
            spans.push(KeySpan { start: a.clone().min(b.clone()), end: Some(a.max(b)) });
        }
        spans
    }

    fn check(&mut self) {
        self.check_structure();
        for view in self.views() {
            for _ in 0..50 {
                let key = Key::of(&self.any_key()).expect("short");
                let expected = self.model.find(&key, &view).map(|version| version.id);
                assert_eq!(self.memtable.find(&key, &view), expected, "{key:?} in {view:?}");
            }
            for span in self.spans() {
                let rows_max = self.random.pick(&[300, 1 + CHUNK_ROWS / 7, CHUNK_ROWS, 100_000]);
                self.check_scan(&span, &view, rows_max);
            }
        }
    }

    /// Ids, keys, columns, stamps, order.
    fn check_structure(&self) {
        let columns: Vec<usize> = (0..self.memtable.types.len()).rev().collect();
        let mut out = RowBuilder::default();
        let mut sorted = self.memtable.iter_sorted();
        let mut count = 0;
        let mut provisional = 0;
        for (key, versions) in &self.model.versions {
            assert_eq!(self.memtable.newest(key), versions.last().map(|version| version.id));
            for version in versions.iter().rev() {
                assert_eq!(sorted.next(), Some(version.id));
                assert_eq!(self.memtable.key(version.id), &**key);
                assert_eq!(self.memtable.begin(version.id), version.begin);
                assert_eq!(self.memtable.end(version.id), version.end);
                self.memtable.read(version.id, &columns, &mut out);
                let row = out.finish().expect("small");
                let read = test_rows::values_of_row(self.memtable.schema(), &columns, &row);
                assert!(read.iter().rev().eq(&version.values));
                count += 1;
                provisional +=
                    [version.begin, version.end].iter().filter(|stamp| stamp.txn().is_some()).count();
            }
        }
        assert_eq!(sorted.next(), None);
        assert_eq!(self.memtable.version_count(), count);
        assert_eq!(self.memtable.provisional_count(), provisional);
        assert_eq!(self.memtable.key_count(), self.model.versions.len());
    }

    fn check_scan(&self, span: &KeySpan, view: &ReadView, rows_max: usize) {
        let schema = self.memtable.schema();
        let expected = self.model.scan(span, view);
        let columns: Vec<usize> = (0..schema.columns.len()).collect();
        let mut found = Vec::new();
        let mut position = Some(ScanPosition::START);
        while let Some(from) = position {
            let (batch, next) = self.memtable.scan(span, &columns, view, from, rows_max);
            let (counted, _) = self.memtable.scan(span, &[], view, from, rows_max);
            let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
            assert!(rows <= rows_max && batch.is_none() == (rows == 0));
            assert_eq!(rows, counted.map_or(0, |batch| batch.num_rows()));
            found.extend(batch.iter().flat_map(|batch| test_rows::values_of_batch(schema, &columns, batch)));
            position = next;
        }
        found.sort_by_key(|values| test_rows::key_of(schema, values));
        assert!(found == expected, "{} rows, expected {} in {span:?} {view:?}", found.len(), expected.len());
    }
}

#[test]
fn histories_agree_with_a_model() {
    let text_key = [PgType::Text, PgType::Int8, PgType::Bool, PgType::Numeric(None)];
    let pair_key = [PgType::Bytea, PgType::Int4, PgType::Uuid, PgType::Int8];
    for (seed, schema, keys, writes) in [
        (1, test_rows::schema(&ALL_TYPES, &[0]), 300, 2_000),
        (2, test_rows::schema(&text_key, &[0]), 2_000, 12_000),
        (3, test_rows::schema(&pair_key, &[1, 3]), 20_000, 20_000),
        (4, test_rows::schema(&[PgType::Int8], &[0]), 4, 500),
    ] {
        let mut history = History::new(seed, schema, keys);
        for _ in 0..2 {
            history.run(writes / 2);
            history.check();
        }
    }
}

#[test]
fn histories_with_batches_agree_with_a_model() {
    let pair_key = [PgType::Bytea, PgType::Int4, PgType::Uuid, PgType::Int8];
    for (seed, schema, keys, writes) in [
        (1, test_rows::schema(&ALL_TYPES, &[0]), 4_000, 300),
        (2, test_rows::schema(&[PgType::Text, PgType::Int8, PgType::Bool], &[0]), 3_000, 400),
        (3, test_rows::schema(&pair_key, &[1, 3]), 20_000, 500),
        (4, test_rows::schema(&[PgType::Int8, PgType::Text], &[0]), 1_000_000, 1_500),
        (5, test_rows::schema(&[PgType::Int8], &[0]), 60_000, 1_000),
    ] {
        let mut history = History::new(seed, schema, keys);
        history.bulk = true;
        for _ in 0..2 {
            history.run(writes / 2);
            history.check();
        }
    }
}

#[test]
fn a_batch_with_a_malformed_row_changes_nothing() {
    let mut memtable = loaded(CHUNK_ROWS as i64 - 5);
    let view = everything(9);
    let count = |memtable: &Memtable| {
        let (mut position, mut rows) = (Some(ScanPosition::START), 0);
        while let Some(from) = position {
            let (batch, next) = memtable.scan(&KeySpan::all(), &[0, 1], &view, from, CHUNK_ROWS);
            rows += batch.map_or(0, |batch| batch.num_rows());
            position = next;
        }
        rows
    };
    let mut insert = |broken: Option<i64>| {
        let mut batch = WriteBatch::new();
        for n in 10_000..10_020 {
            let text = if n % 3 == 0 { Datum::Null } else { Datum::Text("é".into()) };
            let values = [Datum::Int8(n), text];
            let mut row = test_rows::row(&values).to_vec();
            if broken == Some(n) {
                row.pop();
            }
            batch.insert(&test_rows::key_of(&memtable.schema, &values), &row);
        }
        let sorted = batch.sorted().expect("distinct");
        let located = memtable.locate(&sorted);
        let made = memtable.insert_sorted(&sorted, &located, at(5));
        (made.is_ok(), count(&memtable), memtable.version_count(), memtable.key_count())
    };
    let before = CHUNK_ROWS - 5;
    for n in 10_000..10_020 {
        assert_eq!(insert(Some(n)), (false, before, before, before), "row {n}");
    }
    assert_eq!(insert(None), (true, before + 20, before + 20, before + 20));
}

#[test]
fn batches_that_nothing_falls_into_stay_whole() {
    let mut memtable = Memtable::new(test_rows::schema(&[PgType::Int8, PgType::Int8], &[0]));
    let load = |memtable: &mut Memtable, keys: &mut dyn Iterator<Item = i64>| {
        let mut batch = WriteBatch::new();
        for n in keys {
            let values = [Datum::Int8(n), Datum::Int8(-n)];
            batch.insert(&test_rows::key_of(&memtable.schema, &values), &test_rows::row(&values));
        }
        let sorted = batch.sorted().expect("distinct");
        let located = memtable.locate(&sorted);
        memtable.insert_sorted(&sorted, &located, at(5)).expect("valid");
    };
    for batch in 0..30 {
        // Two sessions, each with a part of its own.
        load(&mut memtable, &mut (batch * 1_000..(batch + 1) * 1_000));
        load(&mut memtable, &mut (1_000_000 + batch * 2_000..1_000_000 + (batch + 1) * 2_000).step_by(2));
    }
    assert!(memtable.index.size_bytes() < 60_000 / 2, "{} bytes", memtable.index.size_bytes());
    let runs = memtable.index.size_bytes();
    load(&mut memtable, &mut [1_000_001, 1_030_001].into_iter());
    assert!(memtable.index.size_bytes() < runs + 8 * 512 * 12, "{} bytes", memtable.index.size_bytes());
    let rows: Vec<RowId> = memtable.iter_sorted().collect();
    let keys: Vec<i64> = rows
        .iter()
        .map(|row| (u64::from_be_bytes(memtable.key(*row).try_into().expect("int8")) ^ 1 << 63) as i64)
        .collect();
    assert_eq!(keys.len(), 60_002);
    assert!(keys.is_sorted());
    for (row, key) in rows.iter().zip(keys).step_by(97) {
        assert_eq!(memtable.newest(&Key::of(&[Datum::Int8(key)]).expect("short")), Some(*row));
    }
}

fn loaded(rows: i64) -> Memtable {
    let mut memtable = Memtable::new(test_rows::schema(&[PgType::Int8, PgType::Text], &[0]));
    for n in 0..rows {
        let values = [Datum::Int8(n), Datum::Text(format!("row {n}").into())];
        let key = test_rows::key_of(&memtable.schema, &values);
        memtable.insert(&key, &test_rows::row(&values), at(5)).expect("valid");
    }
    memtable
}

fn everything(snapshot: u64) -> ReadView {
    ReadView { snapshot: Timestamp(snapshot), txn: TxnId(0) }
}

#[test]
fn frozen_chunks_are_shared_and_later_rows_are_not_scanned() {
    let mut memtable = loaded(2 * CHUNK_ROWS as i64 + 10);
    let scan =
        |memtable: &Memtable, from| memtable.scan(&KeySpan::all(), &[0, 1], &everything(9), from, CHUNK_ROWS);
    let (first, next) = scan(&memtable, ScanPosition::START);
    let (again, _) = scan(&memtable, ScanPosition::START);
    let (first, again) = (first.expect("rows"), again.expect("rows"));
    assert_eq!(first.num_rows(), CHUNK_ROWS);
    for column in 0..2 {
        assert!(Arc::ptr_eq(first.column(column), again.column(column)), "copied");
    }
    let values = [Datum::Int8(-1), Datum::Null];
    let key = test_rows::key_of(&memtable.schema, &values);
    memtable.insert(&key, &test_rows::row(&values), at(5)).expect("valid");
    let (second, next) = scan(&memtable, next.expect("more"));
    let (third, end) = scan(&memtable, next.expect("more"));
    assert_eq!((second.expect("rows").num_rows(), third.expect("rows").num_rows()), (CHUNK_ROWS, 10));
    assert_eq!(end, None);
    assert_eq!(scan(&memtable, ScanPosition::START).0.expect("rows").num_rows(), CHUNK_ROWS);
}

#[test]
fn scans_end_where_chunks_do() {
    for rows in [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS] {
        let memtable = loaded(rows as i64);
        let half = KeySpan { start: Key::of(&[Datum::Int8(rows as i64 / 2)]).expect("short"), end: None };
        for (span, expected) in [(KeySpan::all(), rows), (half, rows - rows / 2)] {
            let (mut position, mut found) = (Some(ScanPosition::START), 0);
            while let Some(from) = position {
                let (batch, next) = memtable.scan(&span, &[0], &everything(9), from, CHUNK_ROWS);
                found += batch.map_or(0, |batch| batch.num_rows());
                position = next;
            }
            assert_eq!(found, expected, "of {rows} rows");
        }
    }
}

#[test]
fn changed_stamps_show_in_chunks_that_were_all_visible() {
    let mut memtable = loaded(2 * CHUNK_ROWS as i64);
    let txn = TxnId(7);
    let count = |memtable: &Memtable, snapshot: u64, txn: TxnId| {
        let view = ReadView { snapshot: Timestamp(snapshot), txn };
        let mut position = Some(ScanPosition::START);
        let mut rows = 0;
        while let Some(from) = position {
            let (batch, next) = memtable.scan(&KeySpan::all(), &[], &view, from, CHUNK_ROWS);
            rows += batch.map_or(0, |batch| batch.num_rows());
            position = next;
        }
        rows
    };
    let all = 2 * CHUNK_ROWS;
    let row = RowId(17);
    let counts = |memtable: &Memtable| {
        [(4, TxnId(0)), (5, TxnId(0)), (9, TxnId(0)), (9, txn)].map(|(at, txn)| count(memtable, at, txn))
    };
    assert_eq!(counts(&memtable), [0, all, all, all]);
    memtable.set_end(row, at(8));
    assert_eq!(counts(&memtable), [0, all, all - 1, all - 1]);
    memtable.set_end(row, Stamp::provisional(txn));
    assert_eq!(counts(&memtable), [0, all, all, all - 1]);
    memtable.set_end(row, Stamp::LIVE);
    assert_eq!(counts(&memtable), [0, all, all, all]);
    memtable.set_begin(row, at(7));
    assert_eq!(counts(&memtable), [0, all - 1, all, all]);
    memtable.set_begin(row, Stamp::provisional(txn));
    assert_eq!(counts(&memtable), [0, all - 1, all - 1, all]);
    memtable.set_begin(row, Stamp::ABORTED);
    assert_eq!(counts(&memtable), [0, all - 1, all - 1, all - 1]);
}

#[test]
fn malformed_rows_change_nothing() {
    let schema = test_rows::schema(&[PgType::Int8, PgType::Text, PgType::Bool, PgType::Numeric(None)], &[0]);
    let mut memtable = Memtable::new(schema);
    let numeric = crate::types::Numeric::new(1, 0).expect("fits");
    let row = test_rows::row(&[
        Datum::Int8(1),
        Datum::Text("é".into()),
        Datum::Bool(true),
        Datum::Numeric(numeric),
    ]);
    let longer = [&*row, &[0]].concat();
    let long_key = vec![0; KEY_BYTES_MAX + 1];
    assert_eq!(memtable.insert(b"k", &longer, at(1)), Err(Malformed));
    assert_eq!(memtable.insert(&long_key, &row, at(1)), Err(Malformed));
    for cut in 0..row.len() {
        assert_eq!(memtable.insert(b"k", &row[..cut], at(1)), Err(Malformed), "cut to {cut}");
    }
    for (place, byte) in [(13, 0xFF), (15, 2), (16, 200)] {
        let mut broken = row.to_vec();
        broken[place] = byte;
        assert_eq!(memtable.insert(b"k", &broken, at(1)), Err(Malformed), "byte {place}");
    }
    assert!(memtable.is_empty());
    let id = memtable.insert(b"k", &row, at(1)).expect("valid");
    assert_eq!(memtable.find(b"k", &everything(1)), Some(id));
}

#[test]
fn cuts_leave_so_many_keys_before_or_behind() {
    for rows in [0, 1, 2, 700, 50_000] {
        let memtable = loaded(rows);
        let keys: Vec<Key> = memtable.iter_sorted().map(|row| Key::from_bytes(memtable.key(row))).collect();
        for (from, to) in [(0, keys.len()), (keys.len() / 3, keys.len()), (keys.len() / 4, keys.len() / 2)] {
            let start = keys.get(from).cloned().unwrap_or_default();
            let span = KeySpan { start, end: keys.get(to).cloned() };
            let inside = &keys[from..to];
            for count in [1, 2, 63, 300, 12_499, 40_000] {
                let rises = memtable.cut_after(&span, count, KeyOrder::Ascending);
                assert_eq!(rises, inside.get(count).cloned(), "{rows} rows, {count} of {from}..{to}");
                let falls = memtable.cut_after(&span, count, KeyOrder::Descending);
                let expected = inside.len().checked_sub(count).filter(|place| *place > 0);
                assert_eq!(
                    falls,
                    expected.map(|place| inside[place].clone()),
                    "{rows} rows, {count} of {from}..{to}"
                );
            }
        }
    }
}

#[test]
fn split_points_cut_live_keys_evenly() {
    for rows in [0, 1, 2, 3, 100, 50_000] {
        let mut memtable = loaded(rows);
        for parts in [1, 2, 4, 7] {
            let points = memtable.split_points(parts);
            assert!(points.is_sorted() && points.len() < parts.max(1));
            let cut = |point: &Key| {
                memtable.iter_sorted().filter(|row| memtable.key(*row) < &**point).count() as i64
            };
            for (index, point) in points.iter().enumerate() {
                let ideal = rows * (index as i64 + 1) / parts as i64;
                assert!(cut(point) > 0);
                if points.len() + 1 == parts {
                    assert!((cut(point) - ideal).abs() <= 1 + rows / 100, "{rows} rows in {parts} parts");
                }
            }
        }
        if rows == 50_000 {
            assert_eq!(memtable.split_points(4).len(), 3);
            let dead: Vec<RowId> = memtable.iter_sorted().take(40_000).collect();
            dead.into_iter().for_each(|row| memtable.set_end(row, at(6)));
            let middle = memtable.split_points(2);
            let expected = memtable.iter_sorted().nth(45_000).expect("so many");
            let found = memtable.newest(&middle[0]).expect("a key");
            assert!(expected.0.abs_diff(found.0) < 100, "{found:?} for {expected:?}");
        }
    }
}

#[test]
fn memory_is_accounted() {
    let mut memtable = Memtable::new(test_rows::schema(&[PgType::Int8, PgType::Text], &[0]));
    assert!(memtable.size_bytes() < 1_000);
    let mut last = 0;
    for n in 0..3 * CHUNK_ROWS as i64 {
        let values = [Datum::Int8(n), Datum::Text("x".repeat(100).into())];
        let key = test_rows::key_of(&memtable.schema, &values);
        memtable.insert(&key, &test_rows::row(&values), at(5)).expect("valid");
        let size = memtable.size_bytes();
        let least = usize::try_from(n + 1).expect("positive") * (8 + 100 + 8 + 8 + 12);
        assert!(size >= least && size >= last / 2, "{size} after {n} rows");
        last = size;
    }
    assert!(last < 3 * CHUNK_ROWS * 240, "{last}");
    let before = memtable.size_bytes();
    memtable.set_end(RowId(0), at(9));
    assert_eq!(memtable.size_bytes(), before + CHUNK_ROWS * 8);
}

#[test]
fn chunks_of_large_values_freeze_early() {
    let mut memtable = Memtable::new(test_rows::schema(&[PgType::Int8, PgType::Bytea], &[0]));
    for n in 0..20 {
        let values = [Datum::Int8(n), Datum::Bytea(vec![n as u8; 8 << 20].into())];
        let key = test_rows::key_of(&memtable.schema, &values);
        memtable.insert(&key, &test_rows::row(&values), at(5)).expect("valid");
    }
    assert_eq!(memtable.chunks.0.len(), 20);
    let mut position = Some(ScanPosition::START);
    let mut rows = 0;
    while let Some(from) = position {
        let (batch, next) = memtable.scan(&KeySpan::all(), &[1], &everything(9), from, CHUNK_ROWS);
        rows += batch.map_or(0, |batch| batch.num_rows());
        position = next;
    }
    assert_eq!(rows, 20);
}

/// What a flush reads, block by block, is what the walk over single versions finds.
#[test]
fn blocks_of_the_sorted_cursor_agree_with_single_versions() {
    for (seed, keys) in [(11, 200), (12, 9_000)] {
        let schema = test_rows::schema(&ALL_TYPES, &[3]);
        let mut history = History::new(seed, schema, keys);
        history.run(5_000);
        let memtable = &history.memtable;
        let horizon = Timestamp(history.now / 2);
        let kept = |row: &RowId| {
            let dead = memtable.end(*row).timestamp().is_some_and(|end| end <= horizon);
            !dead && memtable.begin(*row) != Stamp::ABORTED
        };
        let expected: Vec<RowId> = memtable.iter_sorted().filter(kept).collect();
        for rows_max in [1, 700, 1_024, usize::MAX] {
            let (mut cursor, mut found, mut done) = (SortedCursor::default(), Vec::new(), false);
            while !done {
                let mut block = Vec::new();
                done = cursor.next_block(memtable, horizon, rows_max, &mut block);
                assert!(block.len() == rows_max || done);
                found.extend(block);
            }
            assert_eq!(found, expected);
        }
        let in_order: Vec<RowId> = (0..history.memtable.version_count() as u32).map(RowId).collect();
        for rows in [&expected, &in_order] {
            for (column, pg_type) in memtable.types.iter().enumerate() {
                let mut values = ColumnBuf::with_capacity(*pg_type, 0, 0);
                values.push(None);
                memtable.append_column(column, rows, &mut values);
                let mut fresh = ColumnBuf::with_capacity(*pg_type, 0, 0);
                memtable.append_column(column, &rows[..rows.len() / 2], &mut fresh);
                memtable.append_column(column, &rows[rows.len() / 2..], &mut fresh);
                for (place, row) in rows.iter().enumerate() {
                    let value = memtable.chunk(*row).view(column).value(row.row());
                    assert_eq!(values.view().value(place + 1), value);
                    assert_eq!(fresh.view().value(place), value);
                }
            }
            let mut begins = vec![7];
            memtable.append_begins(rows, &mut begins);
            assert!(begins[1..].iter().zip(rows).all(|(bits, row)| memtable.begin(*row).to_bits() == *bits));
        }
    }
}

#[test]
fn keys_of_a_span_are_counted() {
    let mut memtable = Memtable::new(test_rows::schema(&[PgType::Int8], &[0]));
    let key = |n: i64| test_rows::key_of(&test_rows::schema(&[PgType::Int8], &[0]), &[Datum::Int8(n)]);
    assert_eq!(memtable.key_count_in(&KeySpan::all()), 0);
    for n in 0..3_000 {
        memtable
            .insert(&key(n * 7 % 3_000 * 2), &test_rows::row(&[Datum::Int8(n * 7 % 3_000 * 2)]), at(5))
            .expect("valid");
    }
    for (start, end, count) in
        [(0, 6_000, 3_000), (10, 20, 5), (11, 13, 1), (13, 13, 0), (20, 10, 0), (5_990, 9_000, 5)]
    {
        let span = KeySpan { start: key(start), end: Some(key(end)) };
        assert_eq!(memtable.key_count_in(&span), count, "{start}..{end}");
    }
    assert_eq!(memtable.key_count_in(&KeySpan::all()), 3_000);
}
