//! Scans of blocks: which rows of a block a reader sees and its filters keep, and their values in batches.
//!
//! Work is left out in this order: blocks that a zone excludes are not read; rows that the span, the deletion vector, the
//! begins or a filter exclude are cleared from a mask, and filters run on what is encoded: once for a constant, once for
//! each value of a dictionary, in bulk over numbers. Only then are values decoded, those of the wanted columns in the
//! rows that are left, straight into the batch, which goes on across blocks and segments.
//!
//! Begins are a column like any other here: a view is a filter on it.
//!
//! Of a table with column groups only those are read that hold the columns of undecided filters, and those of the wanted
//! columns if a row is left; so a row group is scanned in two steps.

#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::SegmentId;
use super::block::RowGroup;
use super::encoding::{DictionaryId, EncodedBlock};
use super::format::BLOCK_ROWS;
use super::groups::GroupSet;
use super::reader::Segment;
use super::zone::Judgement;
use crate::catalog::TableSchema;
use crate::column::BatchSchema;
use crate::env::Env;
use crate::filter::{Filter, IntTest, Members, Ready, mask};
use crate::fragment::BATCH_ROWS;
use crate::key::KeySpan;
use crate::router::ReadView;
use crate::row::Malformed;
use crate::stamp::Sight;
use crate::types::PgType;
use values::{DictionaryTexts, Values};

/// A batch with this many bytes of values of varying length takes no further block.
const BATCH_BYTES: usize = 1 << 20;
/// Filters are put in order again after this many blocks.
const REORDER_BLOCKS: u64 = 32;

type Mask = [u64; mask::words(BLOCK_ROWS)];

/// What a scan did with blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct BlockCounts {
    /// Looked into.
    pub(crate) read: u64,
    /// Left out by their zones.
    pub(crate) pruned: u64,
    /// Answered by what is known of them without their bytes.
    pub(crate) counted: u64,
}

/// What a scan does with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockPlan {
    /// No row of it is wanted.
    Skip,
    /// The number of its rows is all that is wanted.
    Count,
    /// Read it.
    Read,
}

/// A filter and how it fared.
#[derive(Debug)]
struct Ordered {
    filter: Filter,
    asked: u64,
    kept: u64,
    /// Which codes of a segment's dictionary it accepts.
    accepted: Option<(SegmentId, DictionaryId, Accepted)>,
}

/// Codes of a dictionary.
#[derive(Debug)]
enum Accepted {
    None,
    One(u32),
    Some(Vec<bool>),
}

/// A scan of some columns of the rows that a view sees and filters keep.
#[derive(Debug)]
pub(crate) struct BlockScan {
    schema: Arc<TableSchema>,
    sight: Sight,
    filters: Vec<Ordered>,
    columns: Vec<usize>,
    batches: BatchSchema,
    values: Vec<Values>,
    /// Whether numerics may be coefficients (`Fragment::reads_coefficients`).
    coefficients: bool,
    /// Of columns that may be codes (`Fragment::reads_codes`): the texts of the dictionary that was met last.
    texts: Vec<Option<DictionaryTexts>>,
    rows: usize,
    /// Rows of a batch at most.
    rows_max: usize,
    counts: BlockCounts,
    /// Row groups with column groups of which filters were asked, and of which rows were left.
    asked: u64,
    left: u64,
    /// The rows of the current block that are left.
    mask: Mask,
    scratch: Scratch,
}

/// Memory that is used for every block.
#[derive(Debug, Default)]
struct Scratch {
    ints: Vec<i64>,
    floats: Vec<f64>,
    codes: Vec<u32>,
    bytes: Vec<u8>,
    rows: Vec<u16>,
}

impl BlockScan {
    /// A scan that has seen nothing.
    pub(crate) fn new(
        schema: &Arc<TableSchema>,
        columns: &[usize],
        filters: &[Filter],
        view: &ReadView,
    ) -> BlockScan {
        let sight = Sight::of(view);
        let begun = Filter::at_most(schema.columns.len(), sight.snapshot().cast_signed());
        let filters = std::iter::once(&begun).chain(filters);
        let filters =
            filters.map(|filter| Ordered { filter: filter.clone(), asked: 0, kept: 0, accepted: None });
        let mut scan = BlockScan {
            schema: Arc::clone(schema),
            sight,
            filters: filters.collect(),
            columns: columns.to_vec(),
            batches: BatchSchema::default(),
            values: Vec::new(),
            coefficients: false,
            texts: vec![None; columns.len()],
            rows: 0,
            rows_max: BATCH_ROWS,
            counts: BlockCounts::default(),
            asked: 0,
            left: 0,
            mask: [0; mask::words(BLOCK_ROWS)],
            scratch: Scratch::default(),
        };
        scan.values = scan.buffers(0);
        scan
    }

    /// Empty columns; those of varying length get room for as many bytes as those before them.
    fn buffers(&self, rows: usize) -> Vec<Values> {
        let buffer = |(index, column): (usize, &usize)| {
            let pg_type = self.schema.columns[*column].pg_type;
            if self.texts[index].is_some() {
                return Values::codes(pg_type, rows);
            }
            let bytes = self.values.get(index).map_or(0, Values::bytes_len);
            Values::with_capacity(pg_type, rows, bytes + bytes / 8)
        };
        self.columns.iter().enumerate().map(buffer).collect()
    }

    /// Batches have at most so many rows from here on, from [`BLOCK_ROWS`] to [`BATCH_ROWS`].
    pub(crate) fn set_rows_max(&mut self, rows: usize) {
        self.rows_max = rows;
    }

    /// From here on numerics of its batches may be coefficients (`Fragment::reads_coefficients`), and texts at these
    /// positions codes (`Fragment::reads_codes`).
    pub(crate) fn set_encoded(&mut self, coefficients: bool, codes: &[usize]) {
        self.coefficients = coefficients;
        codes.iter().for_each(|index| self.texts[*index] = Some(DictionaryTexts::default()));
        self.values = self.buffers(0);
    }

    /// Whether the batch has no room for another block.
    pub(crate) fn is_full(&self) -> bool {
        self.rows + BLOCK_ROWS > self.rows_max
            || self.values.iter().map(Values::bytes_len).sum::<usize>() >= BATCH_BYTES
    }

    /// The batch so far, if it has rows.
    ///
    /// # Errors
    /// If a block held bytes that are not values of their type.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, Malformed> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let empty = self.buffers(rows.min(BATCH_ROWS));
        let values = std::mem::replace(&mut self.values, empty);
        let arrays = values.into_iter().map(|values| values.into_array(self.coefficients));
        let arrays = arrays.collect::<Result<_, _>>()?;
        Ok(Some(self.batches.batch(&self.schema, &self.columns, arrays, rows)))
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> BlockCounts {
        self.counts
    }

    /// Puts the filter first that leaves the fewest rows for its price.
    fn reorder(&mut self) {
        let key = |ordered: &Ordered| {
            // Rows kept of eight; a filter that was never asked is taken for one that keeps half.
            let kept = (8 * ordered.kept).checked_div(ordered.asked).unwrap_or(4);
            (kept, ordered.filter.rank())
        };
        self.filters.sort_by_key(key);
    }
}

impl<E: Env> Segment<E> {
    /// What a scan does with a block; `inside`: all its keys lie in the scan's span.
    pub(crate) fn plan_block(&self, number: usize, inside: bool, scan: &BlockScan) -> BlockPlan {
        let mut decided = inside && scan.columns.is_empty();
        for Ordered { filter, .. } in &scan.filters {
            match self.zone(number, filter.column).judge(filter) {
                Judgement::None => return BlockPlan::Skip,
                Judgement::Some => decided = false,
                Judgement::All => {}
            }
        }
        if decided { BlockPlan::Count } else { BlockPlan::Read }
    }

    /// Notes that a block was left out.
    pub(crate) fn skip_block(&self, scan: &mut BlockScan) {
        scan.counts.pruned += 1;
    }

    /// Adds the number of a block's visible rows, all of which the filters keep.
    pub(crate) fn count_block(&self, number: usize, scan: &mut BlockScan) {
        let ended = self
            .with_ends(number, |ends| ends.iter().filter(|(_, end)| scan.sight.sees(end.to_bits())).count());
        scan.rows += self.rows_of(number) - ended;
        scan.counts.counted += 1;
    }

    /// The column groups with which `filter_block` looks at a block. If most blocks have rows that pass, those of the
    /// wanted columns too.
    pub(crate) fn groups_to_filter(&self, number: usize, inside: bool, scan: &BlockScan) -> GroupSet {
        if self.groups().is_one() {
            return GroupSet::KEY;
        }
        let undecided = scan
            .filters
            .iter()
            .map(|ordered| &ordered.filter)
            .filter(|filter| self.zone(number, filter.column).judge(filter) != Judgement::All);
        let columns: Vec<usize> = undecided.map(|filter| filter.column).collect();
        let mut groups = self.groups().of_columns(&columns);
        if columns.is_empty() || scan.left * 2 > scan.asked {
            groups = groups.and(self.groups_to_gather(scan));
        }
        if inside && !groups.is_empty() { groups } else { groups.and(GroupSet::KEY) }
    }

    /// The column groups of the wanted columns.
    pub(crate) fn groups_to_gather(&self, scan: &BlockScan) -> GroupSet {
        self.groups().of_columns(&scan.columns)
    }

    /// Looks which rows of a block are wanted; whether `gather_block` is to follow.
    pub(crate) fn filter_block(
        &self,
        number: usize,
        block: &RowGroup,
        span: &KeySpan,
        inside: bool,
        scan: &mut BlockScan,
    ) -> bool {
        scan.counts.read += 1;
        if scan.counts.read.is_multiple_of(REORDER_BLOCKS) {
            scan.reorder();
        }
        let rows = if inside { 0..block.rows() } else { block.key().rows_in(self.keys(), span) };
        let BlockScan { filters, scratch, mask, .. } = scan;
        mask.fill(0);
        mask::fill(mask, rows.end);
        (0..rows.start).for_each(|row| mask::clear(mask, row));
        self.with_ends(number, |ends| {
            let ended = ends.iter().filter(|(_, end)| scan.sight.sees(end.to_bits()));
            ended.for_each(|(row, _)| mask::clear(mask, usize::from(*row)));
        });
        let mut asked = false;
        for ordered in filters.iter_mut() {
            if self.zone(number, ordered.filter.column).judge(&ordered.filter) == Judgement::All {
                continue;
            }
            asked = true;
            ordered.asked += mask::count(mask) as u64;
            let (encoded, index) = block.column(ordered.filter.column);
            retain(ordered, encoded, index, self.id(), mask, scratch);
            let kept = mask::count(mask);
            ordered.kept += kept as u64;
            if kept == 0 {
                break;
            }
        }
        let count = mask::count(mask);
        scan.asked += u64::from(asked);
        scan.left += u64::from(asked && count > 0);
        scan.rows += count;
        count > 0 && !scan.columns.is_empty()
    }

    /// Adds the rows of the block that `filter_block` left.
    pub(crate) fn gather_block(&self, block: &RowGroup, scan: &mut BlockScan) {
        let BlockScan { mask, scratch, columns, values, texts, schema, .. } = scan;
        let (first, count) = (mask::first(mask), mask::count(mask));
        if mask::last(mask) - first + 1 == count {
            for ((column, out), texts) in columns.iter().zip(values).zip(texts) {
                let (encoded, index) = block.column(*column);
                out.append(encoded, index, first..first + count, texts.as_mut(), scratch);
            }
            return;
        }
        scratch.rows.clear();
        mask::for_each(mask, |row| scratch.rows.push(u16::try_from(row).expect("below BLOCK_ROWS")));
        for ((column, out), texts) in columns.iter().zip(values).zip(texts) {
            let (encoded, index) = block.column(*column);
            out.gather(encoded, index, schema.columns[*column].pg_type, texts.as_mut(), scratch);
        }
    }
}

/// Clears the rows of a block that fail a filter on the column with this number in it.
fn retain(
    ordered: &mut Ordered,
    block: &EncodedBlock,
    column: usize,
    segment: SegmentId,
    mask: &mut Mask,
    scratch: &mut Scratch,
) {
    let filter = &ordered.filter;
    match (&filter.ready, block.valid(column)) {
        (Ready::Never, _) | (Ready::Null, None) => return mask.fill(0),
        (Ready::Null, Some(valid)) => return mask::and_not_bits(mask, valid, 0),
        (_, Some(valid)) => mask::and_bits(mask, valid, 0),
        (_, None) => {}
    }
    if filter.ready == Ready::NotNull || mask::is_empty(mask) {
        return;
    }
    let accepts = |row: usize, bytes: &mut Vec<u8>| {
        bytes.clear();
        block.value(column, row, bytes) && filter.accepts(Some(bytes))
    };
    if block.is_constant(column) {
        if !accepts(mask::first(mask), &mut scratch.bytes) {
            mask.fill(0);
        }
        return;
    }
    let is_done = match &filter.ready {
        Ready::Ints(IntTest::Range(low, high)) => block.retain_ints(column, *low, *high, mask),
        Ready::Floats(test) => block.retain_floats(column, test, mask),
        Ready::Numerics(Members::Between(low, high)) => {
            let accepts = |value: &[u8]| filter.accepts(Some(value));
            block.retain_numerics(column, (low, high), accepts, mask, &mut scratch.ints)
        }
        _ => false,
    };
    if is_done {
        return;
    }
    let rows = block.rows();
    match filter.ready {
        Ready::Ints(_) if filter.pg_type != PgType::Bool => {
            scratch.ints.resize(BLOCK_ROWS, 0);
            if block.ints(column, 0..rows, &mut scratch.ints[..rows]) {
                return filter.retain_ints(&scratch.ints[..rows], mask);
            }
        }
        Ready::Floats(_) => {
            scratch.floats.resize(BLOCK_ROWS, 0.0);
            if block.floats(column, 0..rows, &mut scratch.floats[..rows]) {
                return filter.retain_floats(&scratch.floats[..rows], mask);
            }
        }
        _ => {
            scratch.codes.resize(BLOCK_ROWS, 0);
            if let Some(id) = block.codes(column, 0..rows, &mut scratch.codes[..rows]) {
                let codes = &scratch.codes[..rows];
                match accepted(&mut ordered.accepted, filter, block, segment, id) {
                    Accepted::None => mask.fill(0),
                    Accepted::One(one) => mask::retain_values(mask, codes, |code| code == *one),
                    Accepted::Some(accepted) => mask::retain_values(mask, codes, |code| {
                        accepted.get(code as usize).is_some_and(|accepted| *accepted)
                    }),
                }
                return;
            }
        }
    }
    mask::retain(mask, |row| accepts(row, &mut scratch.bytes));
}

/// Which codes of a dictionary a filter accepts; asked once for each value of it.
fn accepted<'a>(
    known: &'a mut Option<(SegmentId, DictionaryId, Accepted)>,
    filter: &Filter,
    block: &EncodedBlock,
    segment: SegmentId,
    id: DictionaryId,
) -> &'a Accepted {
    if matches!(known, Some((of, dictionary, _)) if (*of, *dictionary) != (segment, id)) {
        *known = None;
    }
    let (_, _, accepted) = known.get_or_insert_with(|| {
        let tables = block.tables();
        let codes = 0..u32::try_from(tables.dictionary_len(id)).expect("codes are u32");
        let accepts = |code: u32| filter.accepts(Some(tables.dictionary_value(id, code)));
        let accepted: Vec<bool> = codes.clone().map(accepts).collect();
        let mut those = codes.filter(|code| accepted[*code as usize]);
        let accepted = match (those.next(), those.next()) {
            (None, _) => Accepted::None,
            (Some(one), None) => Accepted::One(one),
            _ => Accepted::Some(accepted),
        };
        (segment, id, accepted)
    });
    accepted
}
