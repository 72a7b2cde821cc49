//! Encodings of the columns of a block. Each is readable at one row in a bounded number of steps.
//!
//! Invariants: what `EncodedBlock::decode` has passed can be read at any row without a panic, whatever the bytes hold:
//! the sizes of all parts are checked there, and what they hold is checked where it is used. What `SegmentEncoder` wrote
//! reads back bit by bit.
//!
//! A column is a section of its block; all numbers are little-endian:
//!
//! | part | bytes |
//! |---|---|
//! | encoding | u8 |
//! | validity | u8: 0 no NULL; 1 all NULL; 2 bits follow, least significant first, 1 = not NULL; 3 the NULLs follow: count u16, rows u16; 4 as of another column: its number u16 |
//! | rest | by encoding |
//!
//! | encoding | rest |
//! |---|---|
//! | 0 raw | the values of fixed size as in memory (`column`) |
//! | 1 raw strings | ends of the strings as integers, then the strings |
//! | 2 integers | integers (`ints`): of integers, dates, times, booleans |
//! | 3 scaled | numerics of one scale: scale u8, odd values, coefficients as integers |
//! | 4 ALP | floats (`alp`): e u8, f u8, odd values, digits as integers |
//! | 5 dictionary | codes of the column's dictionary (`tables`) as integers |
//! | 6 FSST | number of the symbol table u16, ends of the codes as integers, then the codes (`fsst`) |
//! | 7 front | sorted strings (`front`) |
//! | 8 same | the value that all rows have; nothing if all are NULL |
//!
//! Odd values do not fit among their neighbours: count u16, rows u16 (rising), the values in their full size.
//!
//! Choosing: the size of every plausible way to write the integers of a block is computed from the differences that would
//! be packed (`fit`), and the smallest is taken. Dictionaries and symbols begin where a block promises that they pay
//! (`shared`). Which columns follow from others is searched for in a few blocks of a segment, and what was found is
//! computed in each block beside the column's own encodings unless it is as good as when it was found (`plan`).

mod alp;
mod between;
mod bits;
mod block;
mod bulk;
mod encoder;
mod fit;
mod front;
mod fsst;
mod images;
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
pub(crate) use values::is_int;

/// Where a column lies in its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    /// From the start of the block; a multiple of 8.
    pub(crate) offset: u32,
    /// Without padding.
    pub(crate) bytes: u32,
}
