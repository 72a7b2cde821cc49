//! Handing ranges over: a range is flushed while writers wait, its segments get a second name in the shards that take
//! its parts, and when the catalog names the new ranges the old one is dropped.
//!
//! Until then the old range serves reads. A crash leaves either catalog; ranges that it does not name are dropped.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::format::encode_schema;
use crate::clock::Timestamp;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{Lsn, RangeId};
use crate::key::{Key, KeySpan};
use crate::manifest::Edit;
use crate::segment::{EndsWalk, Position, Segment, SegmentMeta};
use crate::stamp::Stamp;

use super::flush::{add_ends, committed_ends};
use super::range::Range;
use super::{NewRange, Shard, segments_dir};

/// How long a hand-over waits for open transactions before it gives up.
const QUIET_TIMEOUT: Duration = Duration::from_millis(100);

/// Keys of each store for each part that its rows are cut into.
const SAMPLES_PER_PART: usize = 8;

/// The rows of a range as files.
#[derive(Clone, Debug, Default)]
pub struct RangeImage {
    /// Oldest first.
    pub segments: Vec<SegmentImage>,
}

/// A segment of another shard, with the ends of its versions.
#[derive(Clone, Debug)]
pub struct SegmentImage {
    /// Its file.
    pub path: PathBuf,
    /// Its description there.
    pub meta: SegmentMeta,
    /// Ends of its versions.
    pub ends: Vec<(Position, Stamp)>,
}

/// A range that is ready to be handed over.
#[derive(Clone, Debug)]
pub struct SplitPlan {
    /// Keys that cut it into parts of about equal size, rising.
    pub points: Vec<Key>,
    /// Its rows.
    pub image: RangeImage,
}

impl<E: Env> Shard<E> {
    /// Stops writes to the range (`RangeMoved`), writes it to disk and plans `parts` parts.
    ///
    /// # Errors
    /// `Busy` if transactions stay open, `RangeMoved` if it is not here, and what a flush reports: writes go on then.
    pub async fn begin_handover(&self, id: RangeId, parts: usize) -> Result<SplitPlan> {
        let plan = self.quiesce_and_plan(id, parts).await;
        if let Some(range) = self.0.state.borrow_mut().ranges.get_mut(&id).filter(|_| plan.is_err()) {
            range.moving = false;
            // Asked again when it is at rest.
            range.split_above = range.version_count();
        }
        plan
    }

    /// Lets writes to the range go on: the hand-over has failed.
    pub fn end_handover(&self, id: RangeId) {
        if let Some(range) = self.0.state.borrow_mut().ranges.get_mut(&id) {
            range.moving = false;
            range.split_after(self.0.config.split_rows);
        }
    }

    async fn quiesce_and_plan(&self, id: RangeId, parts: usize) -> Result<SplitPlan> {
        let inner = &self.0;
        inner.state.borrow_mut().range(id)?.moving = true;
        let deadline = inner.deadline(QUIET_TIMEOUT);
        loop {
            let seen = inner.released.epoch();
            if inner.state.borrow_mut().range(id)?.open_txns.is_empty() {
                break;
            }
            if !inner.wait(&inner.released, seen, deadline).await {
                return Err(Error::Busy);
            }
        }
        let points = inner.state.borrow_mut().range(id)?.split_points(parts);
        let _hurry = inner.background.hurry();
        inner.flush_range(id).await?;
        // A merge that ends before this turn has changed the segments already; one that would end later gives up.
        let _turn = inner.background.edits.enter().await;
        let mut state = inner.state.borrow_mut();
        let range = state.range(id)?;
        let segments = range.segments.iter().map(|segment| SegmentImage {
            path: segment.path().to_path_buf(),
            meta: segment.meta().clone(),
            ends: committed_ends(segment),
        });
        Ok(SplitPlan { points, image: RangeImage { segments: segments.collect() } })
    }

    /// Takes a new range, with the rows of `image` that lie in its span. Durable when this returns.
    ///
    /// # Errors
    /// `DiskFull`, I/O errors; the range is not here then.
    pub async fn install_range(&self, new: NewRange, image: RangeImage) -> Result<()> {
        let inner = &self.0;
        let _turn = inner.background.edits.enter().await;
        if inner.state.borrow().ranges.contains_key(&new.id) {
            return Ok(());
        }
        let schema = encode_schema(&new.schema).into();
        let mut edits =
            vec![Edit::CreateRange { range: new.id, table: new.table, span: new.span.clone(), schema }];
        let mut segments = Vec::new();
        for source in image.segments {
            let Some(segment) = self.adopt(&new, source).await? else { continue };
            edits.push(Edit::AddSegment { range: new.id, segment: segment.meta().clone() });
            let mut ends = Vec::new();
            segment.take_fresh_ends(&mut EndsWalk::new(), usize::MAX, Timestamp::ZERO, &mut ends);
            edits.push(add_ends(new.id, segment.id(), ends));
            segments.push(std::rc::Rc::new(segment));
        }
        let dir = segments_dir(&inner.config.dir);
        inner.env.sync_dir(&dir).await.map_err(|e| Error::io(format!("sync {}", dir.display()), &e))?;
        edits.push(Edit::NextSegment(inner.next_segment.get()));
        edits.push(Edit::ClockAtLeast(inner.tick()));
        let since: Lsn = inner.wal.tail_lsn();
        inner.wal.durable(since).await?;
        edits.push(Edit::SetFlushed { range: new.id, lsn: since, index: 0 });
        inner.manifest.apply(&edits).await?;
        let id = new.id;
        let mut range = Range::new(new, since);
        range.segments = segments;
        range.changed();
        range.split_after(inner.config.split_rows);
        inner.state.borrow_mut().ranges.insert(id, range);
        Ok(())
    }

    /// Gives another shard's segment a name of this one; `None` if no block of it can hold keys of the range.
    async fn adopt(&self, new: &NewRange, source: SegmentImage) -> Result<Option<Segment<E>>> {
        let inner = &self.0;
        let id = inner.new_segment_id();
        let path = inner.segment_path(id);
        let linked = inner.env.hard_link(&source.path, &path).await;
        linked.map_err(|error| Error::io(format!("link {}", path.display()), &error))?;
        let meta = SegmentMeta { id, ..source.meta };
        let segment = Segment::open(inner.env.clone(), &path, new.schema.clone(), &meta).await?;
        if segment.rows_in(&new.span) == 0 {
            inner.remove_segments(&[std::rc::Rc::new(segment)]).await?;
            return Ok(None);
        }
        segment.set_ends_in(&new.span, source.ends);
        Ok(Some(segment))
    }

    /// Forgets a range and removes its files. Scans that read it go on.
    ///
    /// # Errors
    /// If the manifest cannot be written: the range stays.
    pub async fn drop_range(&self, id: RangeId) -> Result<()> {
        let inner = &self.0;
        let _turn = inner.background.edits.enter().await;
        if !inner.state.borrow().ranges.contains_key(&id) {
            return Ok(());
        }
        inner.manifest.apply(&[Edit::DropRange { range: id }]).await?;
        let range = inner.state.borrow_mut().ranges.remove(&id);
        inner.released.notify();
        inner.freed.notify();
        let Some(range) = range else { return Ok(()) };
        inner.remove_segments(&range.segments).await?;
        inner.truncate_log().await
    }
}

impl<E: Env> Range<E> {
    /// Keys that cut its rows into about equal parts.
    fn split_points(&self, parts: usize) -> Vec<Key> {
        let samples = parts * SAMPLES_PER_PART;
        let memory = self.memtables.iter().map(|slot| {
            let table = slot.table.borrow();
            (table.version_count() as f64, table.split_points(samples))
        });
        let disk = self.segments.iter().map(|segment| {
            let rows = segment.rows_in(&self.span) as f64;
            (rows, segment.split_points_in(&self.span, samples))
        });
        let mut points = quantiles(memory.chain(disk), parts);
        let inside = |key: &Key| self.span.contains(key) && **key != *self.span.start;
        points.retain(inside);
        points
    }
}

/// At most `parts - 1` keys, rising, that cut the rows of several stores into about equal parts. Of each store: how many
/// rows it has, and keys that cut them evenly.
fn quantiles(stores: impl Iterator<Item = (f64, Vec<Key>)>, parts: usize) -> Vec<Key> {
    let (mut all, mut total) = (Vec::new(), 0.0);
    for (rows, keys) in stores {
        total += rows;
        // Each key stands for the rows between the one before it and itself.
        let rows_each = rows / (keys.len() + 1) as f64;
        all.extend(keys.into_iter().map(|key| (key, rows_each)));
    }
    all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let (mut points, mut below, mut part) = (Vec::new(), 0.0, 1.0);
    for (key, rows) in all {
        below += rows;
        let is_due = below >= part * total / parts as f64;
        if is_due && points.len() + 1 < parts && points.last() != Some(&key) {
            points.push(key);
            // A store whose keys are few may be far ahead.
            part = (below * parts as f64 / total).floor() + 1.0;
        }
    }
    points
}

/// The spans that the points cut a span into.
pub fn cut(span: &KeySpan, points: &[Key]) -> Vec<KeySpan> {
    let starts = std::iter::once(&span.start).chain(points);
    let ends = points.iter().map(Some).chain(std::iter::once(span.end.as_ref()));
    starts.zip(ends).map(|(start, end)| KeySpan { start: start.clone(), end: end.cloned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Datum;

    fn keys(numbers: impl Iterator<Item = i64>) -> Vec<Key> {
        numbers.map(|number| Key::of(&[Datum::Int8(number)]).expect("a key")).collect()
    }

    #[test]
    fn quantiles_weigh_every_store() {
        // 900 rows from 0 to 900 in three stores one after the other, and 100 rows from 900 to 1,000 with finer keys.
        let store = |start: i64| (300.0, keys((1..30).map(|each| start + each * 10)));
        let last = (100.0, keys((1..100).map(|each| 900 + each)));
        let points = quantiles([store(0), store(300), store(600), last].into_iter(), 4);
        assert_eq!(points.len(), 3);
        for (point, ideal) in points.iter().zip([250, 500, 750]) {
            let near = keys([ideal - 20, ideal + 20].into_iter());
            assert!(near[0] <= *point && *point <= near[1], "{point:?} is not near {ideal}");
        }
        assert_eq!(quantiles([(3.0, keys(1..3))].into_iter(), 2), keys(2..3));
        assert!(quantiles([(1.0, Vec::new())].into_iter(), 2).is_empty());
        assert!(quantiles(std::iter::empty(), 3).is_empty());
    }
}
