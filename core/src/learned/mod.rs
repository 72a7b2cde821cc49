//! What is learned from the distribution of keys: where a key lies, how many lie below it, how to sort.
//!
//! - [`cone`]: key -> position, piecewise linear, with a measured error bound; above the fences of segments.
//! - [`choose`]: whether a model pays for these keys.
//! - [`sort`]: a sort that puts each key near its place at once, by the distribution of a sample.
//!
//! The distribution of a table's keys needs no model of its own: the fences of segments are points of it, a block of rows
//! apart, from which `Segment::estimate_rows` and `Segment::split_points` read estimates and split points.
//!
//! Invariant: nothing here decides what is found. A model names a place to look first; searches check it.
//!
//! Sources: A. Galakatos et al., "FITing-Tree", SIGMOD 2019 (the shrinking cone); P. Ferragina and G. Vinciguerra, "The
//! PGM-index", VLDB 2020 (the point after a repeated key).

pub mod cone;
mod nearly;
pub mod search;
pub mod sort;

pub use cone::Model;

/// How the rows of a table's segments are found: `CREATE TABLE .. WITH (index = ..)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IndexKind {
    /// By a model where it pays.
    #[default]
    Auto,
    /// By a model wherever the key's bytes can be seen as a number.
    Learned,
    /// By binary search.
    Binary,
}

/// What is known of the fences of a segment and of a model of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statistics {
    /// Numbers that the model was built from.
    pub keys: usize,
    /// How many of them differ.
    pub distinct: usize,
    /// Pieces of the model.
    pub pieces: usize,
    /// Its error.
    pub error: usize,
}

impl Statistics {
    /// Of rising keys and their model.
    pub fn of(keys: &[u64], model: &Model) -> Statistics {
        let distinct =
            keys.windows(2).filter(|pair| pair[0] != pair[1]).count() + usize::from(!keys.is_empty());
        Statistics { keys: keys.len(), distinct, pieces: model.piece_count(), error: model.error() }
    }
}

/// Whether a model finds one of these keys sooner than a binary search does.
///
/// Measured, one lookup waiting for the other (`perf/src/bin/learned.rs`, fences of real keys): a search of up to 4,096
/// keys takes 28 ns, of 64 Ki 66 ns, of 200 Ki, which leave the second cache, 204 ns. A model takes 22 ns, and about as
/// long for each halving of its pieces and of its window as the search takes for one of the keys. So it has to save
/// halvings: 8 of them among 4 Ki keys (uniform keys: 1.3 times as fast from 9,766 fences; /24 routes of 12,628 fences,
/// which save 5: 0.9 times), 5 among 32 Ki, 2 beyond 128 Ki (z-order keys: 1.2 times from 255,018 fences).
pub fn choose(of: Statistics) -> bool {
    let halvings = |n: usize| f64::from(u32::try_from(n.max(1)).unwrap_or(u32::MAX)).log2();
    let saved = halvings(of.keys) - halvings(of.pieces) - halvings(2 * of.error + 1);
    let wanted = match of.keys {
        0..4_096 => return false,
        4_096..32_768 => 8.0,
        32_768..131_072 => 5.0,
        131_072.. => 2.0,
    };
    // Numbers that often repeat do not tell keys apart: what the model finds would have to be searched again.
    saved >= wanted && of.distinct * 10 >= of.keys * 9
}

impl IndexKind {
    /// All kinds.
    pub const ALL: [IndexKind; 3] = [IndexKind::Auto, IndexKind::Learned, IndexKind::Binary];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            IndexKind::Auto => "auto",
            IndexKind::Learned => "learned",
            IndexKind::Binary => "binary",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_chosen_where_they_pay() {
        let chosen = |keys: &[u64]| choose(Statistics::of(keys, &Model::build(keys.iter().copied(), 2)));
        let straight: Vec<u64> = (0..10_000).map(|n| n * 1_024).collect();
        assert!(chosen(&straight));
        assert!(!chosen(&straight[..4_000]), "few");
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 20
        };
        let mut rough: Vec<u64> = (0..10_000).map(|_| random() << (random() % 20)).collect();
        rough.sort_unstable();
        assert!(!chosen(&rough), "many pieces");
        let repeated: Vec<u64> = (0..200_000).map(|n| n / 50).collect();
        assert!(!chosen(&repeated), "equal numbers");
        assert!(!chosen(&[]));
    }
}
