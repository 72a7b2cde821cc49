//! Sorting of any number of rows.
//!
//! Rows are collected with their keys. In memory they are cut by a sample of them into buckets, which are sorted one
//! after another as their rows are asked for: no step is long, and rows that nobody asks for are not sorted. What does
//! not fit into the memory is sorted in parts, which are put aside as runs and merged.
//!
//! Invariant: rows of equal keys stay in the order in which they came, so the result does not depend on the memory.

use std::cmp::Ordering;
use std::rc::Rc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use omen_core::fragment::batch_bytes;
use omen_core::types::PgType;

use super::{Run, Spill, Work};
use crate::fragment::rowkey::{KeyColumn, RowKeys};
use crate::fragment::{Result, batch_of, schema_of};
use crate::logical::SortKey;

/// Rows that are sorted, cut or merged in one step: at most a quarter of a millisecond.
const STEP_ROWS: usize = 1_024;

/// Rows that are given at once: they are gathered from all over the memory.
const GIVEN_ROWS: usize = 2_048;

/// Most buckets that rows are cut into at once.
const BUCKETS_MAX: usize = 512;

/// Rows of the sample for each bucket.
const SAMPLE_ROWS: usize = 4;

/// Most runs that are merged at once.
const MERGED_RUNS_MAX: usize = 128;

/// Bytes of a row beside its values and its key.
const ROW_BYTES: usize = 32;

/// A row: the first bytes of its key, its batch, its place there.
pub(crate) type Entry = (u64, u32, u32);

/// The keys of a batch's rows.
pub(crate) fn encode(batch: &RecordBatch, keys: &[SortKey], types: &[PgType]) -> RowKeys {
    let columns: Vec<KeyColumn<'_>> = keys
        .iter()
        .map(|key| KeyColumn {
            values: batch.column(key.column),
            pg_type: types[key.column],
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
        .collect();
    RowKeys::encode(&columns, batch.num_rows())
}

/// The rows at these places, in this order: (batch, row).
pub(crate) fn pick(batches: &[RecordBatch], places: &[(usize, usize)], schema: &SchemaRef) -> RecordBatch {
    let column = |index: usize| -> ArrayRef {
        let columns: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        arrow_select::interleave::interleave(&columns, places).expect("batches of one schema")
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    batch_of(schema, columns, places.len())
}

/// The first bytes of a key as a number: most comparisons end here.
pub(crate) fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let count = key.len().min(8);
    bytes[..count].copy_from_slice(&key[..count]);
    u64::from_be_bytes(bytes)
}

/// Rows in pieces, none of which is in order.
type Bucket = Vec<Vec<Entry>>;

/// Rows that are sorted as far as they have been asked for.
pub(crate) struct Buckets {
    /// The first rows are in the last bucket.
    left: Vec<Bucket>,
    /// Rows in order, and how many of them have been given.
    sorted: Vec<Entry>,
    given: usize,
}

impl Buckets {
    /// Nothing is sorted yet.
    pub(crate) fn new(entries: Bucket) -> Buckets {
        Buckets { left: vec![entries], sorted: Vec::new(), given: 0 }
    }

    /// The next rows in order, at most `count`; none at the end. `key` gives the key of a row of a batch.
    pub(crate) async fn next<'k>(
        &mut self,
        count: usize,
        key: impl Fn(u32, u32) -> &'k [u8],
        work: &Work,
    ) -> Result<Vec<Entry>> {
        let compare = |a: &Entry, b: &Entry| {
            a.0.cmp(&b.0).then_with(|| key(a.1, a.2).cmp(key(b.1, b.2))).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        let mut found = Vec::with_capacity(count.min(GIVEN_ROWS));
        while found.len() < count {
            if self.given == self.sorted.len() {
                let Some(bucket) = self.left.pop() else { break };
                if bucket.iter().map(Vec::len).sum::<usize>() > 2 * STEP_ROWS {
                    let parts = cut(bucket, &compare, work).await?;
                    self.left.extend(parts.into_iter().rev().map(|part| vec![part]));
                    continue;
                }
                (self.sorted, self.given) = (bucket.concat(), 0);
                self.sorted.sort_unstable_by(compare);
                work.give_way().await?;
            }
            let to = self.sorted.len().min(self.given + count - found.len());
            found.extend_from_slice(&self.sorted[self.given..to]);
            self.given = to;
        }
        Ok(found)
    }
}

/// Cuts rows into buckets, in order. No two rows are equal, so buckets are about equally large whatever the keys.
async fn cut(
    bucket: Bucket,
    compare: &impl Fn(&Entry, &Entry) -> Ordering,
    work: &Work,
) -> Result<Vec<Vec<Entry>>> {
    let mut ends = Vec::with_capacity(bucket.len());
    for piece in &bucket {
        ends.push(ends.last().copied().unwrap_or(0) + piece.len());
    }
    let rows = ends.last().copied().unwrap_or(0);
    let entry = |row: usize| {
        let piece = ends.partition_point(|end| *end <= row);
        bucket[piece][row - (ends[piece] - bucket[piece].len())]
    };
    let count = rows.div_ceil(STEP_ROWS).clamp(2, BUCKETS_MAX);
    let sampled = SAMPLE_ROWS * count;
    let stride = rows / sampled;
    // Spread over each stride, lest a pattern of the rows repeats with it.
    let place = |number: usize| number * stride + number.wrapping_mul(0x9E37_79B9) % stride.max(1);
    let mut sample: Vec<Entry> = (0..sampled).map(|number| entry(place(number))).collect();
    sample.sort_unstable_by(compare);
    let borders: Vec<Entry> = sample.into_iter().skip(SAMPLE_ROWS).step_by(SAMPLE_ROWS).collect();
    let prefixes: Vec<u64> = borders.iter().map(|border| border.0).collect();
    work.give_way().await?;
    let capacity = rows / count + STEP_ROWS / 4;
    let mut buckets: Vec<Vec<Entry>> = (0..count).map(|_| Vec::with_capacity(capacity)).collect();
    for piece in bucket {
        for part in piece.chunks(STEP_ROWS) {
            for entry in part {
                let mut bucket = prefixes.partition_point(|prefix| *prefix < entry.0);
                if prefixes.get(bucket) == Some(&entry.0) {
                    let later = &borders[bucket..];
                    bucket += later.partition_point(|border| compare(border, entry) != Ordering::Greater);
                }
                buckets[bucket].push(*entry);
            }
            work.give_way().await?;
        }
    }
    Ok(buckets)
}

/// A sort of rows of any number.
pub(crate) struct Sorter {
    keys: Vec<SortKey>,
    types: Vec<PgType>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    encoded: Vec<RowKeys>,
    entries: Bucket,
    /// Bytes of what is collected.
    size_bytes: usize,
    /// Rows and their bytes so far.
    rows: usize,
    rows_bytes: usize,
    spill: Option<Rc<Spill>>,
    runs: Vec<Run>,
    output: Option<Output>,
}

enum Output {
    Memory(Buckets),
    Merge(Merge),
}

impl Sorter {
    /// No rows yet, of columns of these types.
    pub(crate) fn new(keys: &[SortKey], types: &[PgType]) -> Sorter {
        Sorter {
            keys: keys.to_vec(),
            types: types.to_vec(),
            schema: schema_of(types),
            batches: Vec::new(),
            encoded: Vec::new(),
            entries: Vec::new(),
            size_bytes: 0,
            rows: 0,
            rows_bytes: 0,
            spill: None,
            runs: Vec::new(),
            output: None,
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of [`Spill::write`].
    pub(crate) async fn push(&mut self, batch: RecordBatch, work: &Work) -> Result<()> {
        let encoded = encode(&batch, &self.keys, &self.types);
        let bytes = batch_bytes(&batch);
        self.rows += batch.num_rows();
        self.rows_bytes += bytes;
        self.size_bytes += encoded.size_bytes() + bytes + ROW_BYTES * batch.num_rows();
        let number = u32::try_from(self.batches.len()).expect("memory ends before batches do");
        let rows = 0..u32::try_from(encoded.len()).expect("batches are small");
        self.entries.push(rows.map(|row| (prefix(encoded.row(row as usize)), number, row)).collect());
        self.encoded.push(encoded);
        self.batches.push(batch);
        if self.size_bytes > work.memory_bytes() {
            self.put_aside(work).await?;
        }
        Ok(())
    }

    /// Rows of about so many bytes.
    fn rows_of(&self, bytes: usize) -> usize {
        let width = (self.rows_bytes / self.rows.max(1)).max(1);
        (bytes / width).clamp(1, GIVEN_ROWS)
    }

    /// Writes what is collected as a run.
    async fn put_aside(&mut self, work: &Work) -> Result<()> {
        let spill = match &self.spill {
            Some(spill) => spill.clone(),
            None => Spill::create(work, self.schema.clone()).await?,
        };
        self.spill = Some(spill.clone());
        let mut run = Run::new(spill);
        let mut buckets = Buckets::new(std::mem::take(&mut self.entries));
        let rows = self.rows_of(work.piece_bytes());
        while let Some(batch) = self.sorted(&mut buckets, rows, work).await? {
            run.push(&batch).await?;
        }
        self.runs.push(run);
        self.size_bytes = 0;
        self.forget(work).await
    }

    /// Frees what is collected. So much memory takes long to give back.
    async fn forget(&mut self, work: &Work) -> Result<()> {
        self.entries.clear();
        while let Some(batch) = self.batches.pop() {
            drop((batch, self.encoded.pop()));
            work.give_way().await?;
        }
        Ok(())
    }

    /// The next rows of what is collected.
    async fn sorted(&self, buckets: &mut Buckets, rows: usize, work: &Work) -> Result<Option<RecordBatch>> {
        let key = |batch: u32, row: u32| self.encoded[batch as usize].row(row as usize);
        let entries = buckets.next(rows, key, work).await?;
        let places: Vec<_> = entries.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
        Ok((!places.is_empty()).then(|| pick(&self.batches, &places, &self.schema)))
    }

    /// The next rows in order, once all have been pushed.
    ///
    /// # Errors
    /// Those of reading and writing files.
    pub(crate) async fn next(&mut self, work: &Work) -> Result<Option<RecordBatch>> {
        let rows = self.rows_of(work.memory_bytes() / 4);
        let mut output = match self.output.take() {
            Some(output) => output,
            None if self.runs.is_empty() => Output::Memory(Buckets::new(std::mem::take(&mut self.entries))),
            None => Output::Merge(self.merged(work).await?),
        };
        let batch = match &mut output {
            Output::Memory(buckets) => self.sorted(buckets, rows, work).await?,
            Output::Merge(merge) => merge.next(rows, work).await?,
        };
        if batch.is_none() {
            self.forget(work).await?;
        }
        self.output = Some(output);
        Ok(batch)
    }

    /// Merges runs until one merge is left to be done.
    async fn merged(&mut self, work: &Work) -> Result<Merge> {
        if !self.entries.is_empty() {
            self.put_aside(work).await?;
        }
        let at_once = (work.memory_bytes() / (2 * work.piece_bytes())).clamp(2, MERGED_RUNS_MAX);
        let rows = self.rows_of(work.piece_bytes());
        while self.runs.len() > at_once {
            // The former file goes with its last run.
            let spill = Spill::create(work, self.schema.clone()).await?;
            let mut longer = Vec::new();
            for runs in std::mem::take(&mut self.runs).chunks(at_once) {
                let mut merge = self.merge(runs.to_vec());
                let mut run = Run::new(spill.clone());
                while let Some(batch) = merge.next(rows, work).await? {
                    run.push(&batch).await?;
                }
                longer.push(run);
            }
            self.runs = longer;
            self.spill = None;
        }
        self.spill = None;
        let runs = std::mem::take(&mut self.runs);
        Ok(self.merge(runs))
    }

    fn merge(&self, runs: Vec<Run>) -> Merge {
        let cursors =
            runs.into_iter().map(|run| Cursor { run, chunk: 0, keys: RowKeys::default(), row: 0, prefix: 0 });
        Merge {
            keys: self.keys.clone(),
            types: self.types.clone(),
            schema: self.schema.clone(),
            cursors: cursors.collect(),
            heap: Vec::new(),
            chunks: Vec::new(),
            started: false,
        }
    }
}

/// The next row of a run.
struct Cursor {
    run: Run,
    /// The batch in memory, by its place among the chunks of the merge.
    chunk: usize,
    keys: RowKeys,
    row: usize,
    prefix: u64,
}

/// Runs that are being merged.
struct Merge {
    keys: Vec<SortKey>,
    types: Vec<PgType>,
    schema: SchemaRef,
    cursors: Vec<Cursor>,
    /// Cursors that have rows, the one with the first row on top; each comes before its two children.
    heap: Vec<usize>,
    /// Batches of the cursors, and those that hold rows of the batch which is being made.
    chunks: Vec<RecordBatch>,
    started: bool,
}

impl Merge {
    fn is_before(&self, a: usize, b: usize) -> bool {
        let (one, other) = (&self.cursors[a], &self.cursors[b]);
        let order =
            one.prefix.cmp(&other.prefix).then_with(|| one.keys.row(one.row).cmp(other.keys.row(other.row)));
        order.then(a.cmp(&b)) == Ordering::Less
    }

    /// Puts the cursor at this place of the heap where it belongs below.
    fn sink(&mut self, mut place: usize) {
        loop {
            let mut first = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.heap.len() && self.is_before(self.heap[child], self.heap[first]) {
                    first = child;
                }
            }
            if first == place {
                return;
            }
            self.heap.swap(first, place);
            place = first;
        }
    }

    /// Reads the next batch of a cursor; answers whether there is one.
    async fn load(&mut self, cursor: usize) -> Result<bool> {
        let Some(batch) = self.cursors[cursor].run.next().await? else { return Ok(false) };
        let keys = encode(&batch, &self.keys, &self.types);
        let cursor = &mut self.cursors[cursor];
        (cursor.chunk, cursor.row, cursor.prefix) = (self.chunks.len(), 0, prefix(keys.row(0)));
        cursor.keys = keys;
        self.chunks.push(batch);
        Ok(true)
    }

    async fn start(&mut self) -> Result<()> {
        for cursor in 0..self.cursors.len() {
            if self.load(cursor).await? {
                self.heap.push(cursor);
            }
        }
        for place in (0..self.heap.len() / 2).rev() {
            self.sink(place);
        }
        Ok(())
    }

    /// The next rows, at most so many.
    async fn next(&mut self, rows: usize, work: &Work) -> Result<Option<RecordBatch>> {
        if !std::mem::replace(&mut self.started, true) {
            self.start().await?;
        }
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(rows);
        while places.len() < rows {
            let Some(top) = self.heap.first().copied() else { break };
            let cursor = &mut self.cursors[top];
            places.push((cursor.chunk, cursor.row));
            cursor.row += 1;
            if cursor.row < cursor.keys.len() {
                cursor.prefix = prefix(cursor.keys.row(cursor.row));
            } else if !self.load(top).await? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
            if places.len().is_multiple_of(STEP_ROWS) {
                work.give_way().await?;
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let batch = pick(&self.chunks, &places, &self.schema);
        self.forget_chunks();
        Ok(Some(batch))
    }

    /// Forgets the batches all of whose rows were given.
    fn forget_chunks(&mut self) {
        let mut chunks = Vec::with_capacity(self.heap.len());
        for cursor in &self.heap {
            let cursor = &mut self.cursors[*cursor];
            chunks.push(self.chunks[cursor.chunk].clone());
            cursor.chunk = chunks.len() - 1;
        }
        self.chunks = chunks;
    }
}
