//! Functions that answer rows, for each row of an input.
//!
//! Batches have at most [`BATCH_ROWS`] rows, whatever the functions answer; a call's rows may be spread over many.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take;
use omen_core::error::{SqlState, ValueError};
use omen_core::fragment::BATCH_ROWS;
use omen_core::types::{Datum, PgType};

use super::{Result, batch_of, schema_of};
use crate::execute::rows::array_of;
use crate::expr::sets::{SetArgs, SetCursor};
use crate::expr::{EvalContext, Expr, datum_at};
use crate::logical::{SetCall, added_types};

/// Bytes of added values after which a batch is given early, as far as they are known to be large.
const ADDED_BYTES: usize = 4 << 20;

/// Rows of some size that a cursor is asked for at once while values may be large.
const PIECE_ROWS: usize = 256;

/// A running call for one row of the input.
struct Running {
    cursor: Box<dyn SetCursor>,
    has_ended: bool,
}

/// Functions over batches: see `ProjectSet`.
pub(crate) struct SetRun {
    calls: Vec<SetCall>,
    ordinality: bool,
    keeps_input: bool,
    context: EvalContext,
    added: Vec<PgType>,
    schema: SchemaRef,
    /// The present batch with the arguments of each call.
    input: Option<(RecordBatch, Vec<Vec<ArrayRef>>)>,
    /// The present row of it.
    row: usize,
    /// The calls for the present row, once they are started.
    running: Vec<Option<Running>>,
    /// Rows given for the present row.
    given: i64,
    /// A call of a strict function for this row has a NULL argument, or there are rows to come: started or not.
    started: bool,
}

impl SetRun {
    /// A run over an input with columns of these types.
    pub(crate) fn new(
        input: &[PgType],
        calls: Vec<SetCall>,
        ordinality: bool,
        keeps_input: bool,
        context: EvalContext,
    ) -> SetRun {
        let added = added_types(&calls, ordinality);
        let types: Vec<PgType> = input.iter().chain(&added).copied().collect();
        SetRun {
            calls,
            ordinality,
            keeps_input,
            context,
            added,
            schema: schema_of(&types),
            input: None,
            row: 0,
            running: Vec::new(),
            given: 0,
            started: false,
        }
    }

    /// The next batch of the input, once the last one is done.
    ///
    /// # Errors
    /// Those of the arguments.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let mut args = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let arrays = call.args.iter().map(|arg| arg.eval(&batch, &self.context));
            args.push(arrays.collect::<Result<Vec<ArrayRef>>>()?);
        }
        self.input = Some((batch, args));
        self.row = 0;
        Ok(())
    }

    /// Some rows more, possibly none; `None` if the next batch of the input is wanted.
    ///
    /// # Errors
    /// Those of the functions.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some((batch, args)) = self.input.take() else { return Ok(None) };
        let mut rows: Vec<u32> = Vec::new();
        let mut columns: Vec<Vec<Datum>> = vec![Vec::new(); self.added.len()];
        let mut bytes = 0;
        while rows.len() < BATCH_ROWS && bytes < ADDED_BYTES && self.row < batch.num_rows() {
            if !self.started {
                self.start(&args)?;
            }
            let before = rows.len();
            let limit = PIECE_ROWS.min(BATCH_ROWS - before);
            let count = self.fill(limit, before, &mut columns)?;
            let row = u32::try_from(self.row).expect("rows of a batch");
            rows.resize(before + count, row);
            bytes += columns.iter().flat_map(|column| &column[before..]).map(datum_bytes).sum::<usize>();
            if count < limit {
                if self.keeps_input && self.given == 0 {
                    rows.push(row);
                    columns.iter_mut().for_each(|column| column.push(Datum::Null));
                }
                self.row += 1;
                self.started = false;
            }
        }
        let out = self.batch(&batch, rows, &columns)?;
        if self.row < batch.num_rows() {
            self.input = Some((batch, args));
        }
        Ok(Some(out))
    }

    /// Starts the calls for the present row.
    fn start(&mut self, args: &[Vec<ArrayRef>]) -> Result<()> {
        self.running.clear();
        self.given = 0;
        self.started = true;
        for (call, arrays) in self.calls.iter().zip(args) {
            let types: Vec<PgType> = call.args.iter().map(Expr::pg_type).collect();
            let values: Vec<Datum> = arrays
                .iter()
                .zip(&types)
                .map(|(array, pg_type)| datum_at(array, *pg_type, self.row))
                .collect();
            let set = call.function.set.ok_or_else(|| {
                ValueError::new(SqlState::INTERNAL_ERROR, "a function that answers no rows")
            })?;
            if call.function.strict && values.iter().any(Datum::is_null) {
                self.running.push(None);
                continue;
            }
            let set_args = SetArgs { values: &values, result: call.pg_type, context: &self.context };
            self.running.push(Some(Running { cursor: (set.start)(&set_args)?, has_ended: false }));
        }
        Ok(())
    }

    /// Appends at most `limit` rows for the present row behind `before` others; answers how many.
    fn fill(&mut self, limit: usize, before: usize, columns: &mut [Vec<Datum>]) -> Result<usize> {
        let mut first = 0;
        let mut most = 0;
        for (call, running) in self.calls.iter().zip(&mut self.running) {
            let width = call.columns().len();
            if let Some(running) = running.as_mut().filter(|running| !running.has_ended) {
                let count = running.cursor.next(limit, &mut columns[first..first + width])?;
                running.has_ended = count < limit;
                most = most.max(count);
            }
            first += width;
        }
        for column in &mut columns[..first] {
            column.resize(before + most, Datum::Null);
        }
        if self.ordinality {
            columns[first].extend((1..).take(most).map(|number| Datum::Int8(self.given + number)));
        }
        self.given += i64::try_from(most).expect("a piece of a batch");
        Ok(most)
    }

    fn batch(&self, input: &RecordBatch, rows: Vec<u32>, columns: &[Vec<Datum>]) -> Result<RecordBatch> {
        let count = rows.len();
        let rows = UInt32Array::from(rows);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(input.num_columns() + columns.len());
        for column in input.columns() {
            let taken = take(column, &rows, None);
            arrays.push(taken.map_err(|e| ValueError::new(SqlState::INTERNAL_ERROR, e.to_string()))?);
        }
        for (values, pg_type) in columns.iter().zip(&self.added) {
            arrays.push(array_of(*pg_type, values.iter()));
        }
        debug_assert!(arrays.iter().all(|array| array.len() == count));
        Ok(batch_of(&Arc::clone(&self.schema), arrays, count))
    }
}

/// Bytes beside those that every value takes.
fn datum_bytes(value: &Datum) -> usize {
    match value {
        Datum::Text(text) => text.len(),
        Datum::Bytea(bytes) => bytes.len(),
        _ => 0,
    }
}
