//! Window functions of one large partition, computed for one piece of it after another.
//!
//! A piece lies in one page. Other pages are looked at where frames begin and end; what lies between, aggregates whose
//! parts can be added in any order have as the states of whole pages, which are computed before. Others, such as sums of
//! floats, follow frames that only grow; a frame that begins elsewhere than the one before is added up anew, as in
//! PostgreSQL. So memory is needed for some pages, for a state of each page, and for the results of a piece.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, UInt32Array, new_null_array};
use omen_core::fragment::batch_bytes;

use super::Window;
use super::aggregate::{Input, Picked, Tree, grows};
use super::frame::{Border, Edge, Edges, Seen, Spot, Whole, base_keys, excluding, first_beyond, lies_before};
use super::pages::{Page, Pages};
use super::place::{self, InPartition, Shifted};
use crate::expr::aggregate::{Accumulator, AggregateCall};
use crate::fragment::rowkey::RowKeys;
use crate::fragment::spill::Work;
use crate::fragment::{Result, batch_of, concat, out_of_memory, take};
use crate::logical::{FrameBound, WindowCall, WindowFunction};

/// Rows of the first piece; the next are larger as far as their results are small.
const FIRST_ROWS: usize = 64;

/// Most rows of a piece.
const PIECE_ROWS: usize = 512;

/// So many rows are added up in one step.
const STEP_ROWS: usize = 4 << 10;

/// Frames that lie in so few pages may be aggregated together.
const NEAR_PAGES: usize = 3;

/// A large partition whose results are being given.
pub(super) struct LargeRun {
    window: Rc<Window>,
    pages: Pages,
    calls: Vec<CallRun>,
    next_row: usize,
    piece_rows: usize,
}

/// What a function needs to know of the partition.
struct CallRun {
    /// The aggregate, if it is one.
    aggregate: Option<AggregateCall>,
    /// The states of whole pages.
    states: Option<Tree>,
    /// The value of each page's first row that bounds are compared with, and the rows where it is not NULL.
    firsts: Vec<Box<[u8]>>,
    valid: Range<usize>,
    /// Into how many parts `ntile` cuts.
    parts: Option<usize>,
    /// The last frame that was added up, and its sum.
    running: Option<(Seen, Box<dyn Accumulator>)>,
}

/// A piece of the partition.
struct Piece {
    /// The rows, counted in the partition.
    rows: Range<usize>,
    /// The columns of the input.
    batch: RecordBatch,
    spots: Vec<Spot>,
}

impl LargeRun {
    /// Looks at all rows once, if a function needs that.
    pub(super) async fn start(window: Rc<Window>, mut pages: Pages) -> Result<LargeRun> {
        pages.end_page().await?;
        let calls = window.stage.calls.iter().map(CallRun::new).collect();
        let mut run = LargeRun { window, pages, calls, next_row: 0, piece_rows: FIRST_ROWS };
        for call in 0..run.calls.len() {
            run.prepare(call).await?;
        }
        Ok(run)
    }

    fn call(&self, call: usize) -> &WindowCall {
        &self.window.stage.calls[call]
    }

    /// Looks at all pages for what a function has to know before it gives results.
    async fn prepare(&mut self, call: usize) -> Result<()> {
        let window = self.window.clone();
        let definition = &window.stage.calls[call];
        if definition.function == WindowFunction::Ntile {
            let first = self.pages.page(0).await?;
            let counts = definition.args[0].eval(&first.batch, &window.context)?;
            self.calls[call].parts = place::parts(&counts, 0)?;
        }
        let has_values = |bound: &FrameBound| matches!(bound, FrameBound::Offset { values: Some(_), .. });
        let has_values = [&definition.frame.start, &definition.frame.end].into_iter().any(has_values);
        let aggregate = self.calls[call].aggregate.clone().filter(Input::is_exact);
        if aggregate.is_none() && !has_values {
            return Ok(());
        }
        let mut states: Vec<Vec<ArrayRef>> = Vec::new();
        for number in 0..self.pages.len() {
            let page = self.pages.page(number).await?;
            if aggregate.is_some() {
                states.push(self.tree(call, &page)?.root().to_vec());
            }
            if has_values {
                let (keys, nulls) = self.keys(call, &page)?;
                let run = &mut self.calls[call];
                run.firsts.push(keys.row(0).into());
                for row in page.rows().filter(|row| !nulls[row - page.first_row]) {
                    run.valid = if run.valid.is_empty() { row..row + 1 } else { run.valid.start..row + 1 };
                }
            }
        }
        let Some(aggregate) = aggregate else { return Ok(()) };
        let columns = states.first().map_or(0, Vec::len);
        let column = |column: usize| -> ArrayRef {
            let parts: Vec<&dyn Array> = states.iter().map(|state| state[column].as_ref()).collect();
            arrow_select::concat::concat(&parts).expect("states of one aggregate")
        };
        let leaves = (0..columns).map(column).collect();
        self.calls[call].states = Some(Tree::over(&aggregate, leaves, self.pages.len())?);
        Ok(())
    }

    /// The results of the next rows.
    ///
    /// # Errors
    /// Those of expressions and files; 53200 if a value needs more than the memory.
    pub(super) async fn next(&mut self, work: &Work) -> Result<Option<RecordBatch>> {
        if self.next_row == self.pages.rows() {
            return Ok(None);
        }
        let piece = self.piece().await?;
        let mut columns = piece.batch.columns().to_vec();
        for call in 0..self.calls.len() {
            columns.push(self.column(call, &piece, work).await?);
            work.give_way().await?;
        }
        self.next_row = piece.rows.end;
        let rows = piece.rows.len();
        let made = batch_of(&self.window.schema, columns, rows);
        let width = batch_bytes(&made).div_ceil(rows).max(1);
        self.piece_rows = (2 * self.piece_rows).min(4 * self.pages.page_bytes() / width).clamp(1, PIECE_ROWS);
        Ok(Some(made))
    }

    async fn piece(&mut self) -> Result<Piece> {
        let page = self.pages.page(self.pages.page_of(self.next_row)).await?;
        let rows = self.next_row..page.rows().end.min(self.next_row + self.piece_rows);
        let columns: Vec<usize> = (0..self.window.input.len()).collect();
        let batch = page.batch.project(&columns).expect("it has these columns");
        let batch = batch.slice(rows.start - page.first_row, rows.len());
        let mut spots: Vec<Spot> = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            let group = usize::try_from(page.groups()[row - page.first_row]).expect("counted from 0");
            let peers = match spots.last().filter(|last| last.group == group) {
                Some(last) => last.peers.clone(),
                None => self.pages.group_start(group).await?..self.pages.group_start(group + 1).await?,
            };
            spots.push(Spot { row, group, peers });
        }
        Ok(Piece { rows, batch, spots })
    }

    /// The results of a function.
    async fn column(&mut self, call: usize, piece: &Piece, work: &Work) -> Result<ArrayRef> {
        let window = self.window.clone();
        let definition = &window.stage.calls[call];
        let count = self.pages.rows();
        let spots = piece.spots.iter();
        let places = spots.map(|spot| InPartition {
            row: spot.row,
            group: spot.group,
            peers: spot.peers.clone(),
            count,
        });
        if let Some(column) = place::by_place(definition.function, places) {
            return Ok(column);
        }
        match definition.function {
            WindowFunction::Ntile => {
                let parts = self.calls[call].parts;
                let part = |row| parts.and_then(|parts| place::part(row, count, parts));
                return Ok(Arc::new(piece.rows.clone().map(part).collect::<Int32Array>()));
            }
            WindowFunction::Lag => return self.shifted(call, piece, -1).await,
            WindowFunction::Lead => return self.shifted(call, piece, 1).await,
            _ => {}
        }
        let seen = self.seen(call, piece).await?;
        if self.calls[call].aggregate.is_some() {
            return self.aggregated(call, &seen, work).await;
        }
        let args = self.args_of(call, piece)?;
        let picked = seen.iter().enumerate();
        let picked = picked.map(|(row, seen)| {
            let picked = place::picked(definition.function, &args, row, seen)?;
            Ok(picked.map_or(Shifted::Null, Shifted::Row))
        });
        let picked: Vec<Shifted> = picked.collect::<Result<_>>()?;
        self.gather(call, picked, None).await
    }

    /// The arguments of a function for the rows of a piece.
    fn args_of(&self, call: usize, piece: &Piece) -> Result<Vec<ArrayRef>> {
        let args = self.call(call).args.iter();
        args.map(|arg| arg.eval(&piece.batch, &self.window.context)).collect()
    }

    async fn shifted(&mut self, call: usize, piece: &Piece, direction: i64) -> Result<ArrayRef> {
        let args = self.args_of(call, piece)?;
        let partition = 0..self.pages.rows();
        let rows = piece.rows.clone().enumerate();
        let picked = rows.map(|(at, row)| place::shifted(&args, at, row, &partition, direction)).collect();
        self.gather(call, picked, args.get(2)).await
    }

    /// The values that the first argument of a function has in some rows.
    async fn gather(
        &mut self,
        call: usize,
        picked: Vec<Shifted>,
        default: Option<&ArrayRef>,
    ) -> Result<ArrayRef> {
        let mut by_page: BTreeMap<usize, Vec<(u32, usize)>> = BTreeMap::new();
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(picked.len());
        for (at, picked) in picked.into_iter().enumerate() {
            places.push(match picked {
                Shifted::Null => (0, 0),
                Shifted::Default => (1, at),
                Shifted::Row(row) => {
                    let page = self.pages.page_of(row);
                    let row = row - self.pages.rows_of(page).start;
                    by_page.entry(page).or_default().push((row as u32, at));
                    (0, 0)
                }
            });
        }
        let nulls = new_null_array(&self.call(call).pg_type.arrow(), 1);
        let mut sources = vec![nulls.clone(), default.cloned().unwrap_or(nulls)];
        for (page, wanted) in by_page {
            let page = self.pages.page(page).await?;
            for (place, (_, at)) in wanted.iter().enumerate() {
                places[*at] = (sources.len(), place);
            }
            let rows: UInt32Array = wanted.iter().map(|(row, _)| Some(*row)).collect();
            sources.push(take(&self.args(call, &page)?.0[0], &rows));
        }
        let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
        Ok(arrow_select::interleave::interleave(&sources, &places).expect("arrays of one type"))
    }
}

/// Frames.
impl LargeRun {
    /// What the rows of a piece see.
    async fn seen(&mut self, call: usize, piece: &Piece) -> Result<Vec<Seen>> {
        let window = self.window.clone();
        let frame = &window.stage.calls[call].frame;
        let edges = Edges::of(frame, &piece.batch, &window.stage.order, &window.context)?;
        let whole = Whole { rows: 0..self.pages.rows(), groups: 0..self.pages.groups() };
        let mut all = Vec::with_capacity(piece.spots.len());
        for (at, spot) in piece.spots.iter().enumerate() {
            let is_null = edges.nulls.get(at).is_some_and(|null| *null);
            let mut found = [0; 2];
            for (found, (edge, is_start)) in found.iter_mut().zip([(&edges.start, true), (&edges.end, false)])
            {
                *found = match edge.border(is_start, frame.units, spot, &whole, is_null) {
                    Border::Row(row) => row,
                    Border::Group(group) => self.pages.group_start(group).await?,
                    Border::Value => self.first_beyond(call, edge, at, is_start).await?,
                };
            }
            all.push(excluding(found[0]..found[1].max(found[0]), frame.exclude, spot));
        }
        Ok(all)
    }

    /// As the function of this name in `frame.rs`, over all pages.
    async fn first_beyond(&mut self, call: usize, edge: &Edge, at: usize, is_start: bool) -> Result<usize> {
        let run = &self.calls[call];
        let valid = run.valid.clone();
        if valid.is_empty() {
            return Ok(valid.start);
        }
        // The last page that begins before the border has it; so, if none does, has the first one.
        let (first, last) = (self.pages.page_of(valid.start), self.pages.page_of(valid.end - 1));
        let later = &run.firsts[first + 1..=last];
        let page = first + later.partition_point(|key| lies_before(key, edge, at, is_start));
        let page = self.pages.page(page).await?;
        let rows = page.rows().start.max(valid.start)..page.rows().end.min(valid.end);
        let (keys, _) = self.keys(call, &page)?;
        let within = rows.start - page.first_row..rows.end - page.first_row;
        Ok(page.first_row + first_beyond(keys, within, edge, at, is_start))
    }
}

/// Aggregates.
impl LargeRun {
    async fn aggregated(&mut self, call: usize, seen: &[Seen], work: &Work) -> Result<ArrayRef> {
        let (mut frames, mut frame_of): (Vec<Seen>, Vec<u32>) = (Vec::new(), Vec::with_capacity(seen.len()));
        for one in seen {
            if frames.last() != Some(one) {
                frames.push(*one);
            }
            frame_of.push(frames.len() as u32 - 1);
        }
        let results = match self.near(call, &frames).await? {
            Some(results) => results,
            None if self.calls[call].states.is_some() => self.in_trees(call, &frames).await?,
            None => self.one_by_one(call, &frames, work).await?,
        };
        Ok(if frames.len() == seen.len() { results } else { take(&results, &UInt32Array::from(frame_of)) })
    }

    fn aggregate(&self, call: usize) -> &AggregateCall {
        self.calls[call].aggregate.as_ref().expect("asked for aggregates only")
    }

    /// Frames that have few rows and lie in few pages.
    async fn near(&mut self, call: usize, frames: &[Seen]) -> Result<Option<ArrayRef>> {
        let total: usize = frames.iter().map(Seen::len).sum();
        let parts = || frames.iter().flat_map(Seen::intervals);
        let low = parts().map(|part| part.start).min().unwrap_or(0);
        let high = parts().map(|part| part.end).max().unwrap_or(0);
        if low == high || total > Input::few_rows(high - low) {
            return Ok(None);
        }
        let (first, last) = (self.pages.page_of(low), self.pages.page_of(high - 1));
        if last - first >= NEAR_PAGES {
            return Ok(None);
        }
        let mut inputs: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.call(call).args.len()];
        let mut filters: Vec<ArrayRef> = Vec::new();
        for number in first..=last {
            let page = self.pages.page(number).await?;
            let (args, filter) = self.args(call, &page)?;
            inputs.iter_mut().zip(args).for_each(|(input, arg)| input.push(arg.clone()));
            filters.extend(filter.iter().map(|filter| Arc::new(filter.clone()) as ArrayRef));
        }
        let types = self.call(call).args.iter().map(crate::expr::Expr::pg_type);
        let args = inputs.iter().zip(types).map(|(parts, pg_type)| concat(parts, pg_type)).collect();
        let filter = (!filters.is_empty()).then(|| {
            let filter = concat(&filters, omen_core::types::PgType::Bool);
            BooleanArray::from(filter.to_data())
        });
        let (start, end) = (self.pages.rows_of(first).start, self.pages.rows_of(last).end);
        let near: Vec<Seen> = frames.iter().map(|frame| frame.from(start)).collect();
        let input = Input { call: self.aggregate(call), args, filter, rows: end - start };
        input.over(&near).map(Some)
    }

    /// Which rows of a page, counted in it, are among these; none if all are.
    fn part_of_page(&self, page: usize, rows: &Range<usize>) -> Option<Range<usize>> {
        let all = self.pages.rows_of(page);
        let inside = rows.start.max(all.start)..rows.end.min(all.end);
        (inside != all).then(|| inside.start - all.start..inside.end - all.start)
    }

    /// Frames put together from states of rows, of parts of pages and of pages.
    async fn in_trees(&mut self, call: usize, frames: &[Seen]) -> Result<ArrayRef> {
        let mut whole = Picked::default();
        let mut parts: BTreeMap<usize, Picked> = BTreeMap::new();
        for (id, frame) in frames.iter().enumerate() {
            for part in frame.intervals() {
                let (first, last) = (self.pages.page_of(part.start), self.pages.page_of(part.end - 1));
                let (mut low, mut high) = (first, last + 1);
                if let Some(leaves) = self.part_of_page(first, &part) {
                    parts.entry(first).or_default().add(id, leaves);
                    low += 1;
                }
                if last > first
                    && let Some(leaves) = self.part_of_page(last, &part)
                {
                    parts.entry(last).or_default().add(id, leaves);
                    high -= 1;
                }
                whole.add(id, low..high);
            }
        }
        let mut accumulator = self.aggregate(call).accumulator();
        accumulator.resize(frames.len());
        if let Some(states) = &self.calls[call].states {
            states.merge(whole, &mut *accumulator)?;
        }
        for (page, picked) in parts {
            let page = self.pages.page(page).await?;
            self.tree(call, &page)?.merge(picked, &mut *accumulator)?;
        }
        accumulator.finish()
    }

    /// Frames added up one after another, each from the one before if that has only grown.
    async fn one_by_one(&mut self, call: usize, frames: &[Seen], work: &Work) -> Result<ArrayRef> {
        let mut running = self.calls[call].running.take();
        let mut results: Vec<ArrayRef> = Vec::with_capacity(frames.len());
        let (mut step_rows, mut results_bytes) = (0, 0);
        for frame in frames {
            let (added, mut accumulator) = match running.take().filter(|(before, _)| grows(before, frame)) {
                Some((before, accumulator)) => (Seen::only(before.0[0].1..frame.0[0].1), accumulator),
                None => {
                    let mut accumulator = self.aggregate(call).accumulator();
                    accumulator.resize(1);
                    (*frame, accumulator)
                }
            };
            for part in added.intervals() {
                for number in self.pages.page_of(part.start)..=self.pages.page_of(part.end - 1) {
                    let page = self.pages.page(number).await?;
                    let rows = part.start.max(page.rows().start)..part.end.min(page.rows().end);
                    step_rows += rows.len();
                    let (args, filter) = self.args(call, &page)?;
                    let rows = rows.start - page.first_row..rows.end - page.first_row;
                    Input::add_rows(&mut *accumulator, args, filter.as_ref(), rows)?;
                    if step_rows >= STEP_ROWS {
                        step_rows = 0;
                        work.give_way().await?;
                    }
                }
            }
            let result = accumulator.finish()?;
            results_bytes += result.get_array_memory_size();
            if results_bytes.max(accumulator.size_bytes()) > self.window.memory_bytes {
                return Err(out_of_memory("a window function", self.window.memory_bytes));
            }
            results.push(result);
            running = Some((*frame, accumulator));
        }
        self.calls[call].running = running;
        Ok(concat(&results, self.call(call).pg_type))
    }
}

/// What functions make of pages, once for as long as a page is ready.
impl LargeRun {
    fn args<'p>(&self, call: usize, page: &'p Page) -> Result<&'p (Vec<ArrayRef>, Option<BooleanArray>)> {
        let made = &page.made[call].args;
        if made.get().is_none() {
            let (definition, context) = (self.call(call), &self.window.context);
            let args = definition.args.iter().map(|arg| arg.eval(&page.batch, context));
            let args: Vec<ArrayRef> = args.collect::<Result<_>>()?;
            let filter = definition.filter.as_ref();
            let filter = filter.map(|filter| filter.eval_predicate(&page.batch, context)).transpose()?;
            let _ = made.set((args, filter));
        }
        Ok(made.get().expect("it was made"))
    }

    fn tree<'p>(&self, call: usize, page: &'p Page) -> Result<&'p Tree> {
        let made = &page.made[call].tree;
        if made.get().is_none() {
            let (args, filter) = self.args(call, page)?;
            let rows = page.rows().len();
            let input =
                Input { call: self.aggregate(call), args: args.clone(), filter: filter.clone(), rows };
            let _ = made.set(input.tree()?);
        }
        Ok(made.get().expect("it was made"))
    }

    fn keys<'p>(&self, call: usize, page: &'p Page) -> Result<&'p (RowKeys, Vec<bool>)> {
        let made = &page.made[call].keys;
        if made.get().is_none() {
            let (order, context) = (&self.window.stage.order, &self.window.context);
            let _ = made.set(base_keys(&self.call(call).frame, &page.batch, order, context)?);
        }
        Ok(made.get().expect("it was made"))
    }
}

impl CallRun {
    fn new(call: &WindowCall) -> CallRun {
        let aggregate = match call.function {
            WindowFunction::Aggregate(name) => {
                Some(AggregateCall::plain(name, call.args.clone(), call.pg_type))
            }
            _ => None,
        };
        CallRun { aggregate, states: None, firsts: Vec::new(), valid: 0..0, parts: None, running: None }
    }
}
