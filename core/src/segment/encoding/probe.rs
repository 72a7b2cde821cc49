//! Reads encoded blocks in every way, for fuzzing.

use super::EncodedBlock;
use crate::column::ColumnBuf;
use crate::types::PgType;

/// Reads every value of a block in every way.
pub(crate) fn read_all(block: &EncodedBlock, types: &[PgType]) {
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
        let _ = (block.valid(column), block.is_constant(column), block.int_lower_bound(column, 0..rows, 7));
    }
}
