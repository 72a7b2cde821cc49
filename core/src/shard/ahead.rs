//! Read-ahead of scans: blocks that follow one another are read together, and the next ones while these are scanned.
//!
//! A scan that has just begun reads little, because it may end soon; each read is twice as large as the one before, up
//! to [`READ_BYTES_MAX`], and up to [`READS_MAX`] are under way.
//!
//! Of tables with column groups, what a scan needs to filter is read ahead; what it needs only if rows are left is read
//! when they are.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::segment::{BlockPlan, BlockScan, GroupSet, RowGroup, Segment, SegmentId};
use crate::sync::{Receiver, oneshot};

use super::Inner;

/// Bytes of the first read.
const READ_BYTES_MIN: u64 = 64 << 10;
/// Bytes of a read once a scan is going, and no more than one in `CACHE_PART` of the cache. Its blocks are checked in one
/// step.
const READ_BYTES_MAX: u64 = 128 << 10;
const CACHE_PART: u64 = 32;
/// Reads under way, beside the blocks that are being scanned.
const READS_MAX: usize = 6;
/// How far a scan looks for blocks to read that are neither cached nor left out.
const LOOK_BLOCKS: usize = 256;

/// Blocks that are being read.
struct Reading {
    segment: SegmentId,
    numbers: Range<usize>,
    blocks: Receiver<Result<Vec<RowGroup>>>,
}

/// See the module.
pub(super) struct Ahead {
    /// What is read goes into the cache.
    keep: bool,
    read_bytes: u64,
    /// Blocks that have been read, and their segment and first number.
    ready: Option<(SegmentId, usize, Vec<RowGroup>)>,
    reading: VecDeque<Reading>,
    disk_bytes: u64,
}

impl Ahead {
    /// Nothing is read yet.
    pub(super) fn new(keep: bool) -> Ahead {
        Ahead { keep, read_bytes: READ_BYTES_MIN, ready: None, reading: VecDeque::new(), disk_bytes: 0 }
    }

    /// Bytes that were read from disk so far, or are being read.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// The first of these blocks of a segment, which the scan will go through in order, with what it takes to filter it.
    /// `inside`: all its keys lie in the scan's span.
    ///
    /// # Errors
    /// If it cannot be read or is corrupt.
    pub(super) async fn block<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        wanted: Range<usize>,
        inside: bool,
        scan: &BlockScan,
    ) -> Result<RowGroup> {
        let number = wanted.start;
        let groups = segment.groups_to_filter(number, inside, scan);
        let mut block = segment.cached_groups(number, groups, &inner.cache);
        if !block.missing(segment.groups_to_filter(number, true, scan)).is_empty() {
            block.add(&self.read(inner, segment, wanted, scan).await?);
        }
        self.complete(inner, segment, number, groups, &mut block).await?;
        Ok(block)
    }

    /// Adds what a block lacks of these column groups.
    ///
    /// # Errors
    /// If it cannot be read or is corrupt.
    pub(super) async fn complete<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        number: usize,
        groups: GroupSet,
        block: &mut RowGroup,
    ) -> Result<()> {
        let missing = block.missing(groups);
        if missing.is_empty() {
            return Ok(());
        }
        block.add(&segment.cached_groups(number, missing, &inner.cache));
        let missing = block.missing(missing);
        if !missing.is_empty() {
            self.disk_bytes += segment.bytes_of(number, missing);
            let read = segment.load_groups(number..number + 1, missing, self.keep, &inner.cache).await?;
            read.iter().for_each(|read| block.add(read));
        }
        Ok(())
    }

    /// The first of these blocks, as it was read ahead, or is read now with some that follow.
    async fn read<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        wanted: Range<usize>,
        scan: &BlockScan,
    ) -> Result<RowGroup> {
        loop {
            if let Some((of, first, blocks)) = &self.ready
                && *of == segment.id()
                && let Some(block) = wanted.start.checked_sub(*first).and_then(|at| blocks.get(at))
            {
                return Ok(block.clone());
            }
            let is_wanted = |reading: &Reading| {
                reading.segment == segment.id() && reading.numbers.contains(&wanted.start)
            };
            match self.reading.pop_front() {
                Some(mut reading) if is_wanted(&reading) => {
                    self.read_on(inner, segment, reading.numbers.end..wanted.end, scan);
                    let blocks = reading.blocks.receive().await.ok_or(Error::Cancelled)??;
                    self.ready = Some((reading.segment, reading.numbers.start, blocks));
                }
                // What was read for nothing: the block is in the cache by now.
                Some(_) => {}
                None => {
                    let groups = segment.groups_to_filter(wanted.start, true, scan);
                    let numbers = segment.blocks_within(wanted.clone(), groups, self.read_bytes);
                    let end = self.end_of(inner, segment, numbers.start + 1..numbers.end, groups, scan);
                    self.start(inner, segment, numbers.start..end, groups);
                }
            }
        }
    }

    /// The first of these blocks that is not to be read together with those before it.
    fn end_of<E: Env>(
        &self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        numbers: Range<usize>,
        groups: GroupSet,
        scan: &BlockScan,
    ) -> usize {
        let is_other = |number: &usize| {
            !self.is_due(inner, segment, *number, scan)
                || segment.groups_to_filter(*number, true, scan) != groups
        };
        numbers.clone().find(is_other).unwrap_or(numbers.end)
    }

    /// Whether the scan will want a block that is not there.
    fn is_due<E: Env>(
        &self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        number: usize,
        scan: &BlockScan,
    ) -> bool {
        // That some keys of the last block may lie beyond the scan's span does not matter here.
        segment.plan_block(number, true, scan) == BlockPlan::Read
            && !segment.has_cached(number, segment.groups_to_filter(number, true, scan), &inner.cache)
    }

    /// Starts reads of blocks that come later.
    fn read_on<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        later: Range<usize>,
        scan: &BlockScan,
    ) {
        let most = (inner.cache.bytes_max() as u64 / CACHE_PART).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.read_bytes = (self.read_bytes * 2).min(most);
        let planned = self.reading.back().filter(|last| last.segment == segment.id());
        let mut next = planned.map_or(later.start, |last| last.numbers.end.max(later.start));
        let look_end = later.end.min(next + LOOK_BLOCKS);
        while self.reading.len() < READS_MAX {
            let Some(first) = (next..look_end).find(|number| self.is_due(inner, segment, *number, scan))
            else {
                return;
            };
            let groups = segment.groups_to_filter(first, true, scan);
            let numbers = segment.blocks_within(first..look_end, groups, self.read_bytes);
            next = self.end_of(inner, segment, numbers, groups, scan);
            self.start(inner, segment, first..next, groups);
        }
    }

    fn start<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        numbers: Range<usize>,
        groups: GroupSet,
    ) {
        self.disk_bytes += numbers.clone().map(|number| segment.bytes_of(number, groups)).sum::<u64>();
        let (sender, blocks) = oneshot();
        self.reading.push_back(Reading { segment: segment.id(), numbers: numbers.clone(), blocks });
        let (inner, segment, keep) = (inner.clone(), segment.clone(), self.keep);
        let env = inner.env.clone();
        env.spawn(async move { sender.send(segment.load_groups(numbers, groups, keep, &inner.cache).await) });
    }
}
