//! Finds the longest or shortest match from a place and takes it apart.
//!
//! A match is taken apart from left to right, where every part gets as much or as little as it likes and the rest allows.
//! Whether the rest allows it, a run over it tells, so nothing is tried in vain unless back references are against it.

use std::collections::HashSet;

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::dfa::{Run, Way, spend};
use super::{Captures, Id, Node, Program, Regex, Result, Taste};

/// Steps that each text is worth: tens of milliseconds.
pub(super) const STEPS_BASE: u64 = 4_000_000;
/// Steps that each of its bytes is worth, however many there are: a few runs over the text.
const STEPS_PER_BYTE: u64 = 16;
/// Steps that each of its bytes is worth besides, up to a limit: no text costs more than half a second and those runs.
const STEPS_PER_BYTE_MORE: u64 = 1_024;
const STEPS_MORE_MAX: u64 = 16_000_000;

/// An expression being looked for in a text.
pub(crate) struct Search<'a> {
    regex: &'a Regex,
    text: &'a str,
    /// Which lookarounds hold at each byte; empty if there are none.
    looks: Vec<u8>,
    /// Where matches begin, one bit for each byte, if that had to be known.
    begins: Option<Vec<u64>>,
    steps_left: u64,
    groups: Captures,
}

/// What a run over a text found.
#[derive(Clone, Copy)]
enum Ends {
    First,
    Last,
    All,
}

impl<'a> Search<'a> {
    /// Prepares a text.
    ///
    /// # Errors
    /// 54000 if that takes too long.
    pub(crate) fn new(regex: &'a Regex, text: &'a str) -> Result<Search<'a>> {
        let len = text.len() as u64;
        let more = (STEPS_PER_BYTE_MORE * len).min(STEPS_MORE_MAX);
        let steps_left = STEPS_BASE + STEPS_PER_BYTE * len + more;
        let mut search =
            Search { regex, text, looks: Vec::new(), begins: None, steps_left, groups: Vec::new() };
        let looks = &search.program().looks;
        if !looks.is_empty() {
            search.looks = vec![0; text.len() + 1];
            for (index, look) in looks.iter().enumerate() {
                let bit = 1 << index;
                let mut found = vec![if look.negated { bit } else { 0 }; text.len() + 1];
                let way = Way { backwards: !look.behind, anywhere: true };
                let range = if look.behind { (0, text.len()) } else { (text.len(), 0) };
                search.run(look.inner, way, range, |at| {
                    found[at] ^= bit;
                    false
                })?;
                search.looks.iter_mut().zip(found).for_each(|(looks, found)| *looks |= found);
            }
        }
        Ok(search)
    }

    fn program(&self) -> &'a Program {
        &self.regex.ready.program
    }

    /// Where a match may begin at all, from what it must begin with.
    fn may_begin(&self, at: usize) -> bool {
        let machine = &self.regex.ready.machine;
        match self.text.as_bytes().get(at) {
            _ if machine.is_anchored && at > 0 => false,
            Some(byte) if *byte < 128 => machine.begins[usize::from(*byte)],
            Some(_) => true,
            None => machine.begins_empty,
        }
    }

    fn run(
        &mut self,
        part: Id,
        way: Way,
        range: (usize, usize),
        ends_at: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let ready = &self.regex.ready;
        let looks = self.looks.as_slice();
        let look_count = ready.program.looks.len();
        let run = Run { machine: &ready.machine, part, way, text: self.text, looks, look_count };
        run.run(&mut ready.cache.borrow_mut(), &mut self.steps_left, range, ends_at)
    }

    /// Where a part that begins at a place may end, rising.
    fn ends(&mut self, part: Id, (from, to): (usize, usize), which: Ends) -> Result<Vec<usize>> {
        let mut ends = Vec::new();
        self.run(part, Way::FORWARD, (from, to), |at| {
            if matches!(which, Ends::Last) {
                ends.clear();
            }
            ends.push(at);
            matches!(which, Ends::First)
        })?;
        Ok(ends)
    }

    fn fits(&mut self, part: Id, range: (usize, usize)) -> Result<bool> {
        Ok(self.ends(part, range, Ends::Last)? == [range.1])
    }

    /// Whether there is a match.
    ///
    /// # Errors
    /// 54000 if finding it takes too long.
    pub(crate) fn is_match(&mut self) -> Result<bool> {
        if self.program().parts[self.program().root].refers {
            return Ok(self.captures_at(0, false)?.is_some());
        }
        self.exists(0)
    }

    /// Whether a match begins at or behind a place, were it not for back references.
    fn exists(&mut self, from: usize) -> Result<bool> {
        let mut found = false;
        let anchored = self.regex.ready.machine.is_anchored;
        if anchored && from > 0 {
            return Ok(false);
        }
        let way = Way { backwards: false, anywhere: !anchored };
        self.run(self.program().root, way, (from, self.text.len()), |_| {
            found = true;
            true
        })?;
        Ok(found)
    }

    /// The first match at or behind a place; its groups only if they are asked for.
    ///
    /// # Errors
    /// 54000 if finding it takes too long.
    pub(crate) fn captures_at(&mut self, from: usize, told: bool) -> Result<Option<Captures>> {
        /// Steps in vain for each byte before places where matches begin are looked for.
        const VAIN_MAX: u64 = 4;
        let program = self.program();
        let root = &program.parts[program.root];
        let which = match root.taste {
            _ if root.refers => Ends::All,
            Some(Taste::Shortest) => Ends::First,
            _ => Ends::Last,
        };
        if from > self.text.len() || !self.exists(from)? {
            return Ok(None);
        }
        let before = self.steps_left;
        let mut next = Some(from);
        while let Some(start) = next {
            if !self.may_begin(start) {
                next = self.begin_behind(start);
                continue;
            }
            let mut ends = self.ends(program.root, (start, self.text.len()), which)?;
            if root.taste != Some(Taste::Shortest) {
                ends.reverse();
            }
            for end in ends {
                self.groups = vec![None; program.groups + 1];
                if (!told && !root.refers) || self.take_apart(program.root, start, end)? {
                    self.groups[0] = Some((start, end));
                    return Ok(Some(std::mem::take(&mut self.groups)));
                }
            }
            if before - self.steps_left > VAIN_MAX * (start - from) as u64 + 1_000 {
                self.find_begins()?;
            }
            next = self.begin_behind(start);
        }
        Ok(None)
    }

    /// The next place where a match may begin.
    fn begin_behind(&self, start: usize) -> Option<usize> {
        let next = start + self.text[start..].chars().next()?.len_utf8();
        let Some(begins) = &self.begins else { return Some(next) };
        let mut word = next / 64;
        let mut bits = begins.get(word)? & (u64::MAX << (next % 64));
        while bits == 0 {
            word += 1;
            bits = *begins.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    fn find_begins(&mut self) -> Result<()> {
        if self.begins.is_none() {
            let mut begins = vec![0_u64; self.text.len() / 64 + 1];
            let way = Way { backwards: true, anywhere: true };
            self.run(self.program().root, way, (self.text.len(), 0), |at| {
                begins[at / 64] |= 1 << (at % 64);
                false
            })?;
            self.begins = Some(begins);
        }
        Ok(())
    }

    /// Tells the groups of a part that matches from start to end; false if a back reference is against it.
    fn take_apart(&mut self, id: Id, start: usize, end: usize) -> Result<bool> {
        let program = self.program();
        let part = &program.parts[id];
        if !part.captures && !part.refers {
            return Ok(true);
        }
        spend(&mut self.steps_left, 1)?;
        match &part.node {
            Node::Group(group, inner) => {
                let fits = self.take_apart(*inner, start, end)?;
                if let Some(group) = group.filter(|_| fits) {
                    self.groups[group] = Some((start, end));
                }
                Ok(fits)
            }
            Node::Concat(left, right) => {
                for middle in self.middles(*left, *right, (start, end))? {
                    let before = self.saved(part.refers)?;
                    if self.take_apart(*left, start, middle)? && self.take_apart(*right, middle, end)? {
                        return Ok(true);
                    }
                    only_if(part.refers)?;
                    self.groups.clone_from(&before);
                }
                Ok(false)
            }
            Node::Alt(branches) => {
                for branch in branches {
                    if !self.fits(*branch, (start, end))? {
                        continue;
                    }
                    let before = self.saved(part.refers)?;
                    if self.take_apart(*branch, start, end)? {
                        return Ok(true);
                    }
                    only_if(part.refers)?;
                    self.groups.clone_from(&before);
                }
                Ok(false)
            }
            Node::Repeat { inner, min, max } => {
                if *min == 0 && start == end {
                    // A round of nothing is told if there can be one and as much as possible is liked.
                    let before = self.saved(true)?;
                    let likes = program.parts[*inner].taste != Some(Taste::Shortest);
                    if !(likes && self.fits(*inner, (start, end))? && self.take_apart(*inner, start, end)?) {
                        self.groups.clone_from(&before);
                    }
                    return Ok(true);
                }
                if max.is_none() && !part.refers {
                    let (start, end) = self.last_round(id, *inner, (start, end))?;
                    self.forget(*inner);
                    return self.take_apart(*inner, start, end);
                }
                let (min, max) = ((*min).max(1) as usize, max.map(|max| max as usize));
                self.rounds(&Rounds { inner: *inner, min, max, end }, start)
            }
            Node::Back { group, min, max, .. } => {
                Ok(self.repeats(*group, *min, *max, &self.text[start..end]))
            }
            _ => Ok(true),
        }
    }

    /// What the groups hold, if they may have to hold that again.
    fn saved(&mut self, refers: bool) -> Result<Captures> {
        if !refers {
            return Ok(Vec::new());
        }
        spend(&mut self.steps_left, self.groups.len() as u64)?;
        Ok(self.groups.clone())
    }

    /// Whether a text is what a group holds, so many times.
    fn repeats(&self, group: usize, min: u32, max: Option<u32>, part: &str) -> bool {
        let Some((from, to)) = self.groups[group] else { return false };
        let held = &self.text.as_bytes()[from..to];
        if held.is_empty() || part.is_empty() {
            return part.is_empty() && (held.is_empty() || min == 0);
        }
        let count = part.len() / held.len();
        let enough = count >= min as usize && max.is_none_or(|max| count <= max as usize);
        let same =
            |part: &[u8]| part == held || (self.program().ignore_case && part.eq_ignore_ascii_case(held));
        enough && part.len().is_multiple_of(held.len()) && part.as_bytes().chunks(held.len()).all(same)
    }

    /// Where the left part may end and the right one begin, the best first; without back references only that.
    fn middles(&mut self, left: Id, right: Id, (start, end): (usize, usize)) -> Result<Vec<usize>> {
        let parts = &self.program().parts;
        let (longest, refers) =
            (parts[left].taste != Some(Taste::Shortest), parts[left].refers || parts[right].refers);
        let mut lefts = self.ends(left, (start, end), Ends::All)?;
        let mut middles = Vec::new();
        let lowest = lefts.first().copied().unwrap_or(end);
        self.run(right, Way::BACKWARD, (end, lowest), |at| {
            while lefts.last().is_some_and(|left| *left > at) {
                lefts.pop();
            }
            if lefts.last() == Some(&at) {
                middles.push(at);
            }
            longest && !refers && !middles.is_empty()
        })?;
        if !longest {
            middles.reverse();
        }
        if !refers {
            middles.truncate(1);
        }
        Ok(middles)
    }

    /// The last round of a repetition without back references or a limit, where each ends where it likes best of those
    /// places from which others reach the end.
    fn last_round(&mut self, all: Id, inner: Id, (start, end): (usize, usize)) -> Result<(usize, usize)> {
        let shortest = self.program().parts[inner].taste == Some(Taste::Shortest);
        let mut reaches = vec![false; end - start + 1];
        self.run(all, Way::BACKWARD, (end, start), |at| {
            reaches[at - start] = true;
            false
        })?;
        let mut at = start;
        loop {
            let mut next = None;
            self.run(inner, Way::FORWARD, (at, end), |to| {
                let fits = to > at && reaches[to - start];
                next = if fits { Some(to) } else { next };
                fits && shortest
            })?;
            match next {
                Some(next) if next < end => at = next,
                _ => return Ok((at, end)),
            }
        }
    }

    /// Chooses where the rounds of a repetition end, then takes them apart.
    fn rounds(&mut self, round: &Rounds, start: usize) -> Result<bool> {
        let inner = &self.program().parts[round.inner];
        let shortest = inner.taste == Some(Taste::Shortest);
        // Where the rounds end; for each place, where the round that begins there could end and was not tried.
        let mut places = vec![start];
        let mut untried: Vec<Vec<usize>> = Vec::new();
        // How many rounds came to a place in vain: without back references it stays in vain.
        let mut vain = HashSet::new();
        loop {
            let at = places[places.len() - 1];
            let done = places.len() - 1;
            let mut ends = Vec::new();
            let count = if round.max.is_some() { done } else { done.min(round.min) };
            if at == round.end && done > 0 {
                // As in PostgreSQL no round of nothing follows here, even if there are not enough.
                if done >= round.min && self.take_rounds_apart(round, &places)? {
                    return Ok(true);
                }
            } else if round.max.is_none_or(|max| done < max) && (inner.refers || vain.insert((count, at))) {
                ends = self.ends(round.inner, (at, round.end), Ends::All)?;
                // A round of nothing counts only where there are too few characters for those that are needed.
                let needed = round.min.saturating_sub(done + 1);
                let may_be_empty = at == round.end
                    || (needed > 0 && needed >= self.text[at..round.end].chars().take(needed + 1).count());
                ends.retain(|next| *next != at || may_be_empty);
                if shortest {
                    ends.reverse();
                }
            }
            untried.push(ends);
            // The round goes on with the next end, or else an earlier one does.
            while let Some(ends) = untried.last_mut() {
                if let Some(next) = ends.pop() {
                    places.push(next);
                    break;
                }
                untried.pop();
                places.pop();
            }
            if places.is_empty() {
                return Ok(false);
            }
        }
    }

    fn take_rounds_apart(&mut self, round: &Rounds, places: &[usize]) -> Result<bool> {
        // Only the last round is told; what the others hold can only be against it.
        let refers = self.program().parts[round.inner].refers;
        let from = if refers { 0 } else { places.len() - 2 };
        let before = self.saved(refers)?;
        spend(&mut self.steps_left, (places.len() - from) as u64)?;
        for pair in places[from..].windows(2) {
            self.forget(round.inner);
            if !self.take_apart(round.inner, pair[0], pair[1])? {
                only_if(refers)?;
                self.groups.clone_from(&before);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Groups inside of a part hold nothing.
    fn forget(&mut self, id: Id) {
        let program = self.program();
        if !program.parts[id].captures {
            return;
        }
        match &program.parts[id].node {
            Node::Concat(left, right) => [left, right].into_iter().for_each(|part| self.forget(*part)),
            Node::Alt(branches) => branches.iter().for_each(|part| self.forget(*part)),
            Node::Repeat { inner, .. } => self.forget(*inner),
            Node::Group(group, inner) => {
                if let Some(group) = group {
                    self.groups[*group] = None;
                }
                self.forget(*inner);
            }
            _ => {}
        }
    }
}

/// Only back references may be against what runs over the parts have said to match.
fn only_if(refers: bool) -> Result<()> {
    let broken = || ValueError::new(SqlState::INTERNAL_ERROR, "a match cannot be taken apart");
    if refers { Ok(()) } else { Err(broken()) }
}

/// A repetition that is taken apart.
struct Rounds {
    inner: Id,
    min: usize,
    max: Option<usize>,
    end: usize,
}
