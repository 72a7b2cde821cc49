//! Read-ahead of scans: blocks that follow one another are read together, and the next ones while these are scanned.
//!
//! A scan that has just begun reads little, because it may end soon; each read is twice as large as the one before, up
//! to [`READ_BYTES_MAX`], and up to [`READS_MAX`] are under way.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::segment::{Block, BlockPlan, BlockScan, Segment, SegmentId};
use crate::sync::{Receiver, oneshot};

use super::Inner;

/// Bytes of the first read.
const READ_BYTES_MIN: u64 = 64 << 10;
/// Bytes of a read once a scan is going.
const READ_BYTES_MAX: u64 = 512 << 10;
/// Reads under way, beside the blocks that are being scanned.
const READS_MAX: usize = 2;
/// How far a scan looks for blocks to read that are neither cached nor left out.
const LOOK_BLOCKS: usize = 256;

/// Blocks that are being read.
struct Reading {
    segment: SegmentId,
    numbers: Range<usize>,
    blocks: Receiver<Result<Vec<Rc<Block>>>>,
}

/// See the module.
pub(super) struct Ahead {
    /// What is read goes into the cache.
    keep: bool,
    read_bytes: u64,
    /// Blocks that have been read, and their segment and first number.
    ready: Option<(SegmentId, usize, Vec<Rc<Block>>)>,
    reading: VecDeque<Reading>,
}

impl Ahead {
    /// Nothing is read yet.
    pub(super) fn new(keep: bool) -> Ahead {
        Ahead { keep, read_bytes: READ_BYTES_MIN, ready: None, reading: VecDeque::new() }
    }

    /// The first of these blocks of a segment, which the scan will go through in order.
    ///
    /// # Errors
    /// If it cannot be read or is corrupt.
    pub(super) async fn block<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        wanted: Range<usize>,
        scan: &BlockScan,
    ) -> Result<Rc<Block>> {
        loop {
            if let Some((of, first, blocks)) = &self.ready
                && *of == segment.id()
                && let Some(block) = wanted.start.checked_sub(*first).and_then(|at| blocks.get(at))
            {
                return Ok(Rc::clone(block));
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
                    let numbers = segment.blocks_within(wanted.clone(), self.read_bytes);
                    let end =
                        numbers.clone().skip(1).find(|number| !self.is_due(inner, segment, *number, scan));
                    let numbers = numbers.start..end.unwrap_or(numbers.end);
                    self.start(inner, segment, numbers);
                }
            }
        }
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
        segment.plan_block(number, true, scan) == BlockPlan::Read && !segment.has_cached(number, &inner.cache)
    }

    /// Starts reads of blocks that come later.
    fn read_on<E: Env>(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        later: Range<usize>,
        scan: &BlockScan,
    ) {
        self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        let planned = self.reading.back().filter(|last| last.segment == segment.id());
        let mut next = planned.map_or(later.start, |last| last.numbers.end.max(later.start));
        let look_end = later.end.min(next + LOOK_BLOCKS);
        while self.reading.len() < READS_MAX {
            let Some(first) = (next..look_end).find(|number| self.is_due(inner, segment, *number, scan))
            else {
                return;
            };
            let numbers = segment.blocks_within(first..look_end, self.read_bytes);
            let end = numbers.clone().find(|number| !self.is_due(inner, segment, *number, scan));
            next = end.unwrap_or(numbers.end);
            self.start(inner, segment, first..next);
        }
    }

    fn start<E: Env>(&mut self, inner: &Rc<Inner<E>>, segment: &Rc<Segment<E>>, numbers: Range<usize>) {
        let (sender, blocks) = oneshot();
        self.reading.push_back(Reading { segment: segment.id(), numbers: numbers.clone(), blocks });
        let (inner, segment, keep) = (inner.clone(), segment.clone(), self.keep);
        let env = inner.env.clone();
        env.spawn(async move { sender.send(segment.load_blocks(numbers, keep, &inner.cache).await) });
    }
}
