//! Opening a shard: the manifest tells what is on disk, the log what came after.
//!
//! Replay applies records in their order. It needs no undo: a transaction without its end in the log has aborted,
//! unless it had prepared here; then its coordinator is asked (`Recovered::in_doubt`).
//! Replaying a record whose effect is already in a segment or deletion vector changes nothing.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::format::decode_schema;
use crate::clock::Clock;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{CoreId, Lsn, RangeId, TxnId};
use crate::manifest::{Manifest, ManifestState, RangeState};
use crate::row::RowBuilder;
use crate::segment::{BlockCache, Segment};
use crate::stamp::Stamp;
use crate::sync::Signal;
use crate::wal::{Extent, Wal, WalOptions};
use crate::write_batch::{Write, WriteBatch, WriteOp};

use super::maintenance::Background;
use super::range::{Newest, Place, Range, newest_in_segments};
use super::records::{LogRecord, decode};
use super::{Inner, NewRange, Shard, ShardConfig, State, segment_path, segments_dir};

/// A shard that was opened.
pub struct Recovered<E: Env> {
    /// It.
    pub shard: Shard<E>,
    /// Transactions that had prepared here; each must be resolved as its coordinator says.
    pub in_doubt: Vec<TxnId>,
}

impl<E: Env> Shard<E> {
    /// Opens the shard in `config.dir`, or makes an empty one.
    ///
    /// # Errors
    /// `Corrupt` if the manifest, a segment or the acknowledged part of the log is damaged; I/O errors.
    pub async fn open(env: E, core: CoreId, clock: Rc<Clock>, config: ShardConfig) -> Result<Recovered<E>> {
        for dir in [config.dir.join("manifest"), config.dir.join("wal"), segments_dir(&config.dir)] {
            let made = env.create_dir(&dir).await;
            made.map_err(|error| Error::io(format!("create directory {}", dir.display()), &error))?;
        }
        let (manifest, on_disk) = Manifest::open(env.clone(), &config.dir.join("manifest")).await?;
        clock.observe(on_disk.clock_at_least);
        remove_strangers(&env, &config, &on_disk).await?;
        let mut replay = Replaying {
            state: State::new(),
            cache: BlockCache::new(config.cache_bytes),
            clock: clock.clone(),
        };
        for (id, range) in &on_disk.ranges {
            let range = open_range(&env, &config, *id, range).await?;
            replay.state.ranges.insert(*id, range);
        }
        let options = WalOptions {
            file_bytes: config.wal_file_bytes,
            record_bytes_max: config.wal_record_bytes_max,
            inflight_bytes_max: config.wal_inflight_bytes_max,
        };
        let flushed = on_disk.ranges.values().map(|range| range.flushed).max().unwrap_or_default();
        let extent = Extent { from: on_disk.log_from, to: flushed, closed: on_disk.closed };
        let mut records = Wal::open(env.clone(), &config.dir.join("wal"), options, extent).await?;
        while let Some((lsn, record)) = records.next().await? {
            replay.apply(lsn, record.range, decode(lsn, &record)?, record.index).await?;
        }
        if on_disk.closed.is_some() {
            // The log changes from here on: it is not closed any more.
            manifest.apply(&[]).await?;
        }
        let wal = records.finish().await?;
        let in_doubt = replay.abort_unprepared();
        let shard = Shard(Rc::new(Inner {
            background: Background::new(&env, &config),
            env,
            core,
            config,
            clock,
            wal,
            next_segment: Cell::new(on_disk.next_segment),
            manifest,
            cache: replay.cache,
            state: RefCell::new(replay.state),
            row_builder: RefCell::new(RowBuilder::default()),
            released: Signal::default(),
            freed: Signal::default(),
            unblocked: Cell::new(false),
            oldest_snapshot: RefCell::new(None),
            split_wanted: RefCell::new(None),
        }));
        Ok(Recovered { shard, in_doubt })
    }
}

/// Removes segment files that the manifest does not name: flushes that a crash cut off, and dropped ranges.
async fn remove_strangers<E: Env>(env: &E, config: &ShardConfig, on_disk: &ManifestState) -> Result<()> {
    let dir = segments_dir(&config.dir);
    let ranges = on_disk.ranges.values();
    let known: HashSet<_> =
        ranges.flat_map(|range| &range.segments).map(|s| segment_path(&config.dir, s.meta.id)).collect();
    let names = env.list_dir(&dir).await;
    for name in names.map_err(|error| Error::io(format!("list {}", dir.display()), &error))? {
        let path = dir.join(name);
        if !known.contains(&path) {
            let removed = env.remove_file(&path).await;
            removed.map_err(|error| Error::io(format!("remove {}", path.display()), &error))?;
        }
    }
    Ok(())
}

async fn open_range<E: Env>(
    env: &E,
    config: &ShardConfig,
    id: RangeId,
    on_disk: &RangeState,
) -> Result<Range<E>> {
    let schema = Arc::new(decode_schema(&on_disk.schema)?);
    let new = NewRange { id, table: on_disk.table, schema: schema.clone(), span: on_disk.span.clone() };
    let mut range = Range::new(new, on_disk.flushed);
    range.index = on_disk.index;
    for segment in &on_disk.segments {
        let path = segment_path(&config.dir, segment.meta.id);
        let open = Segment::open(env.clone(), &path, schema.clone(), &segment.meta).await?;
        open.restore_ends(segment.deletions.iter());
        range.segments.push(Rc::new(open));
    }
    range.changed();
    range.split_after(config.split_rows);
    Ok(range)
}

struct Replaying<E: Env> {
    state: State<E>,
    cache: BlockCache,
    clock: Rc<Clock>,
}

impl<E: Env> Replaying<E> {
    async fn apply(&mut self, lsn: Lsn, range: RangeId, record: LogRecord, index: u64) -> Result<()> {
        match record {
            LogRecord::Write { commit, batch } => {
                self.clock.observe(commit);
                self.apply_batch(lsn, range, index, &batch, None, Stamp::committed(commit)).await?;
            }
            LogRecord::Stage { txn, batch } => {
                self.apply_batch(lsn, range, index, &batch, Some(txn), Stamp::provisional(txn)).await?;
            }
            LogRecord::Prepare { txn, at } => {
                self.clock.observe(at);
                self.state.txns.entry(txn).or_default().prepared = Some(at);
            }
            LogRecord::Resolve { txn, commit } => {
                commit.inspect(|commit| self.clock.observe(*commit));
                self.state.settle(txn, commit);
            }
            LogRecord::Decide { txn, commit } => {
                self.clock.observe(commit);
                self.state.decisions.insert(txn, (commit, lsn));
            }
            LogRecord::Forget { txn } => drop(self.state.decisions.remove(&txn)),
        }
        Ok(())
    }

    async fn apply_batch(
        &mut self,
        lsn: Lsn,
        id: RangeId,
        index: u64,
        batch: &WriteBatch,
        txn: Option<TxnId>,
        stamp: Stamp,
    ) -> Result<()> {
        let Some(range) = self.state.ranges.get_mut(&id) else { return Ok(()) };
        if lsn <= range.flushed {
            return Ok(());
        }
        range.index = range.index.max(index);
        range.dirty = true;
        for write in batch.iter() {
            self.apply_write(id, &write, txn, stamp).await.map_err(|error| at_lsn(error, lsn))?;
        }
        if let Some(txn) = txn {
            let participant = self.state.txns.entry(txn).or_default();
            participant.ranges.insert(id);
            let range = self.state.ranges.get_mut(&id).expect("seen above");
            range.open_txns.insert(txn);
        }
        Ok(())
    }

    async fn apply_write(
        &mut self,
        id: RangeId,
        write: &Write<'_>,
        txn: Option<TxnId>,
        stamp: Stamp,
    ) -> Result<()> {
        let newest = self.newest(id, write.key, txn).await?;
        let range = self.state.ranges.get_mut(&id).expect("the caller has seen it");
        if let Some(newest) = newest.filter(|newest| newest.end == Stamp::LIVE) {
            newest.place.set_end(stamp);
            if let Some(txn) = txn {
                self.state.txns.entry(txn).or_default().ended.push((id, newest.place));
            }
        }
        if write.op == WriteOp::Delete {
            return Ok(());
        }
        let active = range.active().clone();
        let row = active.borrow_mut().insert(write.key, write.row, stamp).map_err(|_| Error::Corrupt {
            place: "write-ahead log".into(),
            detail: format!("a row of range {id} does not fit its table"),
        })?;
        if let Some(txn) = txn {
            self.state.txns.entry(txn).or_default().created(id, &active, &[row]);
        }
        Ok(())
    }

    /// The newest version of a key. If another transaction holds it, that one must have aborted before it had promised
    /// anything: the record that is being replayed could not have been logged otherwise.
    async fn newest(&mut self, id: RangeId, key: &[u8], own: Option<TxnId>) -> Result<Option<Newest<E>>> {
        loop {
            let range = self.state.ranges.get(&id).expect("the caller has seen it");
            let newest = match range.newest_in_memory(key) {
                Some(newest) => Some(newest),
                None => newest_in_segments(&range.segments, key, &self.cache).await?.map(
                    |(segment, position, begin)| Newest {
                        end: segment.end(position),
                        place: Place::Segment(segment, position),
                        begin,
                    },
                ),
            };
            let stamps = newest.iter().flat_map(|newest| [newest.begin, newest.end]);
            let Some(holder) = stamps.filter_map(Stamp::txn).find(|txn| Some(*txn) != own) else {
                return Ok(newest);
            };
            if self.state.txns.get(&holder).is_some_and(|participant| participant.prepared.is_some()) {
                return Err(Error::Corrupt {
                    place: "write-ahead log".into(),
                    detail: format!("a change of a row of range {id} that transaction {holder} holds"),
                });
            }
            self.state.settle(holder, None);
        }
    }

    /// Ends what had not prepared; answers what had.
    fn abort_unprepared(&mut self) -> Vec<TxnId> {
        let open: Vec<_> = self.state.txns.iter().map(|(txn, p)| (*txn, p.prepared.is_some())).collect();
        for (txn, prepared) in &open {
            if !prepared {
                self.state.settle(*txn, None);
            }
        }
        let mut in_doubt: Vec<_> =
            open.into_iter().filter_map(|(txn, prepared)| prepared.then_some(txn)).collect();
        in_doubt.sort_unstable();
        in_doubt
    }
}

fn at_lsn(error: Error, lsn: Lsn) -> Error {
    match error {
        Error::Corrupt { place, detail } => Error::Corrupt { place: format!("{place} at {lsn}"), detail },
        other => other,
    }
}
