//! Scans: a fragment runs over the visible rows of some ranges, part by part.
//!
//! A scan keeps the stores that it began with, so flushes, compactions and splits do not disturb it: what they move
//! was committed before, and what is written later is not visible in its view.

use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_select::filter::FilterBuilder;

use crate::catalog::TableSchema;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::filter::{ColumnFilter, Filter, mask};
use crate::fragment::{BATCH_ROWS, Flow, Fragment, FragmentRun, batch_bytes};
use crate::id::{CoreId, RangeId};
use crate::key::KeySpan;
use crate::memtable::ScanPosition;
use crate::router::{ReadView, ScanCounts};
use crate::segment::format::BLOCK_ROWS;
use crate::segment::{BlockPlan, BlockScan, Segment};

use super::ahead::Ahead;
use super::range::SharedMemtable;
use super::{Inner, Shard};

/// A part of a scan's output ends when it has this many bytes.
const PART_BYTES: usize = 512 << 10;
/// A scan gives way to point requests at least this often, in nanoseconds.
const SLICE_NS: u64 = 250_000;
/// A scan makes its batches so large that reading and processing one takes about this many nanoseconds at most.
const BATCH_NS: u64 = 125_000;
/// Rows of a scan's first batch.
const FIRST_ROWS: usize = 2 * BLOCK_ROWS;
/// Blocks between two looks at the clock.
const STEP_BLOCKS: usize = 16;

/// A running scan: the core that reads it and a number it chose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ScanId {
    /// Who reads.
    pub reader: CoreId,
    /// Distinct for each scan and core that the reader asks.
    pub number: u64,
}

/// A scan to start.
#[derive(Clone)]
pub struct ScanOpen {
    /// Its name.
    pub id: ScanId,
    /// Ranges of one table, with disjoint spans of keys in each.
    pub ranges: Vec<(RangeId, Vec<KeySpan>)>,
    /// What is visible.
    pub view: ReadView,
    /// What to do with the rows.
    pub fragment: Arc<dyn Fragment>,
}

/// A part of a scan's output.
#[derive(Clone, Debug)]
pub struct ScanPart {
    /// What the fragment said.
    pub batches: Vec<RecordBatch>,
    /// Nothing more will come; the scan is forgotten.
    pub done: bool,
    /// What this part took.
    pub counts: ScanCounts,
}

/// What is scanned, and the spans there: at least one.
struct Source<E: Env> {
    store: Store<E>,
    spans: Rc<[KeySpan]>,
}

enum Store<E: Env> {
    Memtable(SharedMemtable),
    Segment(Rc<Segment<E>>),
}

/// Where in a source and span a scan goes on.
#[derive(Clone, Copy)]
enum At {
    Start,
    Memtable(ScanPosition),
    Block(usize),
}

/// A scan between two parts.
pub(super) struct ScanRun<E: Env> {
    sources: Vec<Source<E>>,
    source: usize,
    span: usize,
    at: At,
    view: ReadView,
    rows: FilteredRows,
    blocks: Box<BlockScan>,
    rows_max: usize,
    ahead: Ahead,
    run: Box<dyn FragmentRun>,
    /// What it took so far, and what of that has been told.
    counts: ScanCounts,
    told: ScanCounts,
    /// Blocks of the segments that it came to, and those in its spans, once for each span.
    blocks_all: u64,
    blocks_within: u64,
}

/// What a scan came to.
enum Step {
    /// Rows.
    Batch(RecordBatch),
    /// Nothing yet.
    Nothing,
    /// There are no more rows.
    End,
}

/// Which columns a scan reads of which rows.
struct FilteredRows {
    filters: Vec<Filter>,
    /// The fragment's columns, then those that only filters read.
    columns: Vec<usize>,
    /// How many are the fragment's.
    width: usize,
}

impl FilteredRows {
    fn new(schema: &TableSchema, columns: &[usize], filters: &[ColumnFilter]) -> FilteredRows {
        let mut filters = Filter::all(filters, schema);
        filters.sort_by_key(Filter::rank);
        let mut all = columns.to_vec();
        for filter in &filters {
            if !all.contains(&filter.column) {
                all.push(filter.column);
            }
        }
        FilteredRows { filters, columns: all, width: columns.len() }
    }

    /// The fragment's columns of the rows that pass the filters, of a batch of all columns; `None` if no row passes.
    fn of(&self, batch: &RecordBatch) -> Option<RecordBatch> {
        let rows = batch.num_rows();
        let mut left = vec![0; mask::words(rows)];
        mask::fill(&mut left, rows);
        for filter in &self.filters {
            let place = self.columns.iter().position(|column| *column == filter.column);
            let array = batch.column(place.expect("filters' columns are read"));
            filter.retain_array(array, &mut left);
            if mask::is_empty(&left) {
                return None;
            }
        }
        let arrays = &batch.columns()[..self.width];
        let count = mask::count(&left);
        let arrays = if count == rows {
            arrays.to_vec()
        } else {
            let keep = BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(left), 0, rows), None);
            let keep = FilterBuilder::new(&keep).optimize().build();
            let kept = arrays.iter().map(|array| keep.filter(array));
            kept.collect::<std::result::Result<_, _>>().expect("mask and arrays have one length")
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let fields = (0..self.width).collect::<Vec<_>>();
        let schema = Arc::new(batch.schema_ref().project(&fields).expect("the first columns"));
        Some(RecordBatch::try_new_with_options(schema, arrays, &options).expect("arrays of the schema"))
    }
}

impl<E: Env> Shard<E> {
    /// Starts a scan and gives its first part.
    ///
    /// # Errors
    /// `RangeMoved` if the range is not here; what the fragment or the disk report.
    pub async fn open_scan(&self, open: ScanOpen) -> Result<ScanPart> {
        let inner = &self.0;
        inner.clock.observe(open.view.snapshot);
        for (range, _) in &open.ranges {
            loop {
                let seen = inner.released.epoch();
                if inner.state.borrow().prepared_before(*range, open.view.snapshot).is_none() {
                    break;
                }
                inner.released.changed(seen).await;
            }
        }
        let run = inner.start_scan(&open)?;
        inner.state.borrow_mut().scans.insert(open.id, None);
        inner.durable_at(open.view.snapshot).await?;
        inner.advance_scan(open.id, run).await
    }

    /// The next part of a scan.
    ///
    /// # Errors
    /// `Cancelled` if it is not known (any more); what the fragment or the disk report.
    pub async fn next_scan(&self, id: ScanId) -> Result<ScanPart> {
        let run =
            self.0.state.borrow_mut().scans.get_mut(&id).and_then(Option::take).ok_or(Error::Cancelled)?;
        self.0.advance_scan(id, run).await
    }

    /// Forgets a scan that nobody reads any more; if it is at work, it ends at its next pause.
    pub fn close_scan(&self, id: ScanId) {
        self.0.state.borrow_mut().scans.remove(&id);
    }
}

impl<E: Env> Inner<E> {
    fn start_scan(&self, open: &ScanOpen) -> Result<ScanRun<E>> {
        let mut state = self.state.borrow_mut();
        let (mut sources, mut bytes, mut schema) = (Vec::new(), 0, None);
        for (id, spans) in &open.ranges {
            let range = state.range(*id)?;
            let spans: Rc<[KeySpan]> = spans.iter().filter_map(|span| range.span.intersect(span)).collect();
            if !spans.is_empty() {
                let segments = range.segments.iter().map(|segment| Store::Segment(segment.clone()));
                let memtables = range.memtables.iter().map(|slot| Store::Memtable(slot.table.clone()));
                sources.extend(segments.chain(memtables).map(|store| Source { store, spans: spans.clone() }));
            }
            bytes += range.segment_bytes();
            schema = Some(range.schema.clone());
        }
        let schema = schema.ok_or(Error::RangeMoved)?;
        let columns = open.fragment.columns();
        let rows = FilteredRows::new(&schema, columns, open.fragment.filters());
        let mut blocks = BlockScan::new(&schema, columns, &rows.filters, &open.view);
        blocks.set_rows_max(FIRST_ROWS);
        blocks.set_encoded(open.fragment.reads_coefficients(), &open.fragment.reads_codes());
        Ok(ScanRun {
            sources,
            source: 0,
            span: 0,
            at: At::Start,
            view: open.view,
            blocks: Box::new(blocks),
            rows_max: FIRST_ROWS,
            rows,
            ahead: Ahead::new(bytes <= self.cache.bytes_max() as u64),
            run: open.fragment.start(),
            counts: ScanCounts::default(),
            told: ScanCounts::default(),
            blocks_all: 0,
            blocks_within: 0,
        })
    }

    async fn advance_scan(self: &Rc<Self>, id: ScanId, mut run: ScanRun<E>) -> Result<ScanPart> {
        let part = self.next_part(id, &mut run).await;
        let mut state = self.state.borrow_mut();
        match &part {
            Ok(part) if !part.done => {
                let slot = state.scans.get_mut(&id).ok_or(Error::Cancelled)?;
                *slot = Some(run);
            }
            _ => drop(state.scans.remove(&id)),
        }
        part
    }

    async fn next_part(self: &Rc<Self>, id: ScanId, run: &mut ScanRun<E>) -> Result<ScanPart> {
        let mut batches = Vec::new();
        let (mut bytes, mut counted) = (0, 0);
        let mut busy_from = self.env.monotonic_ns();
        let mut batch_from = busy_from;
        let mut slice_end = batch_from + SLICE_NS;
        loop {
            let flow = match run.step(self).await? {
                Step::Batch(batch) => {
                    run.counts.rows += batch.num_rows() as u64;
                    let flow = run.run.push(batch, &mut batches)?;
                    let now = self.env.monotonic_ns();
                    run.adapt(now - batch_from);
                    batch_from = now;
                    flow
                }
                Step::Nothing => Flow::More,
                Step::End => Flow::Done,
            };
            if flow == Flow::Done {
                run.run.finish(&mut batches)?;
            }
            bytes += batches[counted..].iter().map(batch_bytes).sum::<usize>();
            counted = batches.len();
            if flow == Flow::Done || bytes >= PART_BYTES {
                run.counts.moved_bytes += bytes as u64;
                run.counts.busy_ns += self.env.monotonic_ns() - busy_from;
                return Ok(ScanPart { batches, done: flow == Flow::Done, counts: run.untold() });
            }
            let now = self.env.monotonic_ns();
            if now >= slice_end {
                run.counts.busy_ns += now - busy_from;
                self.env.give_way().await;
                if !self.state.borrow().scans.contains_key(&id) {
                    return Err(Error::Cancelled);
                }
                busy_from = self.env.monotonic_ns();
                batch_from = busy_from;
                slice_end = busy_from + SLICE_NS;
            }
        }
    }
}

impl<E: Env> ScanRun<E> {
    /// Chooses the size of the next batch by how long the last one took.
    fn adapt(&mut self, took_ns: u64) {
        let rows = match took_ns {
            took if took > BATCH_NS => (self.rows_max / 2).max(BLOCK_ROWS),
            took if took < BATCH_NS / 3 => (self.rows_max * 2).min(BATCH_ROWS),
            _ => return,
        };
        self.rows_max = rows;
        self.blocks.set_rows_max(rows);
    }

    /// What was done since this was asked last.
    fn untold(&mut self) -> ScanCounts {
        let blocks = self.blocks.counts();
        self.counts.blocks_outside = self.blocks_all.saturating_sub(self.blocks_within);
        self.counts.blocks_read = blocks.read;
        self.counts.blocks_pruned = blocks.pruned;
        self.counts.blocks_counted = blocks.counted;
        self.counts.disk_bytes = self.ahead.disk_bytes();
        let untold = self.counts.since(&self.told);
        self.told = self.counts;
        untold
    }

    /// Goes on until there is a batch or it is time to look at the clock.
    async fn step(&mut self, inner: &Rc<Inner<E>>) -> Result<Step> {
        let Some(source) = self.sources.get(self.source) else {
            let rest = self.blocks.take();
            return Ok(rest.map_err(|_| corrupt_rows())?.map_or(Step::End, Step::Batch));
        };
        let span_count = source.spans.len();
        let (step, next) = match &source.store {
            Store::Memtable(table) => {
                let from = match self.at {
                    At::Memtable(position) => position,
                    _ => ScanPosition::START,
                };
                let columns = &self.rows.columns;
                let (batch, next) =
                    table.borrow().scan(&source.spans[self.span], columns, &self.view, from, self.rows_max);
                let batch = match batch {
                    Some(batch) if !self.rows.filters.is_empty() => self.rows.of(&batch),
                    other => other,
                };
                (batch.map_or(Step::Nothing, Step::Batch), next.map(At::Memtable))
            }
            Store::Segment(segment) => {
                if self.blocks.is_full() {
                    let batch = self.blocks.take().map_err(|_| corrupt_rows())?;
                    return Ok(batch.map_or(Step::Nothing, Step::Batch));
                }
                let (segment, spans) = (segment.clone(), source.spans.clone());
                (Step::Nothing, self.scan_blocks(inner, &segment, &spans[self.span]).await?)
            }
        };
        match next {
            Some(at) => self.at = at,
            None => {
                self.at = At::Start;
                self.span += 1;
                if self.span == span_count {
                    self.span = 0;
                    self.source += 1;
                }
            }
        }
        Ok(step)
    }

    /// Some blocks of a segment, as far as the batch has room; answers where to go on.
    async fn scan_blocks(
        &mut self,
        inner: &Rc<Inner<E>>,
        segment: &Rc<Segment<E>>,
        span: &KeySpan,
    ) -> Result<Option<At>> {
        let blocks = segment.blocks_in(span);
        let first = match self.at {
            At::Block(block) => block,
            _ => {
                self.blocks_within += blocks.len() as u64;
                if self.span == 0 {
                    self.blocks_all += segment.block_count() as u64;
                }
                blocks.start
            }
        };
        let end = blocks.end.min(first + STEP_BLOCKS);
        for number in first..end {
            if self.blocks.is_full() {
                return Ok(Some(At::Block(number)));
            }
            // The keys of all blocks but the first and the last lie in the span.
            let inside = (number > blocks.start || span.start.is_empty())
                && (number + 1 < blocks.end || span.end.is_none());
            match segment.plan_block(number, inside, &self.blocks) {
                BlockPlan::Skip => segment.skip_block(&mut self.blocks),
                BlockPlan::Count => segment.count_block(number, &mut self.blocks),
                BlockPlan::Read => {
                    let scan = &mut self.blocks;
                    let mut block =
                        self.ahead.block(inner, segment, number..blocks.end, inside, scan).await?;
                    if segment.filter_block(number, &block, span, inside, scan) {
                        let groups = segment.groups_to_gather(scan);
                        self.ahead.complete(inner, segment, number, groups, &mut block).await?;
                        segment.gather_block(&block, scan);
                    }
                    self.counts.block_bytes += segment.bytes_of(number, block.present());
                }
            }
        }
        Ok((end < blocks.end).then_some(At::Block(end)))
    }
}

/// Blocks have right checksums but hold values that are not of their types.
fn corrupt_rows() -> Error {
    Error::Corrupt {
        place: "a block of a segment".into(),
        detail: "a column with values not of its type".into(),
    }
}
