//! The ends of a segment's versions as the manifest keeps them: packed pieces, each the increment of one change or
//! several merged ones. Two to seven bytes for each end, where a deletion vector that can be searched takes more.
//!
//! Invariant: a piece is more than twice as large as the next, or both together hold more than [`PIECE_ENDS_MAX`]. So a
//! state that is written piece by piece and read again has the same pieces.

use std::rc::Rc;

use crate::segment::Position;
use crate::stamp::Stamp;

use super::format::{Malformed, Reader, put_varint};

/// Ends in one piece, unless they came in one change: merging two takes less than a millisecond.
const PIECE_ENDS_MAX: usize = 32 << 10;

/// Ends of versions, by position; of several for the same position the last counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SavedEnds {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    ends: usize,
    packed: Rc<[u8]>,
}

impl SavedEnds {
    /// These ends alone, positions rising.
    pub fn new(entries: &[(Position, Stamp)]) -> SavedEnds {
        let mut saved = SavedEnds::default();
        saved.add(entries);
        saved
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let packed: usize = self.pieces.iter().map(|piece| piece.packed.len()).sum();
        packed + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Adds ends, positions rising.
    pub(super) fn add(&mut self, entries: &[(Position, Stamp)]) {
        if entries.is_empty() {
            return;
        }
        self.pieces.push(Piece::pack(entries));
        while let [.., before, last] = self.pieces.as_slice() {
            if last.ends * 2 < before.ends || last.ends + before.ends > PIECE_ENDS_MAX {
                return;
            }
            let merged = merge(&before.unpack(), &last.unpack());
            self.pieces.truncate(self.pieces.len() - 2);
            self.pieces.push(Piece::pack(&merged));
        }
    }

    /// All ends, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Stamp)> + '_ {
        self.pieces().flatten()
    }

    /// The pieces, oldest first, positions rising in each.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<(Position, Stamp)>> + '_ {
        self.pieces.iter().map(Piece::unpack)
    }
}

impl Piece {
    fn pack(entries: &[(Position, Stamp)]) -> Piece {
        let mut packed = Vec::new();
        pack(entries, &mut packed);
        Piece { ends: entries.len(), packed: packed.into() }
    }

    fn unpack(&self) -> Vec<(Position, Stamp)> {
        unpack(&mut Reader(&self.packed), self.ends).expect("packed by `pack`")
    }
}

/// All ends of both, positions rising; of those for one position, the later.
fn merge(before: &[(Position, Stamp)], later: &[(Position, Stamp)]) -> Vec<(Position, Stamp)> {
    let mut merged = Vec::with_capacity(before.len() + later.len());
    let mut rest = later.iter().peekable();
    for end in before {
        while let Some(next) = rest.next_if(|next| next.0 < end.0) {
            merged.push(*next);
        }
        if rest.peek().is_none_or(|next| next.0 != end.0) {
            merged.push(*end);
        }
    }
    merged.extend(rest);
    merged
}

/// Appends ends as distances to the position and stamp before.
///
/// # Panics
/// If positions do not rise.
pub fn pack(entries: &[(Position, Stamp)], out: &mut Vec<u8>) {
    let mut before: Option<(u32, u64)> = None;
    for (Position(position), stamp) in entries {
        let stamp = stamp.to_bits();
        let (distance, difference) = match before {
            None => (*position, stamp as i64),
            Some((last, last_stamp)) => {
                assert!(*position > last, "positions of deletions rise");
                (*position - last, stamp.wrapping_sub(last_stamp) as i64)
            }
        };
        put_varint(out, u64::from(distance));
        put_varint(out, (difference << 1 ^ difference >> 63) as u64);
        before = Some((*position, stamp));
    }
}

/// Inverse of [`pack`] for `count` ends, which are no more than the bytes can hold.
///
/// # Errors
/// What is wrong with the bytes.
pub fn unpack(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(Position, Stamp)>, Malformed> {
    let mut entries = Vec::with_capacity(count);
    let (mut position, mut stamp) = (0u64, 0u64);
    for index in 0..count {
        let distance = reader.varint()?;
        position = position.checked_add(distance).ok_or("a position of more than 32 bits")?;
        if index > 0 && distance == 0 {
            return Err("positions of deletions do not rise");
        }
        let zigzag = reader.varint()?;
        stamp = stamp.wrapping_add(zigzag >> 1 ^ (zigzag & 1).wrapping_neg());
        let narrow = u32::try_from(position).map_err(|_| "a position of more than 32 bits")?;
        entries.push((Position(narrow), Stamp::from_bits(stamp)));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::env::Rng;

    #[test]
    fn many_increments_stay_few_pieces() {
        let mut saved = SavedEnds::default();
        let (mut model, mut rng) = (BTreeMap::new(), Rng::new(3));
        for _ in 0..400 {
            let stamp = Stamp::from_bits(rng.next_u64() >> 8);
            let added: BTreeMap<_, _> =
                (0..rng.below(200)).map(|_| (Position(rng.below(50_000) as u32), stamp)).collect();
            model.extend(added.clone());
            saved.add(&added.into_iter().collect::<Vec<_>>());
        }
        assert_eq!(saved.iter().collect::<BTreeMap<_, _>>(), model);
        assert!(saved.pieces.len() < 20, "{} pieces", saved.pieces.len());
        let mut again = SavedEnds::default();
        saved.pieces().for_each(|piece| again.add(&piece));
        assert_eq!(again, saved);
        assert!(saved.size_bytes() < model.len() * 16);
    }
}
