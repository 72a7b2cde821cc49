//! A piecewise-linear model of rising `u64` keys, built in one pass by a shrinking cone (the FITing-tree's method).
//!
//! A piece begins at a key and says position = start + slope * (key - first key). All slopes that keep every key of the
//! piece within epsilon form a cone, which shrinks with each key; when nothing is left of it, a new piece begins.
//!
//! Invariants: the guess rises with the key, whatever the key; the error bounds hold for every key, present or absent,
//! because building measures both ends of every gap, and between them both sides are monotone. Searches check the window
//! that the model names and widen it, so that a model of other keys costs time and never an answer.
//!
//! Differences of keys are taken in `u64` before they become floats: above 2^53 keys that differ are equal as floats.
//!
//! Models are not stored: building one takes some nanoseconds a key, and fences are there when a segment is opened.

use super::search::window_partition_point;

/// Largest part of the keys that one piece may cover: a slope of 24 bits then errs by at most a quarter of a position.
const PIECE_KEYS_MAX: u32 = 1 << 22;

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
        let chunk = self.upper.partition_point(|first| *first <= key).saturating_sub(1) * STRIDE;
        let end = self.firsts.len().min(chunk + STRIDE);
        (chunk + self.firsts[chunk..end].partition_point(|first| *first <= key)).saturating_sub(1)
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
        let found = low + window.partition_point(|found| *found < key);
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
}

#[cfg(test)]
mod tests;
