//! An expression as two automata, one that reads forwards and one that reads backwards.
//!
//! The code of a part is one piece of the whole: whoever begins at its entry leaves it at its exit only. So any part can be
//! run alone. Counted repetitions are written out; [`CODE_MAX`] bounds them all together.

use super::{Id, Node, Place, Program, Result, Set, too_complex};
use std::rc::Rc;

/// Most instructions of both automata: PostgreSQL's limit is of this order.
const CODE_MAX: usize = 100_000;
/// Most classes of characters, times what can be known of lookarounds.
const CLASSES_MAX: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) enum Inst {
    /// A character of a set, then the next instruction.
    Set(Rc<Set>),
    Split(usize, usize),
    Jump(usize),
    At(Place),
    Look(usize),
}

/// Where the code of a part is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) entry: usize,
    pub(super) exit: usize,
}

/// One automaton.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    pub(super) insts: Vec<Inst>,
    /// Of those parts that may be run alone.
    pub(super) spans: Vec<Span>,
}

/// What a character is to conditions on places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// None: the text begins or ends.
    Edge,
    Line,
    Word,
    Other,
}

impl Kind {
    pub(super) fn of(c: Option<char>) -> Kind {
        match c {
            None => Kind::Edge,
            Some('\n') => Kind::Line,
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => Kind::Word,
            Some(_) => Kind::Other,
        }
    }
}

impl Place {
    pub(super) fn holds(self, before: Kind, after: Kind) -> bool {
        let (left, right) = (before == Kind::Word, after == Kind::Word);
        match self {
            Place::TextStart => before == Kind::Edge,
            Place::TextEnd => after == Kind::Edge,
            Place::LineStart => matches!(before, Kind::Edge | Kind::Line),
            Place::LineEnd => matches!(after, Kind::Edge | Kind::Line),
            Place::WordStart => !left && right,
            Place::WordEnd => left && !right,
            Place::Boundary => left != right,
            Place::NoBoundary => left == right,
        }
    }
}

/// Both automata, and classes of characters that they do not tell apart.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) forward: Code,
    pub(super) backward: Code,
    /// The first character of each class, rising.
    pub(super) firsts: Vec<char>,
    pub(super) ascii: [u16; 128],
    /// Whether there are conditions on places.
    pub(super) has_places: bool,
    /// Whether it matches at the beginning of a text only.
    pub(super) is_anchored: bool,
    /// What its matches may begin with.
    pub(super) begins: [bool; 128],
    /// Whether it may match nothing.
    pub(super) begins_empty: bool,
}

impl Machine {
    /// # Errors
    /// 2201B if it would be too large.
    pub(super) fn new(program: &Program) -> Result<Machine> {
        let mut budget = CODE_MAX;
        let forward = Writer::write(program, false, &mut budget)?;
        let backward = Writer::write(program, true, &mut budget)?;
        let has_places = program.parts.iter().any(|part| matches!(part.node, Node::At(_)));
        let mut firsts = vec!['\0'];
        for part in &program.parts {
            if let Node::Set(set) = &part.node {
                set.push_firsts(&mut firsts);
            }
        }
        if has_places {
            let mut words = Set::named("word").unwrap_or_default();
            words.add('\n', '\n');
            words.sorted().push_firsts(&mut firsts);
        }
        firsts.sort_unstable();
        firsts.dedup();
        if (firsts.len() + 1) << program.looks.len() > CLASSES_MAX {
            return Err(too_complex());
        }
        let mut machine = Machine {
            forward,
            backward,
            firsts,
            ascii: [0; 128],
            has_places,
            is_anchored: program.is_anchored(program.root),
            begins: [false; 128],
            begins_empty: false,
        };
        for c in '\0'..='\u{7f}' {
            machine.ascii[c as usize] = u16::try_from(machine.class_of(c)).unwrap_or(0);
        }
        machine.find_begins(program.root);
        Ok(machine)
    }

    /// What matches may begin with, whatever the conditions say.
    fn find_begins(&mut self, root: Id) {
        let Span { entry, exit } = self.forward.spans[root];
        let mut seen = vec![false; self.forward.insts.len()];
        let mut stack = vec![entry];
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match &self.forward.insts[at] {
                _ if at == exit => self.begins_empty = true,
                Inst::Set(set) => {
                    let holds = |(c, may): (u8, &mut bool)| *may |= set.holds(char::from(c));
                    (0..).zip(self.begins.iter_mut()).for_each(holds);
                }
                Inst::Split(left, right) => stack.extend([*left, *right]),
                Inst::Jump(next) => stack.push(*next),
                Inst::At(_) | Inst::Look(_) => stack.push(at + 1),
            }
        }
        if self.begins_empty {
            self.begins = [true; 128];
        }
    }

    pub(super) fn class_of(&self, c: char) -> usize {
        self.firsts.partition_point(|first| *first <= c) - 1
    }
}

impl Program {
    /// Whether a part matches at the beginning of a text only.
    fn is_anchored(&self, id: Id) -> bool {
        match &self.parts[id].node {
            Node::At(place) => *place == Place::TextStart,
            Node::Concat(left, right) => {
                self.is_anchored(*left) || (self.is_empty(*left) && self.is_anchored(*right))
            }
            Node::Alt(branches) => branches.iter().all(|branch| self.is_anchored(*branch)),
            Node::Group(_, inner) => self.is_anchored(*inner),
            _ => false,
        }
    }

    fn is_empty(&self, id: Id) -> bool {
        matches!(self.parts[id].node, Node::Empty | Node::At(_) | Node::Look(_))
    }
}

struct Writer<'a> {
    program: &'a Program,
    backwards: bool,
    code: Code,
    /// Whether conditions on places are left out.
    free: bool,
    budget: &'a mut usize,
}

impl Writer<'_> {
    fn write(program: &Program, backwards: bool, budget: &mut usize) -> Result<Code> {
        let code = Code { insts: Vec::new(), spans: vec![Span::default(); program.parts.len()] };
        let mut writer = Writer { program, backwards, code, free: false, budget };
        for look in &program.looks {
            writer.part(look.inner, true)?;
            writer.put(Inst::Jump(0))?;
        }
        writer.part(program.root, true)?;
        // No exit is behind the code.
        writer.put(Inst::Jump(0))?;
        Ok(writer.code)
    }

    fn spend(&mut self) -> Result<()> {
        *self.budget = self.budget.checked_sub(1).ok_or_else(too_complex)?;
        Ok(())
    }

    fn put(&mut self, inst: Inst) -> Result<usize> {
        self.spend()?;
        self.code.insts.push(inst);
        Ok(self.code.insts.len() - 1)
    }

    /// Writes a part; `alone` if it may be run alone.
    fn part(&mut self, id: Id, alone: bool) -> Result<()> {
        self.spend()?;
        let program = self.program;
        let part = &program.parts[id];
        let entry = self.code.insts.len();
        let inside = alone && (part.captures || part.refers);
        match &part.node {
            Node::Empty => {}
            Node::Set(set) => {
                self.put(Inst::Set(Rc::clone(set)))?;
            }
            Node::At(_) | Node::Look(_) if self.free => {}
            Node::At(place) => {
                self.put(Inst::At(*place))?;
            }
            Node::Look(index) => {
                self.put(Inst::Look(*index))?;
            }
            Node::Concat(left, right) => {
                let (first, second) = if self.backwards { (right, left) } else { (left, right) };
                self.part(*first, inside)?;
                self.part(*second, inside)?;
            }
            Node::Alt(branches) => self.branches(branches, inside)?,
            Node::Repeat { inner, min, max } => self.repeat(*inner, *min, *max, inside)?,
            Node::Group(_, inner) => self.part(*inner, inside)?,
            Node::Back { may, min, max, .. } => {
                let free = std::mem::replace(&mut self.free, true);
                self.repeat(*may, *min, *max, false)?;
                self.free = free;
            }
        }
        if alone {
            self.code.spans[id] = Span { entry, exit: self.code.insts.len() };
        }
        Ok(())
    }

    fn branches(&mut self, branches: &[Id], alone: bool) -> Result<()> {
        let mut ends = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            let last = index + 1 == branches.len();
            let split = if last { None } else { Some(self.put(Inst::Split(0, 0))?) };
            self.part(*branch, alone)?;
            ends.push(self.put(Inst::Jump(0))?);
            if let Some(split) = split {
                self.code.insts[split] = Inst::Split(split + 1, self.code.insts.len());
            }
        }
        let end = self.code.insts.len();
        for jump in ends {
            self.code.insts[jump] = Inst::Jump(end);
        }
        Ok(())
    }

    fn repeat(&mut self, inner: Id, min: u32, max: Option<u32>, alone: bool) -> Result<()> {
        let Some(max) = max else {
            for _ in 1..min {
                self.part(inner, alone)?;
            }
            let skip = if min == 0 { Some(self.put(Inst::Split(0, 0))?) } else { None };
            let entry = self.code.insts.len();
            self.part(inner, alone)?;
            let back = self.put(Inst::Split(entry, 0))?;
            self.code.insts[back] = Inst::Split(entry, back + 1);
            if let Some(skip) = skip {
                self.code.insts[skip] = Inst::Split(entry, back + 1);
            }
            return Ok(());
        };
        let mut skips = Vec::new();
        for round in 0..max {
            if round >= min {
                skips.push(self.put(Inst::Split(0, 0))?);
            }
            self.part(inner, alone)?;
        }
        let end = self.code.insts.len();
        for skip in skips {
            self.code.insts[skip] = Inst::Split(skip + 1, end);
        }
        Ok(())
    }
}
