//! What the blocks of a segment share.

use super::super::format::Detail;
use crate::types::PgType;

/// A dictionary of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DictionaryId(pub(crate) u16);

/// What the blocks of a segment share, as readers need it.
#[derive(Debug, Default)]
pub(crate) struct Tables {}

impl Tables {
    /// Inverse of `SegmentEncoder::tables`.
    ///
    /// # Errors
    /// If the bytes are not tables of columns of these types.
    pub(crate) fn decode(bytes: &[u8], _types: &[PgType]) -> Result<Tables, Detail> {
        if bytes.is_empty() { Ok(Tables {}) } else { Err("malformed tables") }
    }

    /// Bytes of memory.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Tables>()
    }

    /// How many values a dictionary has.
    pub(crate) fn dictionary_len(&self, _id: DictionaryId) -> usize {
        0
    }

    /// The value of a code as `row.rs` encodes it; empty beyond the last.
    pub(crate) fn dictionary_value(&self, _id: DictionaryId, _code: u32) -> &[u8] {
        &[]
    }
}
