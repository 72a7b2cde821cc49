//! The writer's side.

use super::Section;
use crate::column::{ColumnView, Layout};
use crate::types::PgType;

/// Encodes the blocks of a segment, and keeps what they share.
#[derive(Debug)]
pub(crate) struct SegmentEncoder {
    types: Vec<PgType>,
}

impl SegmentEncoder {
    /// An encoder of columns of these types.
    pub(crate) fn new(types: &[PgType]) -> SegmentEncoder {
        SegmentEncoder { types: types.to_vec() }
    }

    /// Appends the sections of a block that begins at `out[start]`, and says where they are.
    pub(crate) fn encode(
        &mut self,
        columns: &[ColumnView<'_>],
        rows: usize,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Vec<Section> {
        assert_eq!(columns.len(), self.types.len(), "a column for each type");
        let mut sections = Vec::with_capacity(columns.len());
        for (column, pg_type) in columns.iter().zip(&self.types) {
            out.resize(start + (out.len() - start).next_multiple_of(8), 0);
            let at = out.len();
            encode_raw(column, *pg_type, rows, out);
            let offset = |bytes: usize| u32::try_from(bytes).expect("a block is below 4 GiB");
            sections.push(Section { offset: offset(at - start), bytes: offset(out.len() - at) });
        }
        sections
    }

    /// What the blocks share, for the footer.
    pub(crate) fn tables(&self) -> Vec<u8> {
        Vec::new()
    }
}

fn encode_raw(column: &ColumnView<'_>, pg_type: PgType, rows: usize, out: &mut Vec<u8>) {
    out.push(u8::from(column.valid().is_some()));
    if let Some(valid) = column.valid() {
        out.extend_from_slice(&valid[..rows.div_ceil(8)]);
    }
    match Layout::of(pg_type) {
        Layout::Bits => out.extend_from_slice(&column.values()[..rows.div_ceil(8)]),
        Layout::Fixed(size) => out.extend_from_slice(&column.values()[..rows * size]),
        Layout::Bytes => {
            let offsets = &column.offsets()[..=rows];
            let first = offsets[0];
            offsets.iter().for_each(|offset| out.extend_from_slice(&(offset - first).to_le_bytes()));
            out.extend_from_slice(&column.values()[first as usize..offsets[rows] as usize]);
        }
    }
}
