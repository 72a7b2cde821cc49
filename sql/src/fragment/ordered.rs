//! Rows of an aggregate that come to it in an order: kept until all are there, then sorted within their groups.

use arrow_array::{ArrayRef, BooleanArray, UInt32Array};
use omen_core::fragment::BATCH_ROWS;
use omen_core::types::PgType;

use super::rowkey::{KeyColumn, RowKeys};
use super::{Result, concat, take};
use crate::expr::Expr;
use crate::expr::aggregate::{Accumulator, AggregateCall, Groups};

/// Rows that are waiting.
pub(super) struct OrderedRows {
    call: AggregateCall,
    types: Vec<PgType>,
    /// The group of each row.
    groups: Vec<u32>,
    /// Batches of the arguments, the order's behind the function's.
    chunks: Vec<Vec<ArrayRef>>,
    /// Where each row is put: its key.
    keys: Vec<RowKeys>,
    size_bytes: usize,
}

impl OrderedRows {
    pub(super) fn new(call: &AggregateCall) -> OrderedRows {
        OrderedRows {
            types: call.args.iter().map(Expr::pg_type).collect(),
            call: call.clone(),
            groups: Vec::new(),
            chunks: Vec::new(),
            keys: Vec::new(),
            size_bytes: 0,
        }
    }

    /// Takes rows.
    pub(super) fn push(
        &mut self,
        groups: Groups<'_>,
        args: Vec<ArrayRef>,
        rows: usize,
        filter: Option<&BooleanArray>,
    ) {
        let kept: Vec<u32> =
            (0..rows as u32).filter(|row| filter.is_none_or(|filter| filter.value(*row as usize))).collect();
        if kept.is_empty() {
            return;
        }
        let group = |row: &u32| match groups {
            Groups::One(_) => 0,
            Groups::Each(ids) => ids[*row as usize],
        };
        self.groups.extend(kept.iter().map(group));
        let indices = UInt32Array::from(kept);
        let args: Vec<ArrayRef> = args.iter().map(|arg| take(arg, &indices)).collect();
        let own = self.call.arg_count();
        let mut columns: Vec<KeyColumn<'_>> = Vec::with_capacity(args.len());
        for (place, direction) in self.call.order.iter().enumerate() {
            columns.push(KeyColumn {
                values: &args[own + place],
                pg_type: self.types[own + place],
                descending: direction.descending,
                nulls_first: direction.nulls_first,
            });
        }
        if self.call.distinct {
            let plain = |(values, pg_type): (_, &PgType)| KeyColumn {
                values,
                pg_type: *pg_type,
                descending: false,
                nulls_first: false,
            };
            columns.extend(args[..own].iter().zip(&self.types).map(plain));
        }
        let keys = RowKeys::encode(&columns, indices.len());
        self.size_bytes += keys.size_bytes() + 16 * indices.len();
        self.size_bytes += args.iter().map(|arg| arg.get_array_memory_size()).sum::<usize>();
        self.keys.push(keys);
        self.chunks.push(args);
    }

    pub(super) fn size_bytes(&self) -> usize {
        // The sorted copy comes beside it.
        2 * self.size_bytes
    }

    /// Gives the rows to the aggregate, in order.
    pub(super) fn feed(self, accumulator: &mut dyn Accumulator) -> Result<()> {
        let mut rows: Vec<(u32, u32, u32, u32)> = Vec::with_capacity(self.groups.len());
        for (chunk, keys) in self.keys.iter().enumerate() {
            for row in 0..keys.len() {
                let place = rows.len();
                rows.push((self.groups[place], chunk as u32, row as u32, place as u32));
            }
        }
        let key = |row: &(u32, u32, u32, u32)| self.keys[row.1 as usize].row(row.2 as usize);
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a).cmp(key(b))).then(a.3.cmp(&b.3)));
        if self.call.distinct {
            rows.dedup_by(|a, b| a.0 == b.0 && key(a) == key(b));
        }
        let column = |place: usize| {
            let chunks: Vec<ArrayRef> = self.chunks.iter().map(|chunk| chunk[place].clone()).collect();
            concat(&chunks, self.types[place])
        };
        let columns: Vec<ArrayRef> = (0..self.call.arg_count()).map(column).collect();
        for piece in rows.chunks(BATCH_ROWS) {
            let indices: UInt32Array = piece.iter().map(|row| Some(row.3)).collect();
            let groups: Vec<u32> = piece.iter().map(|row| row.0).collect();
            let args: Vec<ArrayRef> = columns.iter().map(|column| take(column, &indices)).collect();
            accumulator.update(Groups::Each(&groups), &args, None)?;
        }
        Ok(())
    }
}
