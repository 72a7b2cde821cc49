//! Runs parts of expressions over texts: sets of places in the code are the states, which are made when they are first
//! needed and kept while there is room.
//!
//! Whether a part ends at a place depends on the next character, so that is told by the step over it.

use std::collections::HashMap;
use std::rc::Rc;

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::nfa::{Code, Inst, Kind, Machine};
use super::{Id, Result};

/// Most that the states of one expression take: 2 MiB.
const WORDS_MAX: usize = 512 * 1024;
/// A step that is not known yet.
const UNKNOWN: u32 = u32::MAX;
/// The state that nothing follows.
const DEAD: u32 = 0;

/// Which way a part is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    pub(super) backwards: bool,
    /// Whether it may begin anywhere, or only where the run does.
    pub(super) anywhere: bool,
}

impl Way {
    pub(super) const FORWARD: Way = Way { backwards: false, anywhere: false };
    pub(super) const BACKWARD: Way = Way { backwards: true, anywhere: false };

    fn number(self) -> usize {
        usize::from(self.backwards) * 2 + usize::from(self.anywhere)
    }
}

/// What all runs of an expression have learned.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// By part and way.
    dfas: Vec<Option<Dfa>>,
    words: usize,
    /// How often there was no room and all was forgotten.
    cleared: u64,
    closure: Closure,
}

#[derive(Debug, Default)]
struct Dfa {
    /// What was read last, and the places in the code.
    states: Vec<(Kind, Rc<[u32]>)>,
    known: HashMap<(u8, Rc<[u32]>), u32>,
    /// By state and symbol: twice the next state, and one more if the part ends in front of the symbol.
    steps: Vec<u32>,
    starts: [Option<u32>; 4],
}

/// A set of places in the code that is being made.
#[derive(Debug, Default)]
struct Closure {
    marks: Vec<u32>,
    turn: u32,
    places: Vec<u32>,
    stack: Vec<usize>,
}

impl Closure {
    fn begin(&mut self, len: usize) {
        if self.marks.len() < len || self.turn == u32::MAX {
            self.marks = vec![0; len];
            self.turn = 0;
        }
        self.turn += 1;
        self.places.clear();
    }

    /// Adds a place and all that is reached from it without a character or a condition.
    fn add(&mut self, insts: &[Inst], exit: usize, place: usize) {
        self.stack.push(place);
        while let Some(at) = self.stack.pop() {
            if std::mem::replace(&mut self.marks[at], self.turn) == self.turn {
                continue;
            }
            match &insts[at] {
                _ if at == exit => self.places.push(index(at)),
                Inst::Jump(next) => self.stack.push(*next),
                Inst::Split(left, right) => self.stack.extend([*left, *right]),
                Inst::Set(_) | Inst::At(_) | Inst::Look(_) => self.places.push(index(at)),
            }
        }
    }
}

/// Codes have fewer than 2^32 places, and so have states.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What stands at a place in a text.
#[derive(Clone, Copy)]
struct Symbol {
    /// `None` at the end of the way.
    class: Option<usize>,
    kind: Kind,
    /// The lookarounds that hold there.
    looks: u8,
}

/// A part to be run over a text.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) machine: &'a Machine,
    pub(super) part: Id,
    pub(super) way: Way,
    pub(super) text: &'a str,
    /// Which lookarounds hold at each byte of the text; empty if there are none.
    pub(super) looks: &'a [u8],
    /// How many there are.
    pub(super) look_count: usize,
}

impl Run<'_> {
    fn code(&self) -> &Code {
        if self.way.backwards { &self.machine.backward } else { &self.machine.forward }
    }

    fn stride(&self) -> usize {
        (self.machine.firsts.len() + 1) << self.look_count
    }

    fn number(&self, symbol: Symbol) -> usize {
        let classes = self.machine.firsts.len();
        symbol.class.unwrap_or(classes) + usize::from(symbol.looks) * (classes + 1)
    }

    /// The next character of the way.
    #[inline]
    fn next(&self, at: usize) -> Option<char> {
        if self.way.backwards { self.text[..at].chars().next_back() } else { self.text[at..].chars().next() }
    }

    fn kind(&self, c: Option<char>) -> Kind {
        if self.machine.has_places { Kind::of(c) } else { Kind::Other }
    }

    fn symbol(&self, at: usize, c: Option<char>) -> Symbol {
        let class = c.map(|c| self.machine.class_of(c));
        Symbol { class, kind: self.kind(c), looks: self.looks.get(at).copied().unwrap_or(0) }
    }

    /// The number of the symbol at a place, and the place behind it.
    #[inline]
    fn read(&self, at: usize) -> (usize, usize) {
        let bytes = self.text.as_bytes();
        let ahead = if self.way.backwards { at.checked_sub(1) } else { Some(at) };
        let byte = ahead.and_then(|ahead| bytes.get(ahead)).copied();
        let (class, next) = match byte {
            Some(byte) if byte < 128 => {
                let next = if self.way.backwards { at - 1 } else { at + 1 };
                (usize::from(self.machine.ascii[usize::from(byte)]), next)
            }
            _ => match self.next(at) {
                Some(c) if self.way.backwards => (self.machine.class_of(c), at - c.len_utf8()),
                Some(c) => (self.machine.class_of(c), at + c.len_utf8()),
                None => (self.machine.firsts.len(), at),
            },
        };
        let looks = if self.looks.is_empty() { 0 } else { usize::from(self.looks[at]) };
        (class + looks * (self.machine.firsts.len() + 1), next)
    }

    /// Runs the part between two places and tells each where it ends until that answers true.
    ///
    /// # Errors
    /// 54000 if no steps are left.
    pub(super) fn run(
        &self,
        cache: &mut Cache,
        steps_left: &mut u64,
        (from, to): (usize, usize),
        mut ends_at: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let stride = self.stride();
        let before = if self.way.backwards {
            self.text[from..].chars().next()
        } else {
            self.text[..from].chars().next_back()
        };
        let mut state = cache.start(self, self.kind(before));
        let mut at = from;
        let mut steps = 0;
        let mut dfa = cache.dfa(self);
        loop {
            let (symbol, next) = self.read(at);
            let mut step = dfa.steps[state as usize * stride + symbol];
            steps += 1;
            if step == UNKNOWN {
                spend(steps_left, std::mem::take(&mut steps))?;
                step = cache.step(self, state, self.symbol(at, self.next(at)), steps_left)?;
                dfa = cache.dfa(self);
            }
            if (step & 1 == 1 && ends_at(at)) || at == to || step >> 1 == DEAD {
                break;
            }
            (state, at) = (step >> 1, next);
        }
        spend(steps_left, steps)
    }
}

/// Counts work.
///
/// # Errors
/// 54000 if it is too much.
pub(super) fn spend(left: &mut u64, steps: u64) -> Result<()> {
    *left = left.checked_sub(steps).ok_or_else(|| {
        let message = "regular expression needs too much work for a text of this length";
        ValueError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
    })?;
    Ok(())
}

impl Cache {
    fn dfa(&mut self, run: &Run<'_>) -> &mut Dfa {
        let number = run.part * 4 + run.way.number();
        if self.dfas.len() <= number {
            self.dfas.resize_with(number + 1, || None);
        }
        self.dfas[number].get_or_insert_with(Dfa::default)
    }

    fn start(&mut self, run: &Run<'_>, kind: Kind) -> u32 {
        if let Some(state) = self.dfa(run).starts[kind as usize] {
            return state;
        }
        let (code, span) = (run.code(), run.code().spans[run.part]);
        self.closure.begin(code.insts.len());
        self.closure.add(&code.insts, span.exit, span.entry);
        let state = self.intern(run, kind);
        self.dfa(run).starts[kind as usize] = Some(state);
        state
    }

    /// The number of the state that the closure holds.
    fn intern(&mut self, run: &Run<'_>, kind: Kind) -> u32 {
        self.closure.places.sort_unstable();
        let places: Rc<[u32]> = self.closure.places.as_slice().into();
        let key = (kind as u8, Rc::clone(&places));
        if places.is_empty() && !run.way.anywhere {
            self.dfa(run).reserve(run.stride());
            return DEAD;
        }
        if let Some(state) = self.dfa(run).known.get(&key) {
            return *state;
        }
        let stride = run.stride();
        let words = stride + places.len() + 16;
        if self.words + words > WORDS_MAX {
            self.dfas.clear();
            self.words = 0;
            self.cleared += 1;
        }
        self.words += words;
        let dfa = self.dfa(run);
        dfa.reserve(stride);
        let state = index(dfa.states.len());
        dfa.states.push((kind, places));
        dfa.steps.resize(dfa.states.len() * stride, UNKNOWN);
        dfa.known.insert(key, state);
        state
    }

    /// What follows a state, as it is kept in [`Dfa::steps`].
    fn step(&mut self, run: &Run<'_>, state: u32, symbol: Symbol, steps_left: &mut u64) -> Result<u32> {
        let code = run.code();
        let span = code.spans[run.part];
        let (last, places) = self.dfa(run).states[state as usize].clone();
        let (before, after) = if run.way.backwards { (symbol.kind, last) } else { (last, symbol.kind) };
        // What conditions let through.
        self.closure.begin(code.insts.len());
        for place in places.iter() {
            self.closure.marks[*place as usize] = self.closure.turn;
        }
        self.closure.places.extend_from_slice(&places);
        let mut checked = 0;
        while let Some(place) = self.closure.places.get(checked) {
            let place = *place as usize;
            checked += 1;
            let holds = match &code.insts[place] {
                _ if place == span.exit => false,
                Inst::At(condition) => condition.holds(before, after),
                Inst::Look(look) => symbol.looks >> look & 1 == 1,
                _ => false,
            };
            if holds {
                self.closure.add(&code.insts, span.exit, place + 1);
            }
        }
        let ends = self.closure.places.contains(&index(span.exit));
        let reached = std::mem::take(&mut self.closure.places);
        spend(steps_left, (places.len() + reached.len()) as u64 * 2)?;
        self.closure.begin(code.insts.len());
        if let Some(class) = symbol.class {
            let first = run.machine.firsts[class];
            for place in reached {
                match &code.insts[place as usize] {
                    Inst::Set(set) if place as usize != span.exit && set.holds(first) => {
                        self.closure.add(&code.insts, span.exit, place as usize + 1);
                    }
                    _ => {}
                }
            }
            if run.way.anywhere {
                self.closure.add(&code.insts, span.exit, span.entry);
            }
        }
        let cleared = self.cleared;
        let next = if symbol.class.is_some() { self.intern(run, symbol.kind) } else { DEAD };
        let step = next * 2 + u32::from(ends);
        // If there was no room for the next state all others are gone.
        if self.cleared == cleared {
            let at = state as usize * run.stride() + run.number(symbol);
            self.dfa(run).steps[at] = step;
        }
        Ok(step)
    }
}

impl Dfa {
    /// Makes the dead state.
    fn reserve(&mut self, stride: usize) {
        if self.states.is_empty() {
            self.states.push((Kind::Edge, Rc::from([])));
            self.steps.resize(stride, DEAD * 2);
        }
    }
}
