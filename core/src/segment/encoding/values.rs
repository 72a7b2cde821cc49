//! What values of the types are made of.

use std::ops::Range;

use super::ints::{Cursor, count_to, u16_at};
use crate::types::PgType;

/// Whether values are integers, dates or times.
pub(crate) fn is_int(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Date
            | PgType::Time
            | PgType::Timestamp
            | PgType::Timestamptz
    )
}

/// The integer of a value of an integer-like type.
pub(super) fn int_of(pg_type: PgType, bytes: &[u8]) -> Option<i64> {
    Some(match pg_type {
        PgType::Int2 => i64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
        PgType::Int4 | PgType::Date => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        _ if is_int(pg_type) => i64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// The float of 4 or 8 bytes.
pub(super) fn float_of(bytes: &[u8]) -> f64 {
    match (bytes.try_into(), bytes.try_into()) {
        (Ok(bytes), _) => f64::from_le_bytes(bytes),
        (_, Ok(bytes)) => f64::from(f32::from_le_bytes(bytes)),
        _ => 0.0,
    }
}

/// Values that do not fit among their neighbours: count u16, rows u16 (rising), then the values in their full size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odd {
    count: u16,
    rows: u32,
    values: u32,
    size: u16,
}

impl Odd {
    pub(super) fn decode(cursor: &mut Cursor<'_>, size: usize) -> Option<Odd> {
        let count = cursor.u16()?;
        let rows = cursor.take_at(usize::from(count) * 2)?;
        let values = cursor.take_at(usize::from(count) * size)?;
        Some(Odd { count, rows, values, size: u16::try_from(size).ok()? })
    }

    pub(super) fn encode(rows: &[u16], values: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&u16::try_from(rows.len()).expect("below BLOCK_ROWS").to_le_bytes());
        rows.iter().for_each(|row| out.extend_from_slice(&row.to_le_bytes()));
        out.extend_from_slice(values);
    }

    fn value<'a>(&self, bytes: &'a [u8], index: usize) -> &'a [u8] {
        let size = usize::from(self.size);
        let at = self.values as usize + index * size;
        &bytes[at..at + size]
    }

    /// The value of a row, if it is odd.
    #[inline]
    pub(super) fn find<'a>(&self, bytes: &'a [u8], row: usize) -> Option<&'a [u8]> {
        if self.count == 0 {
            return None;
        }
        let index = count_to(bytes, self.rows, self.count, row).checked_sub(1)?;
        (u16_at(bytes, self.rows, index) == row).then(|| self.value(bytes, index))
    }

    /// Those of some rows: how many rows behind the first, and the value.
    pub(super) fn each<'a>(
        &self,
        bytes: &'a [u8],
        range: Range<usize>,
    ) -> impl Iterator<Item = (usize, &'a [u8])> {
        let this = *self;
        (0..usize::from(this.count)).filter_map(move |index| {
            let row = u16_at(bytes, this.rows, index);
            range.contains(&row).then(|| (row - range.start, this.value(bytes, index)))
        })
    }
}
