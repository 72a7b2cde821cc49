//! Blocks of a segment in memory: plain columns that are filled and encoded, or encoded bytes that are read in place.
//! `format` has the bytes. A row group has a block for each column group.

use std::ops::Range;
use std::rc::Rc;

use super::encoding::{EncodedBlock, Section, SegmentEncoder, Tables};
use super::format::{
    BLOCK_ALIGN, BLOCK_BYTES_MAX, BLOCK_DIRECTORY_BYTES, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_ROWS,
    BlockId, Bytes, Detail,
};
use super::groups::{GroupSet, Groups};
use super::keys::KeyColumns;
use crate::column::{ColumnBuf, ColumnView};
use crate::key::KeySpan;
use crate::memtable::{Memtable, RowId};
use crate::row::RowBuilder;
use crate::stamp::Stamp;
use crate::types::PgType;

/// The types of a table's columns, and of the column of begins that every block has behind them.
pub(super) fn with_begins(types: impl Iterator<Item = PgType>) -> Vec<PgType> {
    types.chain([PgType::Int8]).collect()
}

/// Rows in plain columns: those of a block that is being filled, or of one that was decoded.
#[derive(Debug)]
pub(super) struct PlainRows {
    types: Vec<PgType>,
    /// As many as types; the last holds the begins.
    columns: Vec<ColumnBuf>,
    rows: usize,
}

impl PlainRows {
    /// No rows of these types, the last of which is that of begins.
    pub(super) fn new(types: &[PgType]) -> PlainRows {
        let column = |pg_type: &PgType| ColumnBuf::with_capacity(*pg_type, BLOCK_ROWS, 0);
        PlainRows { types: types.to_vec(), columns: types.iter().map(column).collect(), rows: 0 }
    }

    /// All rows of a row group, all blocks of which are at hand.
    pub(super) fn decode(group: &RowGroup, types: &[PgType]) -> PlainRows {
        let mut plain = PlainRows::new(types);
        let rows = group.key().rows();
        for (column, out) in plain.columns.iter_mut().enumerate() {
            let (block, index) = group.column(column);
            block.append_to(index, 0..rows, out);
        }
        plain.rows = rows;
        plain
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// About the bytes of its values.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.view().values().len()).sum()
    }

    pub(super) fn views(&self) -> Vec<ColumnView<'_>> {
        self.columns.iter().map(ColumnBuf::view).collect()
    }

    pub(super) fn view(&self, column: usize) -> ColumnView<'_> {
        self.columns[column].view()
    }

    /// Appends a version. Values are as `ColumnBuf::push` takes them, one for each column but that of begins.
    pub(super) fn push<'a>(&mut self, begin: Stamp, values: impl Iterator<Item = Option<&'a [u8]>>) {
        let (begins, columns) = self.columns.split_last_mut().expect("there is a column of begins");
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        begins.push(Some(&begin.to_bits().to_le_bytes()));
        self.rows += 1;
    }

    /// Appends `rows` rows column by column: `append` adds as many values to the column of this number.
    pub(super) fn extend(&mut self, rows: usize, mut append: impl FnMut(usize, &mut ColumnBuf)) {
        self.columns.iter_mut().enumerate().for_each(|(index, column)| append(index, column));
        self.rows += rows;
    }

    /// Appends versions of a memtable.
    ///
    /// # Panics
    /// If a version begins in a transaction that is not decided.
    pub(super) fn extend_from_memtable(&mut self, memtable: &Memtable, rows: &[RowId]) {
        let mut begins = Vec::with_capacity(rows.len());
        memtable.append_begins(rows, &mut begins);
        assert!(begins.iter().all(|begin| *begin < Stamp::LIVE.to_bits()), "committed versions only");
        let last = self.columns.len() - 1;
        self.extend(rows.len(), |index, column| {
            if index == last {
                begins.iter().for_each(|begin| column.push(Some(&begin.to_le_bytes())));
            } else {
                memtable.append_column(index, rows, column);
            }
        });
    }

    /// When a version begins.
    pub(super) fn begin(&self, row: usize) -> Stamp {
        let begins = self.columns[self.columns.len() - 1].view();
        let bytes = begins.value(row).and_then(|bytes| bytes.try_into().ok());
        Stamp::from_bits(bytes.map_or(0, u64::from_le_bytes))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.columns.iter_mut().for_each(ColumnBuf::clear);
        self.rows = 0;
    }

    /// A copy of some rows.
    pub(super) fn part(&self, rows: Range<usize>) -> PlainRows {
        let mut part = PlainRows::new(&self.types);
        let views = self.views();
        part.extend(rows.len(), |index, column| column.extend(&views[index], rows.clone()));
        part
    }

    /// Appends the bytes of some columns of these rows as a block, padded to `BLOCK_ALIGN`; says where in it they are.
    /// Calls `pause` between steps.
    pub(super) async fn encode(
        &self,
        columns: &[usize],
        id: BlockId,
        encoder: &mut SegmentEncoder,
        out: &mut Vec<u8>,
        pause: &impl AsyncFn(),
    ) -> Vec<Section> {
        let start = out.len();
        let rows = u16::try_from(self.rows).expect("at most BLOCK_ROWS");
        let count = u16::try_from(columns.len()).expect("at most COLUMNS_MAX");
        out.extend_from_slice(&BLOCK_MAGIC.to_le_bytes());
        out.extend_from_slice(&rows.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&id.segment.0.to_le_bytes());
        out.extend_from_slice(&id.block.to_le_bytes());
        out.extend_from_slice(&id.group.to_le_bytes());
        out.resize(start + BLOCK_HEADER_BYTES + columns.len() * BLOCK_DIRECTORY_BYTES, 0);
        let views: Vec<ColumnView<'_>> = columns.iter().map(|column| self.view(*column)).collect();
        let sections = encoder.encode(&views, self.rows, out, start, pause).await;
        for (index, section) in sections.iter().enumerate() {
            let at = start + BLOCK_HEADER_BYTES + index * BLOCK_DIRECTORY_BYTES;
            out[at..at + 4].copy_from_slice(&section.offset.to_le_bytes());
            out[at + 4..at + 8].copy_from_slice(&section.bytes.to_le_bytes());
        }
        out.resize(start + (out.len() - start).next_multiple_of(BLOCK_ALIGN), 0);
        assert!(out.len() - start <= BLOCK_BYTES_MAX, "a block of {} bytes", out.len() - start);
        sections
    }
}

/// A block as it stands in the file. A copy shares its bytes.
#[derive(Clone, Debug)]
pub struct Block {
    encoded: EncodedBlock,
    /// In the key group: the last column, which holds the begins.
    begins: u16,
}

impl Block {
    /// Takes block `id`, which holds `rows` rows of columns of these types, and keeps a copy of the bytes. The checksum was
    /// verified.
    ///
    /// # Errors
    /// If the bytes are not that block. What passes can be read without a panic, whatever it holds.
    pub(super) fn decode(
        block: &[u8],
        id: BlockId,
        rows: usize,
        types: &[PgType],
        tables: &Rc<Tables>,
    ) -> Result<Block, Detail> {
        let bytes = Bytes(block);
        if bytes.u32(0) != Some(BLOCK_MAGIC) {
            return Err("not a block");
        }
        if bytes.u64(8) != Some(id.segment.0)
            || bytes.u32(16) != Some(id.block)
            || bytes.u32(20) != Some(id.group)
        {
            return Err("a block of another place");
        }
        if bytes.u16(4).map(usize::from) != Some(rows)
            || bytes.u16(6).map(usize::from) != Some(types.len())
            || !(1..=BLOCK_ROWS).contains(&rows)
            || types.is_empty()
        {
            return Err("a block of other rows or columns");
        }
        let section = |index: usize| {
            let at = BLOCK_HEADER_BYTES + index * BLOCK_DIRECTORY_BYTES;
            Some(Section { offset: bytes.u32(at)?, bytes: bytes.u32(at + 4)? })
        };
        let sections: Option<Vec<Section>> = (0..types.len()).map(section).collect();
        let sections = sections.ok_or("short block")?;
        let encoded = EncodedBlock::decode(Rc::from(block), &sections, rows, types, tables)?;
        Ok(Block { begins: u16::try_from(types.len() - 1).map_err(|_| "too many columns")?, encoded })
    }

    /// Versions in it.
    pub fn rows(&self) -> usize {
        self.encoded.rows()
    }

    /// About how many bytes of memory it holds.
    pub fn size_bytes(&self) -> usize {
        self.encoded.size_bytes()
    }

    pub(super) fn encoded(&self) -> &EncodedBlock {
        &self.encoded
    }

    /// Looks at what reading these columns of a row needs, so that it comes from memory side by side; `row` may be a guess.
    pub(super) fn touch(&self, columns: &[usize], row: usize) {
        self.encoded.touch(columns.iter().copied().chain([usize::from(self.begins)]), row);
    }

    /// When a version begins; only in the key group.
    pub fn begin(&self, row: usize) -> Stamp {
        Stamp::from_bits(self.encoded.int(usize::from(self.begins), row).cast_unsigned())
    }

    /// The versions whose keys lie in the span.
    pub(super) fn rows_in(&self, keys: &KeyColumns, span: &KeySpan) -> Range<usize> {
        let below = |key: &[u8]| keys.count_below(&self.encoded, key, false);
        let start = if span.start.is_empty() { 0 } else { below(&span.start) };
        let end = span.end.as_ref().map_or(self.rows(), |end| below(end));
        start..end.max(start)
    }

    /// Appends a column of a version, by its number in the block, to a row that is being built.
    pub(super) fn push_to(&self, column: usize, row: usize, out: &mut RowBuilder) {
        self.encoded.push_to(column, row, out);
    }
}

/// A row group, as far as its blocks are at hand.
#[derive(Clone, Debug)]
pub struct RowGroup {
    groups: Rc<Groups>,
    /// By column group.
    blocks: Vec<Option<Block>>,
}

impl RowGroup {
    /// Without any block.
    pub(super) fn new(groups: &Rc<Groups>) -> RowGroup {
        RowGroup { groups: Rc::clone(groups), blocks: vec![None; groups.len()] }
    }

    /// Adds the block of a column group.
    pub(super) fn set(&mut self, group: usize, block: Block) {
        self.blocks[group] = Some(block);
    }

    /// Adds the blocks of another part of the same row group.
    pub(crate) fn add(&mut self, other: &RowGroup) {
        for (block, other) in self.blocks.iter_mut().zip(&other.blocks) {
            if block.is_none() {
                block.clone_from(other);
            }
        }
    }

    /// Which of these blocks are not here.
    pub(crate) fn missing(&self, groups: GroupSet) -> GroupSet {
        let here = groups.iter().filter(|group| self.blocks[*group].is_some());
        here.fold(groups, |missing, group| missing.without(GroupSet::of(group)))
    }

    /// The column groups whose blocks are here.
    pub(crate) fn present(&self) -> GroupSet {
        self.blocks().fold(GroupSet::default(), |present, (group, _)| present.and(GroupSet::of(group)))
    }

    /// The blocks that are here, by column group.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, &Block)> {
        self.blocks.iter().enumerate().filter_map(|(group, block)| Some((group, block.as_ref()?)))
    }

    fn block(&self, group: usize) -> &Block {
        self.blocks[group].as_ref().expect("a block that was asked for before")
    }

    /// The block of the key group.
    ///
    /// # Panics
    /// If it is not here; so below.
    pub(super) fn key(&self) -> &Block {
        self.block(0)
    }

    /// Versions in it; some block is here.
    pub(super) fn rows(&self) -> usize {
        self.blocks.iter().flatten().next().map_or(0, |block| block.rows())
    }

    /// The block of a column of the table, and the number of the column there.
    pub(super) fn column(&self, column: usize) -> (&EncodedBlock, usize) {
        let place = self.groups.place(column);
        (self.block(place.group).encoded(), place.index)
    }

    /// Appends a column of a version to a row that is being built.
    pub(super) fn push_to(&self, column: usize, row: usize, out: &mut RowBuilder) {
        let (block, index) = self.column(column);
        block.push_to(index, row, out);
    }

    /// Reads all of it: keys must rise, within a key begins must not, and columns must hold values of their types.
    ///
    /// # Errors
    /// If they do not: the block was written wrongly, since its checksum is right.
    pub(super) fn verify(&self, keys: &KeyColumns, types: &[PgType]) -> Result<(), Detail> {
        let plain = PlainRows::decode(self, types);
        let (views, key_group) = (plain.views(), self.key());
        let (mut last, mut key) = (Vec::new(), Vec::new());
        for row in 0..key_group.rows() {
            key.clear();
            keys.append(&views, row, &mut key);
            let in_order =
                row == 0 || last < key || (last == key && key_group.begin(row) <= key_group.begin(row - 1));
            if !in_order
                || !keys.find(&key_group.encoded, &key).contains(&row)
                || key_group.begin(row) >= Stamp::LIVE
            {
                return Err("versions out of order");
            }
            std::mem::swap(&mut last, &mut key);
        }
        let is_bad = |column: ColumnBuf| column.freeze().array().is_err();
        if plain.columns.into_iter().any(is_bad) {
            Err("a column with values not of its type")
        } else {
            Ok(())
        }
    }
}
