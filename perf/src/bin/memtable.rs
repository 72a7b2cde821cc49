//! What the memtable and the segments cost: nanoseconds of CPU time for each row, the least of several rounds.
//!
//! `cargo run --release -p omen-perf --bin memtable [ROWS]`

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use omen_core::catalog::{Column, TableSchema};
use omen_core::clock::Timestamp;
use omen_core::env::Env;
use omen_core::env::sim::{NodeId, Sim};
use omen_core::id::{CoreId, TxnId};
use omen_core::key::{Key, KeySpan};
use omen_core::learned::IndexKind;
use omen_core::memtable::{Memtable, ScanPosition, SortedCursor};
use omen_core::router::ReadView;
use omen_core::row::{Row, RowBuilder};
use omen_core::segment::{BlockCache, Segment, SegmentId, SegmentWriter, merge};
use omen_core::stamp::Stamp;
use omen_core::types::{Datum, PgType};

const ROUNDS: usize = 3;
const ROWS: usize = 1_000_000;
const GETS: usize = 200_000;
const NARROW_SPANS: usize = 10_000;
const NARROW_ROWS: i64 = 100;

struct Table {
    name: &'static str,
    schema: Arc<TableSchema>,
    rows: Vec<(Key, Row)>,
}

/// A permutation of 0..n for n a power of two, and a fair scatter otherwise.
fn scatter(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 29;
    x.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 1
}

fn schema(types: &[PgType]) -> Arc<TableSchema> {
    let column = |(index, pg_type): (usize, &PgType)| Column {
        name: format!("c{index}"),
        pg_type: *pg_type,
        not_null: index == 0,
        default: None,
        hidden: false,
    };
    let columns = types.iter().enumerate().map(column).collect();
    Arc::new(TableSchema { columns, key: vec![0], key_name: Some("pk".into()), index: IndexKind::Auto })
}

fn table(name: &'static str, types: &[PgType], keys: impl Iterator<Item = i64>) -> Table {
    let schema = schema(types);
    let mut builder = RowBuilder::default();
    let row = |key: i64| {
        let value = |(index, pg_type): (usize, &PgType)| match (index, pg_type) {
            (0, _) => Datum::Int8(key),
            (_, PgType::Int4) => Datum::Int4(key as i32),
            (_, PgType::Float8) => Datum::Float8(key as f64 / 100.0),
            (_, PgType::Timestamp) => Datum::Timestamp(key * 1_000),
            (_, PgType::Text) => Datum::Text(format!("user{:010}@x.org", key % 10_000_000_000).into()),
            (_, _) => Datum::Int8(!key),
        };
        let values: Vec<Datum> = types.iter().enumerate().map(value).collect();
        (schema.key_of(&values).expect("short"), builder.row(&values).expect("small"))
    };
    let rows = keys.map(row).collect();
    Table { name, schema, rows }
}

/// CPU time of this thread: the machine may be busy with other work.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds first")
}

/// Random keys of the table, side by side.
fn probes(table: &Table) -> Vec<[u8; 8]> {
    let key = |n: u64| &table.rows[scatter(n) as usize % table.rows.len()].0;
    (0..GETS as u64).map(|n| (**key(n)).try_into().expect("an int8 key")).collect()
}

/// Runs `work` a few times, each until it has taken some time; CPU nanoseconds for each of `count`.
fn measure<R>(count: usize, mut work: impl FnMut() -> R) -> f64 {
    const ROUND_NS: u64 = 150_000_000;
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (start, mut times) = (cpu_ns(), 0);
        while times == 0 || cpu_ns() - start < ROUND_NS {
            drop(black_box(work()));
            times += 1;
        }
        least = least.min((cpu_ns() - start) as f64 / (times * count) as f64);
    }
    least
}

fn fill(table: &Table) -> Memtable {
    let mut memtable = Memtable::new(table.schema.clone());
    for (key, row) in &table.rows {
        memtable.insert(key, row, Stamp::committed(Timestamp(5))).expect("valid");
    }
    memtable
}

fn scan(memtable: &Memtable, span: &KeySpan, columns: &[usize]) -> usize {
    let mut position = Some(ScanPosition::START);
    let mut rows = 0;
    while let Some(from) = position {
        let (batch, next) = memtable.scan(span, columns, &VIEW, from, 8_192);
        rows += black_box(batch).map_or(0, |batch| batch.num_rows());
        position = next;
    }
    rows
}

const VIEW: ReadView = ReadView { snapshot: Timestamp(9), txn: TxnId(0) };

fn report(table: &Table, what: &str, ns: f64) {
    println!("{:<22} {what:<44} {ns:>9.2} ns", table.name);
}

fn memtable(table: &Table) {
    let count = table.rows.len();
    report(table, "insert", measure(count, || fill(table)));
    let mut memtable = fill(table);
    let bytes = memtable.size_bytes() as f64 / count as f64;
    println!("{:<22} {:<44} {bytes:>9.1} bytes", table.name, "memory per row");
    let probes = probes(table);
    let find = |memtable: &Memtable| {
        probes.iter().filter(|key| memtable.find(black_box(*key), &VIEW).is_some()).count()
    };
    report(table, "find a random key", measure(GETS, || assert_eq!(find(&memtable), GETS)));
    let all: Vec<usize> = (0..table.schema.columns.len()).collect();
    let mut out = RowBuilder::default();
    let read = measure(GETS, || {
        for key in &probes {
            let row = memtable.find(key, &VIEW).expect("there");
            memtable.read(row, &all, &mut out);
        }
    });
    report(table, "find a random key and read the row", read);
    for (what, columns) in
        [("scan, all columns, per row", &all[..]), ("scan, 2 columns, per row", &all[1..3])]
    {
        let ns = measure(count, || assert_eq!(scan(&memtable, &KeySpan::all(), columns), count));
        report(table, what, ns);
    }
    narrow(table, &memtable);
    let ended = memtable.iter_sorted().step_by(100).collect::<Vec<_>>();
    ended.iter().for_each(|row| memtable.set_end(*row, Stamp::committed(Timestamp(6))));
    let left = count - ended.len();
    let ns = measure(count, || assert_eq!(scan(&memtable, &KeySpan::all(), &all[1..3]), left));
    report(table, "scan, 2 columns, 1 % deleted, per row", ns);
}

fn narrow(table: &Table, memtable: &Memtable) {
    let mut sorted: Vec<&Key> = table.rows.iter().map(|(key, _)| key).collect();
    sorted.sort_unstable();
    let spans: Vec<KeySpan> = (0..NARROW_SPANS as u64)
        .map(|n| {
            let start = scatter(n) as usize % (sorted.len() - NARROW_ROWS as usize);
            KeySpan { start: sorted[start].clone(), end: Some(sorted[start + NARROW_ROWS as usize].clone()) }
        })
        .collect();
    let ns = measure(NARROW_SPANS, || spans.iter().map(|span| scan(memtable, span, &[1, 2])).sum::<usize>());
    report(table, "scan of 100 keys, 2 columns, per scan", ns);
}

fn segments(table: &Table) {
    let sim = Sim::new(1);
    sim.set_steps_max(u64::MAX);
    let env = sim.core(NodeId(0), CoreId(0));
    let count = table.rows.len();
    let memtable = fill(table);
    sim.run(async {
        env.create_dir(Path::new("/s")).await.expect("creates");
        let path = |id: u64| PathBuf::from(format!("/s/{id}"));
        let writer = |id: u64| SegmentWriter::new(env.clone(), path(id), SegmentId(id), table.schema.clone());
        let start = cpu_ns();
        let mut flush = writer(1).await.expect("creates");
        let mut cursor = SortedCursor::default();
        while !flush.fill(&memtable, &mut cursor, Timestamp(1)).await {
            flush.write().await.expect("writes");
        }
        let written = flush.finish().await.expect("writes").expect("rows");
        report(table, "flush, simulated disk", (cpu_ns() - start) as f64 / count as f64);
        let bytes = written.meta.bytes as f64 / count as f64;
        println!("{:<22} {:<44} {bytes:>9.1} bytes", table.name, "segment file per row");
        let file = path(1);
        let open = Segment::open(env.clone(), &file, table.schema.clone(), &written.meta);
        let segment = Rc::new(open.await.expect("opens"));
        let cache = BlockCache::new(usize::MAX);
        // Every key once, which brings all blocks into the cache.
        for (key, _) in &table.rows {
            segment.find(key, &[], &cache).await.expect("reads");
        }
        let all: Vec<usize> = (0..table.schema.columns.len()).collect();
        let probes: Vec<&Key> =
            (0..GETS).map(|n| &table.rows[scatter(n as u64) as usize % count].0).collect();
        let mut out = RowBuilder::default();
        let ns = measure(GETS, || {
            for key in &probes {
                let versions = segment.find_cached(key, &all, &cache).expect("cached");
                versions.newest().expect("there").read(&all, &mut out);
            }
        });
        report(table, "segment find and read the row, cached", ns);
        let start = cpu_ns();
        let inputs = [segment.clone(), segment.clone()];
        let merged = merge(&inputs, Timestamp(1), writer(2).await.expect("creates"));
        let merged = merged.await.expect("merges").meta.expect("rows");
        report(table, "merge, simulated disk", (cpu_ns() - start) as f64 / merged.rows as f64);
    });
}

fn main() {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let five = [PgType::Int8, PgType::Int8, PgType::Float8, PgType::Text, PgType::Timestamp];
    let mut wide = vec![PgType::Int8];
    let kinds = [PgType::Int4, PgType::Float8, PgType::Text, PgType::Timestamp, PgType::Int4, PgType::Int4];
    wide.extend(kinds.iter().cycle().take(18));
    let in_order = || 0..rows as i64;
    let at_random = || (0..rows as u64).map(|n| scatter(n) as i64);
    for table in [
        table("5 columns, in order", &five, in_order()),
        table("5 columns, random", &five, at_random()),
        table("19 columns, in order", &wide, in_order().take(rows / 4)),
    ] {
        memtable(&table);
        segments(&table);
    }
}
