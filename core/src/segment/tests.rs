use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::format::{BLOCK_ROWS, BlockId, Footer, PAGE_BYTES, Trailer};
use super::*;
use crate::catalog::TableSchema;
use crate::clock::Timestamp;
use crate::env::sim::{IoKind, NodeId, Sim, SimEnv};
use crate::env::{AlignedBuf, File, OpenMode};
use crate::error::Error;
use crate::id::{CoreId, TxnId};
use crate::key::KeySpan;
use crate::memtable::{ScanPosition, SortedCursor};
use crate::router::ReadView;
use crate::row::datum_from_bytes;
use crate::stamp::visible;
use crate::test_rows::{self, ALL_TYPES, Random};
use crate::types::{Datum, PgType};

const NODE: NodeId = NodeId(0);

pub(super) fn simulate<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Sim, SimEnv) -> F) {
    let sim = Sim::new(seed);
    let env = sim.core(NODE, CoreId(0));
    let future = test(sim.clone(), env.clone());
    sim.run(async move {
        env.create_dir(Path::new("/s")).await.expect("creates");
        future.await;
    });
}

pub(super) fn at(ts: u64) -> Stamp {
    Stamp::committed(Timestamp(ts))
}

pub(super) fn path(id: u64) -> PathBuf {
    PathBuf::from(format!("/s/{id}.seg"))
}

#[derive(Clone, Debug)]
pub(super) struct ModelVersion {
    pub(super) key: Key,
    pub(super) begin: u64,
    /// `u64::MAX`: live.
    pub(super) end: u64,
    pub(super) values: Vec<Datum>,
}

impl ModelVersion {
    pub(super) fn end(&self) -> Stamp {
        if self.end == u64::MAX { Stamp::LIVE } else { at(self.end) }
    }
}

/// Versions of random keys in segment order; one in four keys has several, the later ones ended.
pub(super) fn versions(
    random: &mut Random,
    schema: &TableSchema,
    count: usize,
    same_begin: bool,
) -> Vec<ModelVersion> {
    let mut keys = BTreeMap::new();
    while keys.len() < count {
        let datums: Vec<Datum> =
            schema.key.iter().map(|c| any_key(random, schema.columns[*c].pg_type)).collect();
        keys.insert(Key::of(&datums).expect("short"), datums);
    }
    let mut all = Vec::new();
    for (key, datums) in keys {
        let mut end = if random.one_in(6) { 1_500_000 } else { u64::MAX };
        let mut begin = 1_000_000;
        let more = if random.one_in(4) { random.below(4) } else { 0 };
        for _ in 0..=more {
            let step = 1 + random.below(1_000);
            begin -= if same_begin { 0 } else { step };
            let values = test_rows::values(random, schema, &datums);
            all.push(ModelVersion { key: key.clone(), begin, end, values });
            end = begin;
            if same_begin {
                break;
            }
        }
    }
    all.truncate(count);
    all
}

fn any_key(random: &mut Random, pg_type: PgType) -> Datum {
    match pg_type {
        PgType::Int8 => Datum::Int8(random.below(1 << 20) as i64 - 1_000),
        PgType::Text => {
            let tail = "k".repeat(random.pick(&[0, 3, 1_500]));
            Datum::Text(format!("common prefix {}{tail}", random.below(1 << 20)).into())
        }
        other => test_rows::value(random, other),
    }
}

pub(super) async fn write(
    env: &SimEnv,
    schema: &Arc<TableSchema>,
    id: u64,
    versions: &[ModelVersion],
) -> Rc<Segment<SimEnv>> {
    let mut writer =
        SegmentWriter::new(env.clone(), path(id), SegmentId(id), schema.clone()).await.expect("creates");
    for version in versions {
        writer.push(at(version.begin), &test_rows::row(&version.values)).await.expect("writes");
    }
    let written = writer.finish().await.expect("writes").expect("rows");
    assert_eq!(written.meta.rows, versions.len() as u64);
    let segment = Segment::open(env.clone(), &path(id), schema.clone(), &written.meta).await.expect("opens");
    Rc::new(segment)
}

pub(super) async fn set_ends(segment: &Segment<SimEnv>, versions: &[ModelVersion]) {
    let cache = BlockCache::new(1 << 20);
    for version in versions.iter().filter(|version| version.end != u64::MAX) {
        let found = segment.find(&version.key, &[], &cache).await.expect("reads");
        let found = found.iter().find(|found| found.begin() == at(version.begin)).expect("there");
        segment.set_end(found.position(), version.end());
    }
}

pub(super) fn view(snapshot: u64) -> ReadView {
    ReadView { snapshot: Timestamp(snapshot), txn: TxnId(1) }
}

async fn check_find(segment: &Segment<SimEnv>, versions: &[ModelVersion], keys: &[Key]) {
    let cache = BlockCache::new(1 << 20);
    let columns: Vec<usize> = (0..segment.schema().columns.len()).rev().collect();
    let mut out = RowBuilder::default();
    for key in keys {
        let expected: Vec<_> = versions.iter().filter(|version| version.key == *key).collect();
        let found = segment.find(key, &columns, &cache).await.expect("reads");
        assert_eq!(found.iter().count(), expected.len(), "{key:?}");
        let cached = segment.find_cached(key, &columns, &cache);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.begin(), segment.end(found.position())), (at(expected.begin), expected.end()));
            found.read(&columns, &mut out);
            let row = out.finish().expect("small");
            let values = test_rows::values_of_row(segment.schema(), &columns, &row);
            assert!(values.iter().rev().eq(&expected.values), "{key:?}");
        }
        // A key of many versions may not fit the cache.
        if let Some(cached) = cached {
            let positions = |versions: &Versions| versions.iter().map(Version::position).collect::<Vec<_>>();
            assert_eq!(positions(&cached), positions(&found));
        }
    }
}

async fn complete(
    segment: &Segment<SimEnv>,
    number: usize,
    groups: GroupSet,
    block: &mut RowGroup,
    cache: &BlockCache,
) {
    block.add(&segment.cached_groups(number, block.missing(groups), cache));
    let missing = block.missing(groups);
    if !missing.is_empty() {
        let read = segment.load_groups(number..number + 1, missing, true, cache).await;
        block.add(&read.expect("reads")[0]);
    }
}

/// What a scan of some columns gives, part by part.
pub(super) async fn scan_columns(
    segment: &Segment<SimEnv>,
    scan: &mut BlockScan,
    span: &KeySpan,
    cache: &BlockCache,
) -> Vec<RecordBatch> {
    let mut batches = scan_blocks(segment, scan, span, cache).await;
    batches.extend(scan.take().expect("values of their types"));
    batches
}

/// As `scan_columns`, without the batch that still has room.
pub(super) async fn scan_blocks(
    segment: &Segment<SimEnv>,
    scan: &mut BlockScan,
    span: &KeySpan,
    cache: &BlockCache,
) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let blocks = segment.blocks_in(span);
    for number in blocks.clone() {
        let inside = (number > blocks.start || span.start.is_empty())
            && (number + 1 < blocks.end || span.end.is_none());
        match segment.plan_block(number, inside, scan) {
            BlockPlan::Skip => segment.skip_block(scan),
            BlockPlan::Count => segment.count_block(number, scan),
            BlockPlan::Read => {
                let mut block = segment.cached_groups(number, GroupSet::default(), cache);
                let groups = segment.groups_to_filter(number, inside, scan);
                complete(segment, number, groups, &mut block, cache).await;
                if segment.filter_block(number, &block, span, inside, scan) {
                    let groups = segment.groups_to_gather(scan);
                    complete(segment, number, groups, &mut block, cache).await;
                    segment.gather_block(&block, scan);
                }
            }
        }
        if scan.is_full() {
            batches.extend(scan.take().expect("values of their types"));
        }
    }
    batches
}

async fn scan_all(segment: &Segment<SimEnv>, span: &KeySpan, view: &ReadView) -> Vec<Vec<Datum>> {
    let cache = BlockCache::new(1 << 20);
    let columns: Vec<usize> = (0..segment.schema().columns.len()).collect();
    let scan = |columns: &[usize]| BlockScan::new(segment.schema(), columns, &[], view);
    let batches = scan_columns(segment, &mut scan(&columns), span, &cache).await;
    let counted = scan_columns(segment, &mut scan(&[]), span, &cache).await;
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(count(&batches), count(&counted));
    let rows = |batch: &RecordBatch| test_rows::values_of_batch(segment.schema(), &columns, batch);
    batches.iter().flat_map(rows).collect()
}

async fn check_scan(segment: &Segment<SimEnv>, versions: &[ModelVersion], span: &KeySpan, view: &ReadView) {
    let seen = |version: &&ModelVersion| {
        span.contains(&version.key) && visible(at(version.begin), version.end(), view)
    };
    let expected: Vec<_> = versions.iter().filter(seen).map(|version| version.values.clone()).collect();
    let found = scan_all(segment, span, view).await;
    assert!(found == expected, "{} rows, expected {} in {span:?}", found.len(), expected.len());
}

pub(super) async fn check_cursor(segment: &Rc<Segment<SimEnv>>, versions: &[ModelVersion], span: &KeySpan) {
    let types: Vec<PgType> = segment.schema().columns.iter().map(|column| column.pg_type).collect();
    let mut cursor = SegmentCursor::new(Rc::clone(segment), span.clone());
    for expected in versions.iter().filter(|version| span.contains(&version.key)) {
        cursor.load().await.expect("reads");
        let version = cursor.current().expect("as many as were written");
        assert_eq!(
            (version.key().as_slice(), version.begin(), version.end),
            (&*expected.key, at(expected.begin), expected.end())
        );
        let datum = |(pg_type, bytes): (&PgType, Option<Vec<u8>>)| {
            bytes.map_or(Datum::Null, |bytes| datum_from_bytes(*pg_type, &bytes).expect("a value"))
        };
        assert!(types.iter().zip(version.values()).map(datum).eq(expected.values.iter().cloned()));
        cursor.advance(1);
    }
    cursor.load().await.expect("reads");
    assert!(cursor.current().is_none());
}

pub(super) async fn check(segment: &Rc<Segment<SimEnv>>, versions: &[ModelVersion], random: &mut Random) {
    let mut keys: Vec<Key> =
        (0..60).map(|_| versions[random.below(versions.len() as u64) as usize].key.clone()).collect();
    keys.push(Key::default());
    for place in 0..5 {
        let mut near = keys[place].to_vec();
        near.push(0);
        keys.push(Key::from_bytes(&near));
        near.truncate(near.len() - 2);
        keys.push(Key::from_bytes(&near));
    }
    keys.extend([
        versions[0].key.clone(),
        versions[versions.len() - 1].key.clone(),
        Key::from_bytes(&[0xFF; 20]),
    ]);
    check_find(segment, versions, &keys).await;
    let mut spans = vec![KeySpan::all()];
    for pair in keys.chunks_exact(2) {
        let (a, b) = (pair[0].clone().min(pair[1].clone()), pair[0].clone().max(pair[1].clone()));
        spans.push(KeySpan::point(a.clone()));
        spans.push(KeySpan { start: a.clone(), end: None });
        spans.push(KeySpan { start: a, end: Some(b) });
    }
    for (index, span) in spans.iter().enumerate() {
        let snapshot = random.pick(&[0, 998_000, 999_300, 1_000_000, 1_499_999, u64::MAX >> 1]);
        check_scan(segment, versions, span, &view(snapshot)).await;
        if index % 16 == 0 {
            check_cursor(segment, versions, span).await;
        }
    }
}

#[test]
fn what_was_written_is_read() {
    simulate(1, |_, env| async move {
        let mut random = Random::new(1);
        let all = test_rows::schema(&ALL_TYPES, &[0]);
        let pair = test_rows::schema(&[PgType::Bool, PgType::Text, PgType::Int8], &[2, 1]);
        let text = test_rows::schema(&[PgType::Text], &[0]);
        let cases = [
            (&all, 1, false),
            (&all, 2_500, false),
            (&pair, BLOCK_ROWS - 1, true),
            (&pair, BLOCK_ROWS, false),
            (&pair, BLOCK_ROWS + 1, false),
            (&text, 3_000, true),
        ];
        for (id, (schema, count, same_begin)) in cases.into_iter().enumerate() {
            let versions = versions(&mut random, schema, count, same_begin);
            let segment = write(&env, schema, id as u64, &versions).await;
            let live: Vec<_> =
                versions.iter().cloned().map(|version| ModelVersion { end: u64::MAX, ..version }).collect();
            check_cursor(&segment, &live, &KeySpan::all()).await;
            set_ends(&segment, &versions).await;
            check(&segment, &versions, &mut random).await;
        }
    });
}

#[test]
fn many_versions_of_one_key_span_blocks() {
    simulate(2, |_, env| async move {
        let mut random = Random::new(2);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
        let mut all = Vec::new();
        for (n, count) in [(1, 1_000), (2, 5_000), (3, 100), (4, 924), (5, 1_024)] {
            let key = [Datum::Int8(n)];
            for version in (0..count).rev() {
                let values = test_rows::values(&mut random, &schema, &key);
                let end = if version + 1 == count { u64::MAX } else { version + 2 };
                all.push(ModelVersion {
                    key: Key::of(&key).expect("short"),
                    begin: version + 1,
                    end,
                    values,
                });
            }
        }
        let segment = write(&env, &schema, 1, &all).await;
        set_ends(&segment, &all).await;
        let keys: Vec<Key> = (0..7).map(|n| Key::of(&[Datum::Int8(n)]).expect("short")).collect();
        check_find(&segment, &all, &keys).await;
        for key in keys {
            check_scan(&segment, &all, &KeySpan::point(key), &view(700)).await;
        }
        assert!(segment.split_points(4).len() <= 3);
    });
}

#[test]
fn no_rows_make_no_file() {
    simulate(3, |sim, env| async move {
        let schema = test_rows::schema(&[PgType::Int8], &[0]);
        let writer =
            SegmentWriter::new(env.clone(), path(1), SegmentId(1), schema.clone()).await.expect("creates");
        assert!(writer.finish().await.expect("nothing to write").is_none());
        assert!(sim.files(NODE).is_empty());
        let mut writer =
            SegmentWriter::new(env.clone(), path(1), SegmentId(1), schema.clone()).await.expect("creates");
        writer.push(at(1), &test_rows::row(&[Datum::Int8(1)])).await.expect("writes");
        writer.abort().await;
        assert!(sim.files(NODE).is_empty());
    });
}

#[test]
fn errors_remove_the_file() {
    simulate(4, |sim, env| async move {
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
        let mut random = Random::new(4);
        let versions = versions(&mut random, &schema, 20_000, false);
        for kind in [IoKind::Write, IoKind::Sync, IoKind::SyncDir] {
            sim.fail_next(NODE, kind);
            let result = try_write(&env, &schema, &versions).await;
            assert!(matches!(result, Err(Error::Io { .. })), "{kind:?}");
            assert!(sim.files(NODE).is_empty());
        }
        sim.set_disk_capacity(NODE, Some(64 << 10));
        assert!(matches!(try_write(&env, &schema, &versions).await, Err(Error::DiskFull { .. })));
        assert!(sim.files(NODE).is_empty());
        sim.set_disk_capacity(NODE, None);
        assert!(try_write(&env, &schema, &versions).await.is_ok());
        let mut writer = SegmentWriter::new(env, path(2), SegmentId(2), schema).await.expect("creates");
        assert!(matches!(writer.push(at(1), &[0, 1]).await, Err(Error::Corrupt { .. })));
        assert_eq!(sim.files(NODE).len(), 1);
    });
}

async fn try_write(env: &SimEnv, schema: &Arc<TableSchema>, versions: &[ModelVersion]) -> crate::Result<()> {
    let mut writer = SegmentWriter::new(env.clone(), path(1), SegmentId(1), schema.clone()).await?;
    for version in versions {
        writer.push(at(version.begin), &test_rows::row(&version.values)).await?;
    }
    writer.finish().await.map(drop)
}

#[test]
fn a_finished_segment_survives_power_loss() {
    let sim = Sim::new(5);
    let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
    let versions = versions(&mut Random::new(5), &schema, 2_000, false);
    let env = sim.core(NODE, CoreId(0));
    let meta = sim.run(async {
        env.create_dir(Path::new("/s")).await.expect("creates");
        write(&env, &schema, 1, &versions).await.meta().clone()
    });
    sim.crash(NODE);
    let env = sim.core(NODE, CoreId(0));
    sim.run(async {
        let segment = Segment::open(env.clone(), &path(1), schema.clone(), &meta).await.expect("opens");
        let live: Vec<_> =
            versions.iter().cloned().map(|version| ModelVersion { end: u64::MAX, ..version }).collect();
        check_cursor(&Rc::new(segment), &live, &KeySpan::all()).await;
    });
}

/// Reads all that a file holds through every way there is.
async fn read_everything(env: &SimEnv, schema: &Arc<TableSchema>, meta: &SegmentMeta) -> crate::Result<()> {
    let segment = Rc::new(Segment::open(env.clone(), &path(1), schema.clone(), meta).await?);
    let mut cursor = SegmentCursor::new(Rc::clone(&segment), KeySpan::all());
    cursor.load().await?;
    while cursor.current().is_some() {
        cursor.advance(1);
        cursor.load().await?;
    }
    segment.verify().await
}

#[test]
fn every_flipped_bit_is_noticed() {
    simulate(6, |_, env| async move {
        let schema = test_rows::schema(&ALL_TYPES, &[0]);
        let versions = versions(&mut Random::new(6), &schema, 12, false);
        let segment = write(&env, &schema, 1, &versions).await;
        let meta = segment.meta().clone();
        assert_eq!(meta.bytes % PAGE_BYTES as u64, 0);
        let file = env.open(&path(1), OpenMode::ReadWrite).await.expect("opens");
        read_everything(&env, &schema, &meta).await.expect("nothing is wrong yet");
        for offset in 0..meta.bytes as usize {
            let page_at = (offset / PAGE_BYTES * PAGE_BYTES) as u64;
            let mut page = file.read_at(page_at, AlignedBuf::zeroed(PAGE_BYTES)).await.expect("reads");
            page[offset % PAGE_BYTES] ^= 1 << (offset % 8);
            let (result, mut page) = file.write_at(page_at, page).await;
            result.expect("writes");
            let error = read_everything(&env, &schema, &meta).await;
            assert!(matches!(error, Err(Error::Corrupt { .. })), "byte {offset}: {error:?}");
            page[offset % PAGE_BYTES] ^= 1 << (offset % 8);
            file.write_at(page_at, page).await.0.expect("writes");
        }
        read_everything(&env, &schema, &meta).await.expect("all is as it was");
    });
}

#[test]
fn another_file_is_noticed() {
    simulate(7, |_, env| async move {
        let schema = test_rows::schema(&[PgType::Int8, PgType::Int4], &[0]);
        let mut random = Random::new(7);
        let first = versions(&mut random, &schema, 3_000, false);
        let segment = write(&env, &schema, 1, &first).await;
        let second = write(&env, &schema, 2, &versions(&mut random, &schema, 3_000, false)).await;
        let open = |path: PathBuf, schema: Arc<TableSchema>, meta: SegmentMeta| {
            let env = env.clone();
            async move { Segment::open(env, &path, schema, &meta).await.err() }
        };
        let is_corrupt = |error: Option<Error>| matches!(error, Some(Error::Corrupt { .. }));
        assert!(is_corrupt(open(path(2), schema.clone(), segment.meta().clone()).await));
        let other = test_rows::schema(&[PgType::Int8, PgType::Date], &[0]);
        assert!(is_corrupt(open(path(1), other, segment.meta().clone()).await));
        // A page in the place of another.
        assert!(segment.block_count() == 3 && second.block_count() == 3);
        let file = env.open(&path(1), OpenMode::ReadWrite).await.expect("opens");
        let at = |page: usize| (page * PAGE_BYTES) as u64;
        let page = file.read_at(at(2), AlignedBuf::zeroed(PAGE_BYTES)).await.expect("reads");
        file.write_at(at(1), page).await.0.expect("writes");
        assert!(matches!(read_everything(&env, &schema, segment.meta()).await, Err(Error::Corrupt { .. })));
        // The same file under an id of another shard.
        env.hard_link(&path(2), &path(3)).await.expect("links");
        let meta = SegmentMeta { id: SegmentId(3), ..second.meta().clone() };
        assert_eq!(open(path(3), schema.clone(), meta).await, None);
    });
}

/// Changes bytes as an attacker could who also sets the checksums: nothing may panic.
#[test]
fn decoders_survive_any_bytes() {
    let schema = test_rows::schema(&ALL_TYPES, &[0]);
    let types = block::with_begins(ALL_TYPES.into_iter());
    let groups = Rc::new(groups::Groups::one(types.len()));
    let keys = keys::KeyColumns::new(&schema, &groups);
    let mut random = Random::new(8);
    let mut plain = block::PlainRows::new(&types);
    for version in versions(&mut random, &schema, 40, false) {
        let row = test_rows::row(&version.values);
        let mut reader = crate::row::RowReader::new(&row, ALL_TYPES.len()).expect("valid");
        let values = ALL_TYPES.iter().map(|pg_type| reader.next_bytes(*pg_type).expect("valid"));
        plain.push(at(version.begin), values);
    }
    let id = BlockId { segment: SegmentId(1), block: 0, group: 0 };
    let (mut encoder, mut bytes) = (encoding::SegmentEncoder::new(&types), Vec::new());
    let encoded = plain.encode(groups.columns(0), id, &mut encoder, &mut bytes, &async || ());
    futures_lite::future::block_on(encoded);
    let tables = Rc::new(encoding::Tables::decode(&encoder.tables(), &types).expect("valid"));
    let decode = |bytes: &[u8]| Block::decode(bytes, id, plain.rows(), &types, &tables);
    let verify = |block: Block| {
        let mut group = RowGroup::new(&groups);
        group.set(0, block);
        group.verify(&keys, &types)
    };
    decode(&bytes).and_then(verify).expect("valid");
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut broken = bytes.clone();
        for _ in 0..=random.below(3) {
            // Mostly header and directory.
            let reach = random.pick(&[24, 24 + 8 * types.len(), bytes.len()]);
            broken[random.below(reach as u64) as usize] =
                random.pick(&[0, 1, 0x7F, 0xFF, random.clone().next() as u8]);
        }
        broken.truncate(if random.one_in(20) {
            random.below(bytes.len() as u64) as usize
        } else {
            bytes.len()
        });
        match decode(&broken) {
            Err(_) => refused += 1,
            Ok(block) => {
                let _ = verify(block);
            }
        }
    }
    assert!(refused > 5_000, "{refused}");
    decode_footers(&mut random);
}

fn decode_footers(random: &mut Random) {
    let footers = [1, 3].map(|groups| {
        let directory = format::Directory::new(groups);
        let mut footer = Footer { last_key: b"last".to_vec(), directory, ..Footer::default() };
        (footer.zones, footer.tables, footer.division) = (vec![1, 2, 3], vec![4; 9], vec![0, 1, 2]);
        footer.sketches = vec![5; 4];
        let mut offset = PAGE_BYTES as u64;
        for n in 0..20u32 {
            let extent = |group: u32| format::Extent { bytes: 8 * (n + group + 1), crc: n + group };
            let blocks: Vec<_> = (0..groups as u32).map(extent).collect();
            assert!(footer.push(&blocks, 9, n % 3 == 1, &n.to_be_bytes()[..(n % 5) as usize]));
            for (group, extent) in blocks.into_iter().enumerate() {
                let place = footer.directory.place(n as usize, group);
                assert_eq!(place, Some(format::Place { offset, extent }));
                offset += u64::from(extent.bytes);
            }
            assert_eq!(footer.directory.place(n as usize, groups), None);
        }
        assert_eq!(footer.blocks_end(), offset);
        assert_eq!(Footer::decode(&footer.encode(), 20).as_ref(), Ok(&footer));
        footer.encode()
    });
    let (page, crc) = Trailer {
        id: SegmentId(1),
        fingerprint: 2,
        rows: 3,
        blocks: 4,
        footer_crc: 5,
        footer_bytes: 6,
        footer_at: 7,
    }
    .encode();
    assert!(Trailer::decode(&page, crc).is_ok() && Trailer::decode(&page, crc ^ 1).is_err());
    for _ in 0..20_000 {
        let bytes = &footers[random.below(2) as usize];
        let mut broken = bytes.clone();
        let place = random.below(bytes.len() as u64) as usize;
        broken[place] = random.next() as u8;
        broken.truncate(if random.one_in(4) { place } else { bytes.len() });
        let blocks = random.pick(&[20, 20, 20, 19, 21, 0, u32::MAX]);
        if let Ok(decoded) = Footer::decode(&broken, blocks) {
            assert_eq!(decoded.encode(), broken);
            (0..decoded.directory.fences.len())
                .for_each(|block| assert!(decoded.first_key(block).len() < 2_049));
        }
    }
}

#[test]
fn a_flushed_memtable_is_the_same_to_every_reader() {
    simulate(9, |_, env| async move {
        let mut random = Random::new(9);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text, PgType::Numeric(None)], &[0]);
        let mut memtable = Memtable::new(schema.clone());
        let mut now = 100;
        for _ in 0..9_000 {
            let key = [Datum::Int8(random.below(3_000) as i64)];
            let bytes = Key::of(&key).expect("short");
            now += 1;
            let newest = memtable.newest(&bytes);
            if let Some(live) = newest.filter(|row| memtable.end(*row) == Stamp::LIVE) {
                memtable.set_end(live, at(now));
            }
            if newest.is_none() || !random.one_in(3) {
                let values = test_rows::values(&mut random, &schema, &key);
                let rolled_back = newest.is_none() && random.one_in(20);
                let begin = if rolled_back { Stamp::ABORTED } else { at(now) };
                memtable.insert(&bytes, &test_rows::row(&values), begin).expect("valid");
            }
        }
        let horizon = Timestamp(4_000);
        let mut writer =
            SegmentWriter::new(env.clone(), path(1), SegmentId(1), schema.clone()).await.expect("creates");
        let mut cursor = SortedCursor::default();
        while !writer.fill(&memtable, &mut cursor, horizon).await {
            writer.write().await.expect("writes");
        }
        // Ends that come while the flush runs.
        for row in memtable.iter_sorted().step_by(7).collect::<Vec<_>>() {
            if memtable.end(row) == Stamp::LIVE {
                memtable.set_end(row, Stamp::provisional(TxnId(1)));
            }
        }
        let written = writer.finish().await.expect("writes").expect("rows");
        assert!(written.meta.rows < memtable.version_count() as u64);
        let segment = Segment::open(env, &path(1), schema.clone(), &written.meta).await.expect("opens");
        written.rows.carry(&memtable, &segment);
        for snapshot in [horizon.0, 6_000, now] {
            for txn in [TxnId(1), TxnId(2)] {
                let view = ReadView { snapshot: Timestamp(snapshot), txn };
                let mut expected = Vec::new();
                let mut position = Some(ScanPosition::START);
                while let Some(from) = position {
                    let (batch, next) = memtable.scan(&KeySpan::all(), &[0, 1, 2], &view, from, 8_192);
                    let rows = batch.map(|batch| test_rows::values_of_batch(&schema, &[0, 1, 2], &batch));
                    expected.extend(rows.into_iter().flatten());
                    position = next;
                }
                expected.sort_by_key(|values| test_rows::key_of(&schema, values));
                let found = scan_all(&segment, &KeySpan::all(), &view).await;
                assert!(found == expected, "{} rows, expected {}", found.len(), expected.len());
            }
        }
    });
}

/// A transaction that changes a row twice can leave versions with one begin in several inputs: the newer comes first.
#[test]
fn merging_orders_versions_of_one_begin_by_age() {
    simulate(12, |_, env| async move {
        let mut random = Random::new(12);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
        let rows: Vec<ModelVersion> = versions(&mut random, &schema, 40, false)
            .into_iter()
            .map(|row| ModelVersion { begin: 7, ..row })
            .collect();
        let rows: Vec<_> = rows.chunk_by(|a, b| a.key == b.key).map(|group| group[0].clone()).collect();
        let mut inputs = Vec::new();
        let mut expected = vec![Vec::new(); rows.len()];
        for id in 0..3 {
            let text = |row: &ModelVersion| Datum::Text(format!("{id}").repeat(3 + row.values.len()).into());
            let part: Vec<ModelVersion> = rows
                .iter()
                .map(|row| ModelVersion { values: vec![row.values[0].clone(), text(row)], ..row.clone() })
                .collect();
            for (key, version) in expected.iter_mut().zip(&part) {
                key.insert(0, version.clone());
            }
            inputs.push(write(&env, &schema, id, &part).await);
        }
        let writer =
            SegmentWriter::new(env.clone(), path(9), SegmentId(9), schema.clone()).await.expect("creates");
        let merged = merge(&inputs, Timestamp(1), writer).await.expect("merges");
        let meta = merged.meta.expect("rows are left");
        let output = Rc::new(Segment::open(env.clone(), &path(9), schema, &meta).await.expect("opens"));
        let expected: Vec<ModelVersion> =
            expected.into_iter().flatten().map(|row| ModelVersion { end: u64::MAX, ..row }).collect();
        check_cursor(&output, &expected, &KeySpan::all()).await;
    });
}

#[test]
fn merging_keeps_what_can_be_seen() {
    simulate(10, |_, env| async move {
        let mut random = Random::new(10);
        let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
        let mut all: Vec<ModelVersion> = versions(&mut random, &schema, 9_000, false);
        let mut parts: Vec<Vec<ModelVersion>> = vec![Vec::new(); 4];
        all.iter().for_each(|version| parts[random.below(4) as usize].push(version.clone()));
        let mut inputs = Vec::new();
        for (id, part) in parts.iter().enumerate() {
            let segment = write(&env, &schema, id as u64, part).await;
            set_ends(&segment, part).await;
            inputs.push(segment);
        }
        let horizon = Timestamp(998_500);
        let writer =
            SegmentWriter::new(env.clone(), path(9), SegmentId(9), schema.clone()).await.expect("creates");
        let merged = merge(&inputs, horizon, writer).await.expect("merges");
        all.retain(|version| version.end > horizon.0);
        // Ends that come while the merge runs: kept versions that were live.
        let cache = BlockCache::new(1 << 20);
        for version in all.iter_mut().filter(|version| version.end == u64::MAX).step_by(5) {
            version.end = 2_000_000;
            for input in &inputs {
                let found = input.find(&version.key, &[], &cache).await.expect("reads");
                let found = found.iter().find(|found| found.begin() == at(version.begin));
                found.iter().for_each(|found| input.set_end(found.position(), at(2_000_000)));
            }
        }
        let meta = merged.meta.expect("rows are left");
        let output =
            Rc::new(Segment::open(env.clone(), &path(9), schema.clone(), &meta).await.expect("opens"));
        merged.positions.carry(&inputs, &output);
        check_cursor(&output, &all, &KeySpan::all()).await;
        check(&output, &all, &mut random).await;

        let span = KeySpan { start: all[1_000].key.clone(), end: Some(all[5_000].key.clone()) };
        let writer =
            SegmentWriter::new(env.clone(), path(10), SegmentId(10), schema.clone()).await.expect("creates");
        let half = merge_span(&[Rc::clone(&output)], &span, horizon, writer).await.expect("merges");
        let half_meta = half.meta.expect("rows are left");
        let half_output =
            Segment::open(env.clone(), &path(10), schema.clone(), &half_meta).await.expect("opens");
        half.positions.carry(&[output], &half_output);
        let inside: Vec<_> = all.iter().filter(|version| span.contains(&version.key)).cloned().collect();
        check_cursor(&Rc::new(half_output), &inside, &KeySpan::all()).await;

        let writer = SegmentWriter::new(env.clone(), path(11), SegmentId(11), schema).await.expect("creates");
        let nothing =
            merge_span(&inputs, &KeySpan::point(Key::default()), horizon, writer).await.expect("merges");
        assert!(nothing.meta.is_none());
    });
}

#[test]
fn split_points_cut_evenly() {
    simulate(11, |_, env| async move {
        let schema = test_rows::schema(&[PgType::Int8], &[0]);
        let versions = versions(&mut Random::new(11), &schema, 40_000, true);
        let segment = write(&env, &schema, 1, &versions).await;
        let before = |key: &Key| versions.partition_point(|version| version.key < *key);
        let points = segment.split_points(4);
        assert_eq!(points.len(), 3);
        for (index, point) in points.iter().enumerate() {
            assert!(before(point).abs_diff((index + 1) * 10_000) <= BLOCK_ROWS);
        }
        let span = KeySpan { start: points[0].clone(), end: Some(points[2].clone()) };
        let middle = segment.split_points_in(&span, 2);
        assert!(middle.len() == 1 && before(&middle[0]).abs_diff(20_000) <= 2 * BLOCK_ROWS);
        assert!(segment.rows_in(&span).abs_diff(20_000) <= 2 * BLOCK_ROWS as u64);
        assert!(segment.split_points(1).is_empty());
    });
}

#[test]
fn estimates_are_near() {
    simulate(12, |_, env| async move {
        for (id, types) in
            [(1, &[PgType::Int8][..]), (2, &[PgType::Int4, PgType::Int8]), (3, &[PgType::Text])]
        {
            let schema = test_rows::schema(types, &(0..types.len()).collect::<Vec<_>>());
            let versions = versions(&mut Random::new(12), &schema, 20_000, true);
            let segment = write(&env, &schema, id, &versions).await;
            let before = |key: &Key| versions.partition_point(|version| version.key < *key);
            for (from, to) in [(0, 20_000), (5_000, 15_000), (7_000, 7_010), (100, 101), (19_000, 20_000)] {
                let end = versions.get(to).map(|version| version.key.clone());
                let span = KeySpan { start: versions[from].key.clone(), end };
                let rows = span.end.as_ref().map_or(versions.len(), before) - before(&span.start);
                let off = (segment.estimate_rows(&span) - rows as f64).abs();
                // Keys that are not one number are not spread evenly between fences: a block at both ends.
                let most = if types.len() == 1 && types[0] == PgType::Int8 {
                    200.0
                } else {
                    2.0 * BLOCK_ROWS as f64
                };
                assert!(off <= most, "{types:?} {from}..{to}: {off} from {rows}");
            }
            assert!((segment.estimate_rows(&KeySpan::all()) - 20_000.0).abs() < 1.0);
            let beyond = KeySpan { start: segment.meta().last_key.prefix_end().expect("short"), end: None };
            assert!(segment.estimate_rows(&beyond) < 1.0);
            assert_eq!(segment.estimate_rows(&KeySpan::point(Key::default())), 0.0);
        }
    });
}

#[test]
fn deletion_vector_behaves_like_a_map() {
    let mut random = Random::new(12);
    let (mut vector, mut model) = (DeletionVector::default(), BTreeMap::new());
    for _ in 0..20_000 {
        let position = Position::new(random.below(5) as usize, random.below(1_024) as usize);
        let end = random.pick(&[Stamp::LIVE, at(random.clone().below(100)), Stamp::provisional(TxnId(3))]);
        vector.set(position, end);
        if end == Stamp::LIVE {
            model.remove(&position)
        } else {
            model.insert(position, end)
        };
        assert_eq!((vector.get(position), vector.len()), (end, model.len()));
    }
    assert!(vector.entries().eq(model.clone()));
    model.keys().for_each(|position| vector.set(*position, Stamp::LIVE));
    assert!(vector.is_empty() && vector.entries().next().is_none());
}

#[test]
fn the_cache_keeps_its_budget_and_what_is_used() {
    simulate(13, |_, env| async move {
        let schema = test_rows::schema(&[PgType::Int8, PgType::Uuid], &[0]);
        let segment = write(&env, &schema, 1, &versions(&mut Random::new(13), &schema, 200_000, true)).await;
        let budget = 60 * 33_000;
        let cache = BlockCache::new(budget);
        let read = async |block: usize| {
            let missing = segment.cached_groups(block, GroupSet::KEY, &cache).missing(GroupSet::KEY);
            if !missing.is_empty() {
                segment.load_groups(block..block + 1, missing, true, &cache).await.expect("reads");
            }
            assert!(cache.size_bytes() <= budget);
        };
        for _ in 0..4 {
            for block in 0..20 {
                read(block).await;
            }
        }
        for block in 20..segment.block_count() {
            read(block).await;
            if block % 10 == 0 {
                for hot in 0..20 {
                    read(hot).await;
                }
            }
        }
        let (hits, misses) = cache.hits_and_misses();
        assert!(misses <= segment.block_count() as u64 + 20, "{misses} misses, {hits} hits");
        cache.set_bytes_max(10 * 33_000);
        assert!(cache.size_bytes() <= 10 * 33_000);
        cache.forget(SegmentId(2));
        assert!(cache.size_bytes() > 0);
        cache.forget(SegmentId(1));
        assert_eq!(cache.size_bytes(), 0);
        read(3).await;
        let tiny = BlockCache::new(0);
        segment.load_groups(0..1, GroupSet::KEY, true, &tiny).await.expect("reads");
        assert_eq!(tiny.size_bytes(), 0);
    });
}

/// Every build reads the files of every version. `UPDATE_GOLDENFILES=1` writes that of the newest anew.
#[test]
fn fixtures_can_be_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/segment/v4/1.seg");
    let schema = test_rows::schema(&ALL_TYPES, &[0, 7]);
    let expected = fixture_versions(&schema);
    simulate(14, |sim, env| async move {
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            write(&env, &schema, 1, &expected).await;
            std::fs::create_dir_all(fixture.parent().expect("a folder")).expect("creates");
            std::fs::write(&fixture, sim.file_bytes(NODE, &path(1)).expect("written")).expect("writes");
            env.remove_file(&path(1)).await.expect("removes");
        }
        let bytes = std::fs::read(&fixture).expect("the fixture is in the repository");
        let file = env.open(&path(1), OpenMode::CreateNew).await.expect("creates");
        let mut buffer = AlignedBuf::zeroed(bytes.len());
        buffer.copy_from_slice(&bytes);
        file.write_at(0, buffer).await.0.expect("writes");
        let (_, checksum) = bytes.split_last_chunk().expect("a trailer");
        let meta = SegmentMeta {
            id: SegmentId(1),
            rows: expected.len() as u64,
            bytes: bytes.len() as u64,
            checksum: u32::from_le_bytes(*checksum),
            first_key: expected[0].key.clone(),
            last_key: expected[expected.len() - 1].key.clone(),
        };
        let segment = Segment::open(env, &path(1), schema, &meta).await.expect("opens");
        assert_eq!(segment.block_count(), 2);
        check_cursor(&Rc::new(segment), &expected, &KeySpan::all()).await;
    });
}

/// Rows that no random generator makes, so that it may change: every type, NULLs, extremes, two versions of one key, one
/// block whose versions begin together and whose keys are of one length, one where neither holds.
fn fixture_versions(schema: &TableSchema) -> Vec<ModelVersion> {
    let texts = ["", "naïve", "漢字 and more", "\0"];
    let version = |n: usize, begin: u64, text: &str| {
        let value = |(index, pg_type): (usize, &PgType)| match (index + n) % 5 {
            0 if index != 0 && index != 7 => Datum::Null,
            _ => fixture_value(*pg_type, n as i64, text),
        };
        let values: Vec<Datum> = ALL_TYPES.iter().enumerate().map(value).collect();
        ModelVersion { key: test_rows::key_of(schema, &values), begin, end: u64::MAX, values }
    };
    // Enough of them to fill a block.
    let first = (0..1_100).map(|n| version(n, 1_000, "same"));
    let second = (0..40).map(|n| version(1_100 + n / 2, 2_000 - n as u64, texts[n / 2 % 4]));
    first.chain(second).collect()
}

fn fixture_value(pg_type: PgType, n: i64, text: &str) -> Datum {
    use crate::types::{Interval, Numeric};
    match pg_type {
        PgType::Bool => Datum::Bool(n % 2 == 0),
        PgType::Int2 => Datum::Int2(i16::MIN + n as i16),
        PgType::Int4 => Datum::Int4(i32::MAX - n as i32),
        PgType::Int8 => Datum::Int8(i64::MIN + n),
        PgType::Float4 => Datum::Float4(n as f32 * 0.5),
        PgType::Float8 => Datum::Float8(-0.25 * n as f64),
        PgType::Numeric(_) if n % 7 == 0 => Datum::Numeric(Numeric::NAN),
        PgType::Numeric(_) => Datum::Numeric(Numeric::new(i128::from(n) - 500, 3).expect("fits")),
        PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => Datum::Text(text.into()),
        PgType::Bytea => Datum::Bytea(n.to_le_bytes()[..(n % 9) as usize].into()),
        PgType::Date => Datum::Date(n as i32),
        PgType::Time => Datum::Time(n * 1_000_000),
        PgType::Timestamp | PgType::Timestamptz => Datum::Timestamp(i64::MAX - n),
        PgType::Interval => Datum::Interval(Interval { months: n as i32, days: -1, micros: n }),
        PgType::Uuid => Datum::Uuid((n as u128).to_be_bytes()),
        PgType::Array(_) => panic!("fixtures have no arrays"),
    }
}
