//! Encodings of the columns of a block. Each is readable at one row in a bounded number of steps.
//!
//! Invariants: what `EncodedBlock::decode` has passed can be read at any row without a panic, whatever the bytes hold;
//! what `SegmentEncoder` wrote reads back bit by bit.

mod alp;
mod bits;
mod block;
mod bulk;
mod encoder;
mod fit;
mod front;
mod fsst;
mod ints;
mod invert;
mod plan;
pub mod probe;
mod shared;
mod tables;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use block::EncodedBlock;
pub(crate) use encoder::SegmentEncoder;
pub(crate) use tables::{DictionaryId, Tables};

/// Where a column lies in its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    /// From the start of the block; a multiple of 8.
    pub(crate) offset: u32,
    /// Without padding.
    pub(crate) bytes: u32,
}
