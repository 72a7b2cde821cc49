//! Every byte of a shard's files is flipped, one after the other, after the shard was closed: opening it and reading all
//! of it must say that it is corrupt. It must never panic, nor give a row that is wrong, nor leave one out.
//!
//! Inside of long runs of zeros (padding and space made ahead) only some bytes are flipped; `OMENDB_FLIP_ALL=1` flips
//! those too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use omen_core::catalog::{Column, TableSchema};
use omen_core::clock::{Clock, Timestamp};
use omen_core::env::sim::{NodeId, Sim, SimEnv};
use omen_core::id::{CoreId, RangeId, TableId, TxnId};
use omen_core::key::{Key, KeySpan};
use omen_core::learned::IndexKind;
use omen_core::router::ReadView;
use omen_core::row::{Row, RowBuilder};
use omen_core::shard::{NewRange, RangeImage, Recovered, Shard, ShardConfig, WriteMode};
use omen_core::types::{Datum, Numeric, PgType};
use omen_core::write_batch::WriteBatch;
use omen_core::{Error, Result};

/// The shard as it was closed.
const WHOLE: NodeId = NodeId(0);
/// The copy that is damaged.
const DAMAGED: NodeId = NodeId(1);
const RANGE: RangeId = RangeId(1);
const COLUMNS: [usize; 5] = [0, 1, 2, 3, 4];
/// Of a page that holds nothing but zeros, every so many bytes are flipped.
const ZERO_PAGE_STRIDE: usize = 61;
/// Of other runs of zeros, every so many.
const ZEROS_STRIDE: usize = 7;
/// Zeros on both sides that make a run.
const RUN_MARGIN: usize = 16;
/// At every so many bytes all eight bits are flipped, at the others one.
const ALL_BITS_STRIDE: usize = 211;
const PAGE: usize = 4_096;

/// What is in the shard: `None` for keys that are not, or not any more.
type Rows = BTreeMap<i64, Option<Row>>;

fn config() -> ShardConfig {
    let mut config = ShardConfig::new(Path::new("/shard"), 1 << 20);
    config.wal_file_bytes = 32 << 10;
    config.wal_record_bytes_max = 15 << 10;
    config
}

fn schema() -> Arc<TableSchema> {
    let column = |(name, pg_type): (&str, PgType)| Column {
        name: name.into(),
        pg_type,
        not_null: name == "id",
        default: None,
        hidden: false,
    };
    let columns = [
        ("id", PgType::Int8),
        ("name", PgType::Text),
        ("amount", PgType::Numeric(None)),
        ("weight", PgType::Float8),
        ("at", PgType::Timestamp),
    ];
    let columns = columns.into_iter().map(column).collect();
    Arc::new(TableSchema { columns, key: vec![0], key_name: Some("pkey".into()), index: IndexKind::Auto })
}

fn row(id: i64, version: i64) -> Row {
    let text = match id % 7 {
        0 => Datum::Null,
        1 => Datum::Text("".into()),
        n => Datum::Text(format!("{version}-{id}").repeat(n as usize).into()),
    };
    let amount = match id % 5 {
        0 => Datum::Numeric(Numeric::NAN),
        n => Datum::Numeric(Numeric::new(i128::from(id * version), n as u8).expect("small")),
    };
    let weight = [0.5, -0.0, f64::NAN, f64::INFINITY, id as f64][(id % 5) as usize];
    let values = [Datum::Int8(id), text, amount, Datum::Float8(weight), Datum::Timestamp(id * 1_000_000)];
    RowBuilder::default().row(&values).expect("small")
}

fn key(id: i64) -> Key {
    Key::of(&[Datum::Int8(id)]).expect("short")
}

async fn open(env: SimEnv) -> Result<Shard<SimEnv>> {
    let Recovered { shard, .. } = Shard::open(env, CoreId(0), Rc::new(Clock::new()), config()).await?;
    Ok(shard)
}

fn view() -> ReadView {
    ReadView { snapshot: Timestamp::MAX, txn: TxnId::new(CoreId(0), 1) }
}

/// A shard and what it should hold.
struct Writer {
    shard: Shard<SimEnv>,
    rows: Rows,
}

impl Writer {
    async fn put(&mut self, ids: impl Iterator<Item = i64>, version: i64) {
        let mut batch = WriteBatch::new();
        for id in ids {
            let row = row(id, version);
            match self.rows.get(&id) {
                Some(Some(_)) => batch.update(&key(id), &row),
                _ => batch.insert(&key(id), &row),
            }
            self.rows.insert(id, Some(row));
        }
        self.write(batch).await;
    }

    async fn remove(&mut self, ids: impl Iterator<Item = i64>) {
        let mut batch = WriteBatch::new();
        for id in ids {
            batch.delete(&key(id));
            self.rows.insert(id, None);
        }
        self.write(batch).await;
    }

    async fn write(&self, batch: WriteBatch) {
        self.shard.write(RANGE, view(), &batch, WriteMode::Commit).await.expect("nothing fails here");
    }
}

/// Makes a shard with two segments, deletion vectors and a log, and closes it.
async fn build(env: SimEnv, log_rows: i64) -> Rows {
    let shard = open(env).await.expect("an empty disk");
    let range = NewRange { id: RANGE, table: TableId(20_000), schema: schema(), span: KeySpan::all() };
    shard.install_range(range, RangeImage::default()).await.expect("space");
    let mut writer = Writer { shard, rows: Rows::new() };
    writer.put(0..60, 1).await;
    writer.shard.checkpoint(None).await.expect("space");
    writer.put(10..20, 2).await;
    writer.remove(30..35).await;
    writer.put(100..130, 1).await;
    writer.shard.checkpoint(None).await.expect("space");
    writer.remove(5..8).await;
    writer.put(40..44, 3).await;
    for id in 0..log_rows {
        writer.put(std::iter::once(200 + id), 4).await;
    }
    writer.shard.close().await.expect("nothing fails here");
    writer.rows
}

/// Opens the shard and reads all of it; answers a key whose row is not what it should be.
async fn read(env: SimEnv, rows: &Rows) -> Result<Option<i64>> {
    let shard = open(env).await?;
    shard.verify().await?;
    for (id, row) in rows {
        if shard.get(RANGE, view(), &key(*id), &COLUMNS).await? != *row {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

/// Says where the damage was if the test panics.
struct Place<'a>(&'a Path, usize, u8);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("with the bits {:#04x} of byte {} of {} flipped", self.2, self.1, self.0.display());
        }
    }
}

/// Flips bits of one byte of a copy of the disk and reads it.
fn damage(sim: &Sim, rows: &Rows, path: &Path, offset: usize, mask: u8) {
    let place = Place(path, offset, mask);
    sim.copy_disk(WHOLE, DAMAGED);
    sim.flip(DAMAGED, path, offset as u64, mask).expect("the file is there");
    let result = sim.run(read(sim.core(DAMAGED, CoreId(0)), rows));
    sim.kill(DAMAGED);
    match result {
        Err(Error::Corrupt { .. }) => {}
        Err(other) => panic!("the damage is reported as {other}"),
        Ok(Some(id)) => panic!("the row {id} is wrong"),
        Ok(None) => panic!("the damage is not reported"),
    }
    drop(place);
}

/// The bytes of a page to flip.
fn chosen(page: &[u8], stride: usize) -> Vec<usize> {
    if std::env::var_os("OMENDB_FLIP_ALL").is_some() {
        return (0..page.len()).collect();
    }
    if page.iter().all(|byte| *byte == 0) {
        return (0..page.len()).step_by(ZERO_PAGE_STRIDE).collect();
    }
    let in_run = |at: usize| {
        let around = &page[at.saturating_sub(RUN_MARGIN)..page.len().min(at + RUN_MARGIN)];
        around.iter().all(|byte| *byte == 0)
    };
    (0..page.len()).step_by(stride).filter(|at| at.is_multiple_of(ZEROS_STRIDE) || !in_run(*at)).collect()
}

fn flip_all(kind: &str, log_rows: i64, stride: usize) {
    let sim = Sim::new(7);
    sim.set_steps_max(u64::MAX);
    let rows = sim.run(build(sim.core(WHOLE, CoreId(0)), log_rows));
    sim.kill(WHOLE);
    sim.copy_disk(WHOLE, DAMAGED);
    let whole = sim.run(read(sim.core(DAMAGED, CoreId(0)), &rows));
    assert_eq!(whole, Ok(None), "what was closed opens again");
    sim.kill(DAMAGED);
    let files: Vec<PathBuf> =
        sim.files(WHOLE).into_iter().filter(|path| path.to_string_lossy().contains(kind)).collect();
    assert!(!files.is_empty(), "no file of kind {kind}");
    let mut flips = 0;
    for path in files {
        let bytes = sim.file_bytes(WHOLE, &path).expect("listed");
        for (page, content) in bytes.chunks(PAGE).enumerate() {
            for within in chosen(content, stride) {
                let offset = page * PAGE + within;
                let masks =
                    if offset.is_multiple_of(ALL_BITS_STRIDE) { 0..8 } else { offset % 8..offset % 8 + 1 };
                flips += masks.len();
                masks.for_each(|bit| damage(&sim, &rows, &path, offset, 1 << bit));
            }
        }
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    println!("{flips} flips");
}

#[test]
fn of_the_log_is_reported() {
    flip_all("/wal/", 3, 1);
}

/// A log of several files.
#[test]
fn of_a_long_log_is_reported() {
    flip_all("/wal/", 12, 37);
}

#[test]
fn of_the_manifest_is_reported() {
    flip_all("/manifest/", 1, 1);
}

#[test]
fn of_segments_is_reported() {
    flip_all("/segments/", 1, 1);
}
