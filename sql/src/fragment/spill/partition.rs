//! Rows cut into parts by a hash, on disk.
//!
//! Rows that an operator must see together have equal hashes, so they come into one part. A part that is still too large
//! is cut again by other bits of the hash.

use std::rc::Rc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use omen_core::fragment::batch_bytes;

use super::{Run, Spill, Work};
use crate::fragment::rowkey::RowKeys;
use crate::fragment::{Result, batch_of, take};

/// Bits of a hash that choose one of the parts.
const PART_BITS: u32 = 4;

/// Parts that rows are cut into at once.
const PARTS: usize = 1 << PART_BITS;

/// How often rows can be cut: below that, what is in one part is as good as equal.
pub(crate) const LEVELS_MAX: u32 = 6;

/// The part of a row, by its key. The seed is the statement's: keys are the users', who must not know it, and a
/// statement of the simulator does the same again.
fn part_of(key: &[u8], seed: u64, level: u32) -> usize {
    let mut hash = seed;
    for chunk in key.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 29;
    }
    hash = hash.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (hash >> (u64::BITS - PART_BITS * (level + 1))) as usize & (PARTS - 1)
}

/// Rows that are being cut into parts.
pub(crate) struct Partitions {
    schema: SchemaRef,
    level: u32,
    parts: Vec<Waiting>,
}

/// A part, and what is not written yet.
struct Waiting {
    run: Run,
    batches: Vec<RecordBatch>,
    size_bytes: usize,
}

impl Waiting {
    async fn write(&mut self, schema: &SchemaRef) -> Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let rows = self.batches.iter().map(RecordBatch::num_rows).sum();
        let batch = match schema.fields().is_empty() {
            true => batch_of(schema, Vec::new(), rows),
            false => arrow_select::concat::concat_batches(schema, &self.batches).expect("of one schema"),
        };
        self.batches.clear();
        self.size_bytes = 0;
        self.run.push(&batch).await
    }
}

impl Partitions {
    /// No rows yet.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) async fn create(work: &Work, schema: &SchemaRef, level: u32) -> Result<Partitions> {
        let spill: Rc<Spill> = Spill::create(work, schema.clone()).await?;
        let waiting = |_| Waiting { run: Run::new(spill.clone()), batches: Vec::new(), size_bytes: 0 };
        Ok(Partitions { schema: schema.clone(), level, parts: (0..PARTS).map(waiting).collect() })
    }

    /// Adds rows with these keys. Rows of one part stay in order.
    ///
    /// # Errors
    /// As [`Spill::write`].
    pub(crate) async fn push(&mut self, batch: &RecordBatch, keys: &RowKeys, work: &Work) -> Result<()> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
        for row in 0..batch.num_rows() {
            let part = if keys.len() == 0 { 0 } else { part_of(keys.row(row), work.seed(), self.level) };
            rows[part].push(u32::try_from(row).expect("batches are small"));
        }
        for (part, rows) in self.parts.iter_mut().zip(rows) {
            if rows.is_empty() {
                continue;
            }
            let indices = UInt32Array::from(rows);
            let columns = batch.columns().iter().map(|column| take(column, &indices)).collect();
            let batch = batch_of(&self.schema, columns, indices.len());
            part.size_bytes += batch_bytes(&batch) + 1;
            part.batches.push(batch);
            if part.size_bytes >= work.piece_bytes() {
                part.write(&self.schema).await?;
            }
        }
        work.give_way().await
    }

    /// The parts.
    ///
    /// # Errors
    /// As [`Spill::write`].
    pub(crate) async fn finish(mut self) -> Result<Vec<Run>> {
        let mut runs = Vec::with_capacity(PARTS);
        for mut part in self.parts.drain(..) {
            part.write(&self.schema).await?;
            runs.push(part.run);
        }
        Ok(runs)
    }
}
