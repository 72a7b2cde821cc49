//! Deletion vectors: the ends of versions in a segment, kept beside it, because the segment never changes.

use std::collections::BTreeMap;

use super::Position;
use crate::stamp::Stamp;

/// Ends of versions in one segment. What is not in it is live.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeletionVector {
    /// For each block that has any: row in the block and end, rows rising.
    blocks: BTreeMap<u32, Vec<(u16, Stamp)>>,
    len: usize,
}

impl DeletionVector {
    /// Whether every version is live.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Versions that are not live.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The end of a version.
    pub fn get(&self, position: Position) -> Stamp {
        let ends = self.block(position.block());
        let found = ends.binary_search_by_key(&position.row(), |(row, _)| usize::from(*row));
        found.map_or(Stamp::LIVE, |at| ends[at].1)
    }

    /// Sets the end of a version; `Stamp::LIVE` forgets it.
    pub fn set(&mut self, position: Position, end: Stamp) {
        let block = position.block() as u32;
        let row = u16::try_from(position.row()).expect("below BLOCK_ROWS");
        let ends = self.blocks.entry(block).or_default();
        match ends.binary_search_by_key(&row, |(row, _)| *row) {
            Ok(at) if end == Stamp::LIVE => {
                ends.remove(at);
                self.len -= 1;
            }
            Ok(at) => ends[at].1 = end,
            Err(_) if end == Stamp::LIVE => {}
            Err(at) => {
                ends.insert(at, (row, end));
                self.len += 1;
            }
        }
        if ends.is_empty() {
            self.blocks.remove(&block);
        }
    }

    /// The ends in one block, rows rising.
    pub(super) fn block(&self, block: usize) -> &[(u16, Stamp)] {
        u32::try_from(block).ok().and_then(|block| self.blocks.get(&block)).map_or(&[], Vec::as_slice)
    }

    /// All that are not live, positions rising.
    pub fn entries(&self) -> impl Iterator<Item = (Position, Stamp)> + '_ {
        self.blocks.iter().flat_map(|(block, ends)| {
            ends.iter().map(|(row, end)| (Position::new(*block as usize, usize::from(*row)), *end))
        })
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        const NODE_BYTES: usize = 48;
        let entries: usize = self.blocks.values().map(Vec::capacity).sum();
        entries * size_of::<(u16, Stamp)>() + self.blocks.len() * NODE_BYTES
    }
}
