//! Encodings seen from outside: measured (`perf/src/bin/encodings.rs`) and fuzzed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::format::BLOCK_ROWS;
use super::{EncodedBlock, Section, SegmentEncoder, Tables};
use crate::column::{Column, ColumnBuf, ColumnView, check_row};
use crate::row::{Malformed, RowBuilder, RowReader};
use crate::types::PgType;

/// Rows as columns, cut into blocks.
#[derive(Debug)]
pub struct Input {
    types: Vec<PgType>,
    open: Vec<ColumnBuf>,
    open_rows: usize,
    blocks: Vec<(Vec<Column>, usize)>,
}

impl Input {
    /// No rows.
    pub fn new(types: &[PgType]) -> Input {
        let open = types.iter().map(|t| ColumnBuf::with_capacity(*t, BLOCK_ROWS, 0)).collect();
        Input { types: types.to_vec(), open, open_rows: 0, blocks: Vec::new() }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If the bytes are not a row of the types.
    pub fn push(&mut self, row: &[u8]) -> Result<(), Malformed> {
        check_row(&self.types, row)?;
        let mut reader = RowReader::new(row, self.types.len())?;
        for (column, pg_type) in self.open.iter_mut().zip(&self.types) {
            column.push(reader.next_bytes(*pg_type)?);
        }
        self.open_rows += 1;
        if self.open_rows == BLOCK_ROWS {
            self.cut();
        }
        Ok(())
    }

    /// Ends the last block.
    pub fn cut(&mut self) {
        if self.open_rows > 0 {
            let columns = self.open.iter().map(|column| column.copy(self.open_rows)).collect();
            self.blocks.push((columns, self.open_rows));
            self.open.iter_mut().for_each(ColumnBuf::clear);
            self.open_rows = 0;
        }
    }

    /// Bytes of all values as they lie in memory.
    pub fn bytes(&self) -> usize {
        let columns = self.blocks.iter().flat_map(|(columns, _)| columns);
        columns.map(|column| column.view().values().len()).sum()
    }

    /// Encodes it as one segment.
    pub fn encode(&self) -> Output {
        let mut encoder = SegmentEncoder::new(&self.types);
        let mut blocks = Vec::new();
        for (columns, rows) in &self.blocks {
            let views: Vec<ColumnView<'_>> = columns.iter().map(Column::view).collect();
            let mut bytes = Vec::new();
            let encoded = encoder.encode(&views, *rows, &mut bytes, 0, &async || ());
            let sections = futures_lite::future::block_on(encoded);
            blocks.push((Rc::from(bytes), sections, *rows));
        }
        Output { types: self.types.clone(), blocks, tables: encoder.tables() }
    }
}

/// An encoded segment.
#[derive(Debug)]
pub struct Output {
    types: Vec<PgType>,
    blocks: Vec<(Rc<[u8]>, Vec<Section>, usize)>,
    tables: Vec<u8>,
}

impl Output {
    /// Bytes of the tables that its blocks share.
    pub fn tables_bytes(&self) -> usize {
        self.tables.len()
    }

    /// Bytes of all blocks.
    pub fn blocks_bytes(&self) -> usize {
        self.blocks.iter().map(|(bytes, ..)| bytes.len()).sum()
    }

    /// Decodes the blocks: finds the columns in them.
    ///
    /// # Panics
    /// If the bytes are not what was encoded.
    pub fn decode(&self) -> Blocks {
        let tables = Rc::new(Tables::decode(&self.tables, &self.types).expect("as written"));
        let decode = |(bytes, sections, rows): &(Rc<[u8]>, Vec<Section>, usize)| {
            EncodedBlock::decode(Rc::clone(bytes), sections, *rows, &self.types, &tables).expect("as written")
        };
        Blocks { types: self.types.clone(), blocks: self.blocks.iter().map(decode).collect() }
    }

    /// Bytes of a column in all blocks.
    pub fn column_bytes(&self, column: usize) -> usize {
        self.blocks.iter().map(|(_, sections, _)| sections[column].bytes as usize).sum()
    }
}

/// Blocks that can be read.
#[derive(Debug)]
pub struct Blocks {
    types: Vec<PgType>,
    blocks: Vec<EncodedBlock>,
}

impl Blocks {
    /// How blocks encode a column, the most frequent first, and how many do.
    pub fn kinds(&self, column: usize) -> Vec<(String, usize)> {
        let mut kinds = BTreeMap::new();
        self.blocks.iter().for_each(|block| *kinds.entry(block.kind(column)).or_insert(0) += 1);
        let mut kinds: Vec<(String, usize)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds
    }

    /// Reads a whole column; answers the bytes of its values.
    pub fn read_column(&self, column: usize) -> usize {
        let mut out = ColumnBuf::with_capacity(self.types[column], BLOCK_ROWS, 64 * BLOCK_ROWS);
        let mut bytes = 0;
        for block in &self.blocks {
            out.clear();
            block.append_to(column, 0..block.rows(), &mut out);
            bytes += out.view().values().len();
        }
        bytes
    }

    /// Reads the integers of a column; 0 if it has none, else their bytes.
    pub fn read_ints(&self, column: usize) -> usize {
        let mut ints = [0; BLOCK_ROWS];
        let read = |block: &EncodedBlock| block.ints(column, 0..block.rows(), &mut ints[..block.rows()]);
        let mut read = read;
        let blocks = self.blocks.iter().filter(|block| read(block));
        blocks.map(|block| block.rows() * size_of::<i64>()).sum()
    }

    /// Builds a row of some columns.
    pub fn read_row(&self, row: usize, columns: &[usize], out: &mut RowBuilder) {
        out.start(columns.len());
        let block = &self.blocks[row / BLOCK_ROWS];
        columns.iter().for_each(|column| block.push_to(*column, row % BLOCK_ROWS, out));
    }
}

/// Reads every value of a block in every way.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn read_all(block: &EncodedBlock, types: &[PgType]) {
    let rows = block.rows();
    let some: Vec<u16> =
        (0..rows).step_by(3).map(|row| u16::try_from(row).expect("below BLOCK_ROWS")).collect();
    let mut value = Vec::new();
    for (column, pg_type) in types.iter().enumerate() {
        for row in 0..rows {
            value.clear();
            let _ = (block.value(column, row, &mut value), block.int(column, row));
        }
        let mut out = ColumnBuf::with_capacity(*pg_type, 0, 0);
        block.append_to(column, 0..rows, &mut out);
        block.gather_to(column, &some, &mut out);
        let _ = out.freeze().array().is_ok();
        let _ = block.ints(column, 0..rows, &mut vec![0; rows]);
        let _ = block.floats(column, 0..rows, &mut vec![0.0; rows]);
        let _ = block.codes(column, 0..rows, &mut vec![0; rows]);
        let mut rows_left = vec![u64::MAX; BLOCK_ROWS / 64];
        let test = crate::filter::FloatTest::Range { low: -1.5, high: 1e9, nan: true };
        let _ = block.retain_ints(column, -7, 1 << 20, &mut rows_left);
        let _ = block.retain_floats(column, &test, &mut rows_left);
        let bound = |number: i64| std::ops::Bound::Excluded(crate::types::Numeric::from(number));
        let _ = block.retain_numerics(
            column,
            (&bound(-7), &bound(1 << 40)),
            |_| true,
            &mut rows_left,
            &mut Vec::new(),
        );
        let _ = (block.valid(column), block.is_constant(column), block.int_lower_bound(column, 0..rows, 7));
    }
}

#[cfg(any(test, feature = "fuzz"))]
const FUZZ_TYPES: [PgType; 12] = [
    PgType::Int8,
    PgType::Bool,
    PgType::Int2,
    PgType::Int4,
    PgType::Float4,
    PgType::Float8,
    PgType::Numeric(None),
    PgType::Text,
    PgType::Bytea,
    PgType::Date,
    PgType::Interval,
    PgType::Uuid,
];

/// Any bytes as tables and a block: columns u8, rows u16, bytes of tables u16; for each column type u8, offset u16 and
/// bytes u16 of its section; then the tables and the block. Decoding answers with an error, or with something that can be
/// read without a panic.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz(input: &[u8]) {
    let Some(([columns, head @ ..], rest)) = input.split_first_chunk::<5>() else { return };
    let number = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let (rows, tables_bytes) = (1 + number(&head[..2]) % BLOCK_ROWS, number(&head[2..]));
    let columns = usize::from(*columns) % 8 + 1;
    let Some((heads, rest)) = rest.split_at_checked(columns * 5) else { return };
    let Some((tables, bytes)) = rest.split_at_checked(tables_bytes) else { return };
    let types: Vec<PgType> =
        heads.chunks_exact(5).map(|head| FUZZ_TYPES[usize::from(head[0]) % FUZZ_TYPES.len()]).collect();
    let section =
        |head: &[u8]| Section { offset: number(&head[1..]) as u32, bytes: number(&head[3..]) as u32 };
    let sections: Vec<Section> = heads.chunks_exact(5).map(section).collect();
    let Ok(tables) = Tables::decode(tables, &types) else { return };
    if let Ok(block) = EncodedBlock::decode(Rc::from(bytes), &sections, rows, &types, &Rc::new(tables)) {
        read_all(&block, &types);
    }
}
