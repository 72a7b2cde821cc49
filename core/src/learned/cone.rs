//! A piecewise-linear model of rising `u64` keys, built in one pass by a shrinking cone (the FITing-tree's method).
//!
//! A piece begins at a key and says position = start + slope * (key - first key). All slopes that keep every key of the
//! piece within epsilon form a cone, which shrinks with each key; when nothing is left of it, a new piece begins.
//!
//! Invariants: the guess rises with the key, whatever the key; the error bounds hold for every key, present or absent,
//! because building measures both ends of every gap, and between them both sides are monotone. Searches check the window
//! that the model names and widen it, so that a model from a damaged file costs time and never an answer.
//!
//! Differences of keys are taken in `u64` before they become floats: above 2^53 keys that differ are equal as floats.
//!
//! Encoding, little-endian: magic `"cone"` u32 | keys u32 | below u32 | above u32 | pieces u32 | then for each piece
//! first key u64, start u32, slope f32. 20 + 16 * pieces bytes.

use super::search::{branchless_lower_bound, branchless_upper_bound, window_partition_point};

/// Largest part of the keys that one piece may cover: a slope of 24 bits then errs by at most a quarter of a position.
const PIECE_KEYS_MAX: u32 = 1 << 22;

const MAGIC: u32 = u32::from_le_bytes(*b"cone");
const HEADER_BYTES: usize = 20;
const PIECE_BYTES: usize = 16;

/// Every `STRIDE`-th first key stands in the upper level, which stays in the processor's cache.
const STRIDE: usize = 64;

/// What one piece adds to a key's distance from its first key.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Line {
    start: u32,
    slope: f32,
}

/// A model of rising keys. Sixteen bytes a piece, and a 64th of eight for the upper level.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// First keys of the pieces, strictly rising.
    firsts: Vec<u64>,
    /// One for each piece, and one more that says where the last one ends.
    lines: Vec<Line>,
    /// Every `STRIDE`-th of `firsts`, from the first.
    upper: Vec<u64>,
    keys: u32,
    /// A position is at most `below` beneath its guess and at most `above` over it.
    below: u32,
    above: u32,
}

/// The slopes that one piece may still have.
struct Cone {
    key: u64,
    start: u32,
    least: f64,
    most: f64,
}

impl Cone {
    fn new(key: u64, start: u32) -> Cone {
        Cone { key, start, least: 0.0, most: f64::INFINITY }
    }

    /// Takes a point in, unless no slope would be left.
    fn take(&mut self, key: u64, position: u32, epsilon: f64) -> bool {
        let run = (key - self.key) as f64;
        let rise = f64::from(position - self.start);
        let (least, most) = ((rise - epsilon) / run, (rise + epsilon) / run);
        let fits = self.least <= most && least <= self.most && position - self.start <= PIECE_KEYS_MAX;
        if fits {
            self.least = self.least.max(least);
            self.most = self.most.min(most);
        }
        fits
    }

    fn line(&self) -> Line {
        let slope = if self.most.is_finite() { (self.least + self.most) / 2.0 } else { 0.0 };
        Line { start: self.start, slope: slope as f32 }
    }
}

/// The points that a model of positions must go through: each distinct key with its first position, and the key after one
/// that repeats, which is where its repetitions end.
fn for_each_point(keys: impl Iterator<Item = u64>, mut point: impl FnMut(u64, u32)) -> u32 {
    let mut last: Option<(u64, u32)> = None;
    let mut position = 0;
    for key in keys {
        match last {
            Some((before, _)) if before == key => {}
            Some((before, first)) => {
                assert!(before < key, "keys do not rise");
                if position - first > 1 && key - before > 1 {
                    point(before + 1, position);
                }
                point(key, position);
                last = Some((key, position));
            }
            None => {
                point(key, position);
                last = Some((key, position));
            }
        }
        position = u32::checked_add(position, 1).expect("fewer than 2^32 keys");
    }
    if let Some((before, first)) = last
        && position - first > 1
        && before < u64::MAX
    {
        point(before + 1, position);
    }
    position
}

impl Model {
    /// A model of keys that rise (equal ones may follow each other), within about epsilon positions; `error` has the
    /// exact bound.
    ///
    /// # Panics
    /// If the keys fall, or are 2^32 or more.
    pub fn build(keys: impl Iterator<Item = u64> + Clone, epsilon: u32) -> Model {
        let epsilon = f64::from(epsilon);
        let (mut firsts, mut lines) = (Vec::new(), Vec::new());
        let mut cone: Option<Cone> = None;
        let count = for_each_point(keys.clone(), |key, position| {
            let fits = cone.as_mut().is_some_and(|cone| cone.take(key, position, epsilon));
            if !fits && let Some(full) = cone.replace(Cone::new(key, position)) {
                firsts.push(full.key);
                lines.push(full.line());
            }
        });
        if let Some(last) = cone {
            firsts.push(last.key);
            lines.push(last.line());
        }
        lines.push(Line { start: count, slope: 0.0 });
        firsts.shrink_to_fit();
        lines.shrink_to_fit();
        let mut model = Model::of(firsts, lines, count, 0, 0);
        model.measure(keys);
        model
    }

    fn of(firsts: Vec<u64>, lines: Vec<Line>, keys: u32, below: u32, above: u32) -> Model {
        let upper = firsts.iter().step_by(STRIDE).copied().collect();
        Model { firsts, lines, upper, keys, below, above }
    }

    /// Sets the error bounds to what they are: the guess is tried at both ends of every gap between keys.
    fn measure(&mut self, keys: impl Iterator<Item = u64>) {
        let (mut below, mut above) = (0, 0);
        let mut check = |guess: u32, position: u32| {
            below = below.max(guess.saturating_sub(position));
            above = above.max(position.saturating_sub(guess));
        };
        let mut piece = 0;
        let mut guess_at = |key: u64| {
            while self.firsts.get(piece + 1).is_some_and(|first| *first <= key) {
                piece += 1;
            }
            self.guess_in(piece, key)
        };
        let mut last: Option<u64> = None;
        let mut position = 0;
        for key in keys {
            if last != Some(key) {
                if let Some(before) = last
                    && key - before > 1
                {
                    check(guess_at(before + 1), position);
                }
                check(guess_at(key), position);
                last = Some(key);
            }
            position += 1;
        }
        if let Some(after) = last.and_then(|last| last.checked_add(1)) {
            check(guess_at(after), position);
            check(guess_at(u64::MAX), position);
        }
        (self.below, self.above) = (below, above);
    }

    fn guess_in(&self, piece: usize, key: u64) -> u32 {
        let (line, end) = (self.lines[piece], self.lines[piece + 1].start);
        let distance = key.saturating_sub(self.firsts[piece]) as f64;
        let rise = (distance * f64::from(line.slope) + 0.5) as u32;
        line.start.saturating_add(rise).min(end)
    }

    /// The piece of a key: the last that begins at or before it, or the first.
    fn piece_of(&self, key: u64) -> usize {
        let chunk = branchless_upper_bound(&self.upper, key).saturating_sub(1) * STRIDE;
        let end = self.firsts.len().min(chunk + STRIDE);
        (chunk + branchless_upper_bound(&self.firsts[chunk..end], key)).saturating_sub(1)
    }

    /// About how many keys are below this one; never more than there are keys, and never falling as keys rise.
    pub fn position(&self, key: u64) -> usize {
        if self.firsts.is_empty() {
            return 0;
        }
        self.guess_in(self.piece_of(key), key) as usize
    }

    /// Where the first key lies that is not below this one: `low <= position <= high`.
    pub fn window(&self, key: u64) -> (usize, usize) {
        let guess = self.position(key);
        let high = guess.saturating_add(self.above as usize).min(self.keys as usize);
        (guess.saturating_sub(self.below as usize), high)
    }

    /// How many of the `count` keys are below this one. `is_below(n)` says whether the n-th is, true for the first keys
    /// and false from some key on. Right even if the model is not that of these keys.
    pub fn partition_point(&self, count: usize, key: u64, is_below: impl Fn(usize) -> bool) -> usize {
        let (low, high) = self.window(key);
        window_partition_point(count, low, high, is_below)
    }

    /// How many of the keys, those that it was built from, are below this one.
    pub fn lower_bound(&self, keys: &[u64], key: u64) -> usize {
        let (low, high) = self.window(key);
        let Some(window) = keys.get(low..high) else {
            return self.partition_point(keys.len(), key, |index| keys[index] < key);
        };
        let found = low + branchless_lower_bound(window, key);
        let is_low = found == low && low > 0 && keys[low - 1] >= key;
        let is_high = found == high && keys.get(high).is_some_and(|next| *next < key);
        if is_low || is_high {
            return self.partition_point(keys.len(), key, |index| keys[index] < key);
        }
        found
    }

    /// Most positions that a guess is off.
    pub fn error(&self) -> usize {
        self.below.max(self.above) as usize
    }

    /// Keys that it was built from.
    pub fn key_count(&self) -> usize {
        self.keys as usize
    }

    /// Pieces.
    pub fn piece_count(&self) -> usize {
        self.firsts.len()
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let firsts = (self.firsts.capacity() + self.upper.capacity()) * size_of::<u64>();
        size_of::<Self>() + firsts + self.lines.capacity() * size_of::<Line>()
    }

    /// As bytes, for a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pieces = u32::try_from(self.firsts.len()).expect("at most one piece for two keys");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.firsts.len() * PIECE_BYTES);
        for word in [MAGIC, self.keys, self.below, self.above, pieces] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for (first, line) in self.firsts.iter().zip(&self.lines) {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&line.start.to_le_bytes());
            bytes.extend_from_slice(&line.slope.to_le_bytes());
        }
        bytes
    }

    /// The model that `to_bytes` wrote. Any bytes give an error or a model that can be asked anything.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, &'static str> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("a model without a header")?;
        let word = |index: usize| {
            u32::from_le_bytes(header[index * 4..][..4].try_into().expect("four bytes of the header"))
        };
        let [magic, keys, below, above, pieces] = [0, 1, 2, 3, 4].map(word);
        if magic != MAGIC {
            return Err("not a model");
        }
        if (pieces as usize).checked_mul(PIECE_BYTES) != Some(rest.len()) {
            return Err("a model of another length");
        }
        let (mut firsts, mut lines) = (Vec::new(), Vec::new());
        firsts.reserve_exact(pieces as usize);
        lines.reserve_exact(pieces as usize + 1);
        while let Some((first, after)) = rest.split_first_chunk::<8>() {
            let (start, after) = after.split_first_chunk::<4>().ok_or("half a piece")?;
            let (slope, after) = after.split_first_chunk::<4>().ok_or("half a piece")?;
            firsts.push(u64::from_le_bytes(*first));
            lines.push(Line { start: u32::from_le_bytes(*start), slope: f32::from_le_bytes(*slope) });
            rest = after;
        }
        lines.push(Line { start: keys, slope: 0.0 });
        let is_rising = firsts.is_sorted_by(|a, b| a < b) && lines.is_sorted_by(|a, b| a.start <= b.start);
        let is_line = |line: &Line| line.slope.is_finite() && line.slope >= 0.0;
        if !is_rising || !lines.iter().all(is_line) || lines[0].start != 0 {
            return Err("a model whose pieces do not rise");
        }
        if below > keys || above > keys || firsts.is_empty() != (keys == 0) {
            return Err("a model with an impossible bound");
        }
        Ok(Model::of(firsts, lines, keys, below, above))
    }
}

#[cfg(test)]
mod tests;
