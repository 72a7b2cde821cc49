//! Window functions, over rows that come sorted by partition and order.
//!
//! Rows are kept until their partition is whole; then, for several small partitions at once, each function gives a
//! column beside those of the input. The rows of a large partition are collected in pages, in memory or on disk
//! (`pages.rs`), and the functions computed for one piece of them after another (`large.rs`).

mod aggregate;
mod frame;
mod large;
mod pages;
mod place;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::SchemaRef;
use omen_core::fragment::{BATCH_ROWS, Flow, batch_bytes};
use omen_core::types::PgType;

use self::aggregate::Input;
use self::frame::{Rows, seen};
use self::large::LargeRun;
use self::pages::{PAGE_ROWS, Pages};
use self::place::{InPartition, Shifted};
use super::local::LocalStage;
use super::rowkey::{KeyColumn, RowKeys};
use super::spill::{Doing, Work};
use super::{Result, batch_of, push_in_pieces, schema_of, take};
use crate::expr::EvalContext;
use crate::expr::aggregate::AggregateCall;
use crate::logical::{SortKey, WindowCall, WindowFunction};

/// What a window needs to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowStage {
    /// Columns that the rows of a partition have in common.
    pub(crate) partition: Vec<usize>,
    /// The order inside a partition. The input has it.
    pub(crate) order: Vec<SortKey>,
    /// The functions.
    pub(crate) calls: Vec<WindowCall>,
}

/// What does not change while a window runs.
struct Window {
    stage: WindowStage,
    input: Vec<PgType>,
    schema: SchemaRef,
    context: EvalContext,
    /// Most memory of what one value is made of.
    memory_bytes: usize,
}

impl Window {
    fn partition_keys(&self, batch: &RecordBatch) -> RowKeys {
        self.keys(self.stage.partition.iter().copied(), batch)
    }

    fn order_keys(&self, batch: &RecordBatch) -> RowKeys {
        self.keys(self.stage.order.iter().map(|key| key.column), batch)
    }

    /// What is equal exactly for rows that are equal in these columns.
    fn keys(&self, columns: impl Iterator<Item = usize>, batch: &RecordBatch) -> RowKeys {
        let column = |column: usize| KeyColumn {
            values: batch.column(column),
            pg_type: self.input[column],
            descending: false,
            nulls_first: false,
        };
        RowKeys::encode(&columns.map(column).collect::<Vec<_>>(), batch.num_rows())
    }

    /// The results of a function over whole partitions.
    fn column(&self, call: &WindowCall, batch: &RecordBatch, rows: &Rows) -> Result<ArrayRef> {
        let args = call.args.iter().map(|arg| arg.eval(batch, &self.context));
        let args: Vec<ArrayRef> = args.collect::<Result<_>>()?;
        if let Some(column) = place::by_place(call.function, places(rows)) {
            return Ok(column);
        }
        match call.function {
            WindowFunction::Ntile => return place::ntile(&args[0], rows.each_partition()),
            WindowFunction::Lag => return Ok(shifted(&args, rows, -1, call.pg_type)),
            WindowFunction::Lead => return Ok(shifted(&args, rows, 1, call.pg_type)),
            _ => {}
        }
        let seen = seen(&call.frame, rows, batch, &self.stage.order, &self.context)?;
        if let WindowFunction::Aggregate(name) = call.function {
            let filter = call.filter.as_ref();
            let filter = filter.map(|filter| filter.eval_predicate(batch, &self.context)).transpose()?;
            let call = AggregateCall::plain(name, call.args.clone(), call.pg_type);
            return Input { call: &call, args, filter, rows: rows.count }.over(&seen);
        }
        let picked = seen.iter().enumerate();
        let picked = picked.map(|(row, seen)| place::picked(call.function, &args, row, seen));
        let picked: Vec<Option<usize>> = picked.collect::<Result<_>>()?;
        let indices: UInt32Array = picked.into_iter().map(|row| row.map(|row| row as u32)).collect();
        Ok(take(&args[0], &indices))
    }
}

/// The places of all rows in their partitions.
fn places(rows: &Rows) -> impl Iterator<Item = InPartition> + '_ {
    rows.each_partition().flat_map(move |partition| {
        let (first, count) = (partition.start, partition.len());
        partition.map(move |row| InPartition {
            row: row - first,
            group: rows.group_of[row] - rows.group_of[first],
            peers: rows.peers(row).start - first..rows.peers(row).end - first,
            count,
        })
    })
}

/// The value some rows before or behind.
fn shifted(args: &[ArrayRef], rows: &Rows, direction: i64, pg_type: PgType) -> ArrayRef {
    let nulls = new_null_array(&pg_type.arrow(), 1);
    let of = |partition: Range<usize>| {
        partition.clone().map(move |row| match place::shifted(args, row, row, &partition, direction) {
            Shifted::Row(target) => (0, target),
            Shifted::Null => (1, 0),
            Shifted::Default => (2, row),
        })
    };
    let places: Vec<(usize, usize)> = rows.each_partition().flat_map(of).collect();
    let arrays = [Some(&args[0]), Some(&nulls), args.get(2)];
    let arrays: Vec<&dyn Array> = arrays.into_iter().flatten().map(AsRef::as_ref).collect();
    arrow_select::interleave::interleave(&arrays, &places).expect("arrays of one type")
}

/// A running window.
pub(super) struct WindowRun {
    window: Rc<Window>,
    /// Rows of partitions that are small so far.
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    /// How many of the kept rows are in whole partitions.
    whole: usize,
    last_partition: Vec<u8>,
    size_bytes: usize,
    /// A large partition that is being collected.
    large: Option<Collected>,
    /// A large partition whose results are being given, and rows behind it.
    giving: Option<LargeRun>,
    behind: Option<RecordBatch>,
    /// Results that are to be given first.
    ready: VecDeque<RecordBatch>,
}

/// The rows of a large partition.
struct Collected {
    pages: Pages,
    /// The last row's key.
    order: Vec<u8>,
}

impl WindowRun {
    pub(super) fn new(
        stage: &WindowStage,
        input: &[PgType],
        output: &[PgType],
        context: EvalContext,
        memory_bytes: usize,
    ) -> WindowRun {
        let (stage, input, schema) = (stage.clone(), input.to_vec(), schema_of(output));
        WindowRun {
            window: Rc::new(Window { stage, input, schema, context, memory_bytes }),
            kept: Vec::new(),
            kept_rows: 0,
            whole: 0,
            last_partition: Vec::new(),
            size_bytes: 0,
            large: None,
            giving: None,
            behind: None,
            ready: VecDeque::new(),
        }
    }

    /// Takes rows, as many as can be taken before results have to be given.
    async fn take(&mut self, batch: RecordBatch, work: &Work) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let piece = batch.slice(start, PAGE_ROWS.min(batch.num_rows() - start));
            start += match self.large {
                Some(_) => self.take_large(&piece).await?,
                None => self.take_small(piece, work).await?,
            };
            if self.giving.is_some() {
                self.behind = Some(batch.slice(start, batch.num_rows() - start));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes rows of the large partition; answers how many.
    async fn take_large(&mut self, piece: &RecordBatch) -> Result<usize> {
        let Some(mut large) = self.large.take() else { return Ok(0) };
        let keys = self.window.partition_keys(piece);
        let same = (0..piece.num_rows()).take_while(|row| keys.row(*row) == self.last_partition).count();
        large.push(&piece.slice(0, same), &self.window).await?;
        if same == piece.num_rows() {
            self.large = Some(large);
        } else {
            self.giving = Some(LargeRun::start(self.window.clone(), large.pages).await?);
        }
        Ok(same)
    }

    /// Takes rows, whose partitions may turn out to be large; answers how many.
    async fn take_small(&mut self, piece: RecordBatch, work: &Work) -> Result<usize> {
        let count = piece.num_rows();
        let keys = self.window.partition_keys(&piece);
        for row in 0..count {
            let before = if row == 0 { self.last_partition.as_slice() } else { keys.row(row - 1) };
            if keys.row(row) != before {
                self.whole = self.kept_rows + row;
            }
        }
        self.last_partition.clear();
        self.last_partition.extend_from_slice(keys.row(count - 1));
        self.size_bytes += batch_bytes(&piece) + 16 * count;
        self.kept_rows += count;
        self.kept.push(piece);
        // Results and keys take about as much again.
        let is_full = |run: &Self| 2 * run.size_bytes > work.memory_bytes();
        if self.whole >= BATCH_ROWS || is_full(self) {
            self.give(self.whole)?;
        }
        if self.kept_rows - self.whole > PAGE_ROWS || is_full(self) {
            self.give(self.whole)?;
            let pages = Pages::new(&self.window.input, self.window.stage.calls.len(), work);
            let mut large = Collected { pages, order: Vec::new() };
            for batch in std::mem::take(&mut self.kept) {
                large.push(&batch, &self.window).await?;
            }
            (self.kept_rows, self.size_bytes) = (0, 0);
            self.large = Some(large);
        }
        Ok(count)
    }

    /// Computes the functions of the first rows that are kept, which are whole partitions.
    fn give(&mut self, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let window = &self.window;
        let kept = std::mem::take(&mut self.kept);
        let all = arrow_select::concat::concat_batches(&schema_of(&window.input), &kept)
            .expect("batches of one schema, below 2 GiB as work_mem bounds them");
        drop(kept);
        let batch = all.slice(0, count);
        let rest = all.slice(count, all.num_rows() - count);
        let rows = Rows::new(&window.partition_keys(&batch), &window.order_keys(&batch), count);
        let mut columns = batch.columns().to_vec();
        for call in &window.stage.calls {
            columns.push(window.column(call, &batch, &rows)?);
        }
        let mut out = Vec::new();
        push_in_pieces(batch_of(&window.schema, columns, count), &mut out);
        self.ready.extend(out);
        self.size_bytes = batch_bytes(&rest) + 16 * rest.num_rows();
        self.kept_rows = rest.num_rows();
        self.whole = 0;
        self.kept = vec![rest];
        Ok(())
    }

    /// The next results that need no more rows.
    async fn next(&mut self, work: &Work) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(giving) = &mut self.giving else { return Ok(None) };
            if let Some(batch) = giving.next(work).await? {
                return Ok(Some(batch));
            }
            self.giving = None;
            if let Some(batch) = self.behind.take() {
                self.last_partition.clear();
                self.take(batch, work).await?;
            }
        }
    }
}

impl Collected {
    async fn push(&mut self, batch: &RecordBatch, window: &Window) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys = window.order_keys(batch);
        let is_first = self.pages.groups() == 0;
        let begins = (0..batch.num_rows()).map(|row| match row {
            0 => is_first || keys.row(0) != self.order,
            _ => keys.row(row) != keys.row(row - 1),
        });
        let begins: Vec<bool> = begins.collect();
        self.order.clear();
        self.order.extend_from_slice(keys.row(batch.num_rows() - 1));
        self.pages.push(batch, &begins).await
    }
}

impl LocalStage for WindowRun {
    fn push<'a>(
        &'a mut self,
        batch: RecordBatch,
        work: &'a Work,
        _out: &'a mut Vec<RecordBatch>,
    ) -> Doing<'a, Flow> {
        Box::pin(async move {
            self.take(batch, work).await?;
            Ok(Flow::More)
        })
    }

    fn has_more(&self) -> bool {
        !self.ready.is_empty() || self.giving.is_some()
    }

    fn more<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(self.next(work))
    }

    fn rest<'a>(&'a mut self, work: &'a Work) -> Doing<'a, Option<RecordBatch>> {
        Box::pin(async move {
            loop {
                if let Some(batch) = self.next(work).await? {
                    return Ok(Some(batch));
                }
                match self.large.take() {
                    Some(large) => {
                        self.giving = Some(LargeRun::start(self.window.clone(), large.pages).await?);
                    }
                    None if self.kept_rows > 0 => self.give(self.kept_rows)?,
                    None => return Ok(None),
                }
            }
        })
    }
}
