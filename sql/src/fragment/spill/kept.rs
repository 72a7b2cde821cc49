//! Rows that are kept to be read, any number of times, in the order in which they came: as many as fit into the memory
//! lie there, the others in a file.

use std::collections::VecDeque;
use std::fmt;

use arrow_array::RecordBatch;
use omen_core::fragment::batch_bytes;

use super::{Run, Spill, Work};
use crate::fragment::Result;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// The first rows.
    batches: Vec<RecordBatch>,
    size_bytes: usize,
    /// Those behind them.
    run: Option<Run>,
    /// The last ones, which are not written yet.
    last: Vec<RecordBatch>,
    last_bytes: usize,
}

impl Kept {
    /// Rows that lie in memory.
    pub(crate) fn of(batches: Vec<RecordBatch>) -> Kept {
        Kept { batches, ..Kept::default() }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of writing files.
    pub(crate) async fn push(&mut self, batch: RecordBatch, work: &Work) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let bytes = batch_bytes(&batch);
        if self.run.is_none() && self.size_bytes + bytes <= work.memory_bytes() {
            self.size_bytes += bytes;
            self.batches.push(batch);
            return Ok(());
        }
        let schema = batch.schema();
        self.last_bytes += bytes + 1;
        self.last.push(batch);
        let run = match &mut self.run {
            Some(run) => run,
            none => none.insert(Run::new(Spill::create(work, schema.clone()).await?)),
        };
        if self.last_bytes < work.piece_bytes() && !schema.fields().is_empty() {
            return Ok(());
        }
        // Rows without columns are few bytes, however many batches they are.
        self.last_bytes = 0;
        if schema.fields().is_empty() {
            for batch in self.last.drain(..) {
                run.push(&batch).await?;
            }
            return Ok(());
        }
        let piece = arrow_select::concat::concat_batches(&schema, &self.last).expect("of one schema");
        self.last.clear();
        run.push(&piece).await
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.last.is_empty() && self.run.as_ref().is_none_or(Run::is_empty)
    }

    /// Reads all that are there now.
    pub(crate) fn read(&self) -> KeptReader {
        KeptReader {
            batches: self.batches.clone().into(),
            run: self.run.clone(),
            last: self.last.clone().into(),
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

/// Rows that are being read.
#[derive(Default)]
pub(crate) struct KeptReader {
    batches: VecDeque<RecordBatch>,
    run: Option<Run>,
    last: VecDeque<RecordBatch>,
}

impl KeptReader {
    /// The next batch.
    ///
    /// # Errors
    /// Those of reading files.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.batches.pop_front() {
            return Ok(Some(batch));
        }
        if let Some(run) = &mut self.run
            && let Some(batch) = run.next().await?
        {
            return Ok(Some(batch));
        }
        self.run = None;
        Ok(self.last.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array};
    use omen_core::types::PgType;

    use super::*;
    use crate::fragment::{batch_of, schema_of};

    #[test]
    fn rows_are_read_in_order_and_again() {
        for memory_bytes in [1, 1_000, 100_000, 1 << 20] {
            let work = crate::fragment::tests::work(memory_bytes);
            futures_lite::future::block_on(async {
                let mut kept = Kept::default();
                assert!(kept.is_empty());
                for first in (0..40_000).step_by(100) {
                    let values: ArrayRef = Arc::new((first..first + 100).collect::<Int32Array>());
                    let batch = batch_of(&schema_of(&[PgType::Int4]), vec![values], 100);
                    kept.push(batch, &work).await.expect("no errors");
                }
                assert!(!kept.is_empty());
                for _ in 0..2 {
                    let (mut reader, mut values) = (kept.read(), Vec::new());
                    while let Some(batch) = reader.next().await.expect("no errors") {
                        values.extend_from_slice(batch.column(0).as_primitive::<Int32Type>().values());
                    }
                    assert!(values.iter().copied().eq(0..40_000));
                }
            });
        }
    }
}
