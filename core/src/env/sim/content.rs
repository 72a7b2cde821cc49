//! The bytes of a simulated file, and what becomes of unsynced changes in a power loss.
//!
//! Invariant: `current` is what a running process reads; `durable` is `current` without the changes in `unsynced`.
//! Applying all of `unsynced` to `durable` in order gives `current`, unless a sync has failed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::env::rng::Rng;

/// Bytes that reach the disk together or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// Bytes of a page, the unit of allocation.
pub const PAGE_BYTES: u64 = 4_096;

type Page = [u8; PAGE_BYTES as usize];

/// Sparse bytes. Pages are shared between the current and the durable content until one is changed.
#[derive(Clone, Default)]
pub struct Content {
    size: u64,
    pages: BTreeMap<u64, Rc<Page>>,
}

impl Content {
    /// Bytes in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Pages that take space.
    pub fn page_count(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages that a write to `range` would add.
    pub fn pages_missing(&self, range: Range<u64>) -> u64 {
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        let present = self.pages.range(pages.clone()).count() as u64;
        (pages.end - pages.start) - present
    }

    /// Copies the bytes at `offset` to `out`, as far as there are any; answers how many.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = (out.len() as u64).min(self.size.saturating_sub(offset));
        for (page, within, span) in spans(offset, len) {
            let out = &mut out[span];
            match self.pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[within]),
                None => out.fill(0),
            }
        }
        len as usize
    }

    /// Writes `bytes` at `offset`, growing if needed.
    pub fn write(&mut self, offset: u64, bytes: &[u8], zero_page: &Rc<Page>) {
        for (page, within, span) in spans(offset, bytes.len() as u64) {
            let bytes = &bytes[span];
            if bytes == &zero_page[within.clone()]
                && (within.len() == zero_page.len() || !self.pages.contains_key(&page))
            {
                self.pages.insert(page, Rc::clone(zero_page));
            } else {
                let page = self.pages.entry(page).or_insert_with(|| Rc::clone(zero_page));
                Rc::make_mut(page)[within].copy_from_slice(bytes);
            }
        }
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Cuts or extends.
    pub fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.pages.split_off(&size.div_ceil(PAGE_BYTES));
            let tail = (size % PAGE_BYTES) as usize;
            if let Some(page) = self.pages.get_mut(&(size / PAGE_BYTES)).filter(|_| tail > 0) {
                Rc::make_mut(page)[tail..].fill(0);
            }
        }
        self.size = size;
    }

    /// Flips one bit.
    pub fn flip(&mut self, offset: u64, mask: u8) {
        if let Some(page) = self.pages.get_mut(&(offset / PAGE_BYTES)) {
            Rc::make_mut(page)[(offset % PAGE_BYTES) as usize] ^= mask;
        }
    }

    fn apply(&mut self, change: &Change, zero_page: &Rc<Page>) {
        match change {
            Change::Write { offset, bytes } => self.write(*offset, bytes, zero_page),
            Change::SetSize(size) => self.set_size(*size),
        }
    }
}

/// Cuts `len` bytes at `offset` into (page, range within the page, range within the bytes).
fn spans(offset: u64, len: u64) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done;
        let start = at % PAGE_BYTES;
        let take = (PAGE_BYTES - start).min(len - done);
        let span =
            (at / PAGE_BYTES, start as usize..(start + take) as usize, done as usize..(done + take) as usize);
        done += take;
        Some(span)
    })
}

/// A change of a file.
#[derive(Clone)]
pub enum Change {
    /// Bytes at an offset.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Rc<[u8]>,
    },
    /// A new size.
    SetSize(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A power loss keeps, drops or tears it.
    Open,
    /// Synced, but behind a change that is not.
    Durable,
    /// A failed sync has dropped it; nothing can make it durable any more.
    Lost,
}

struct Unsynced {
    sequence: u64,
    change: Change,
    fate: Fate,
}

/// A file without its names.
pub struct Inode {
    current: Content,
    durable: Content,
    unsynced: Vec<Unsynced>,
    in_flight: Vec<(u64, Change)>,
    sequence: u64,
    zero_page: Rc<Page>,
    /// Open handles.
    pub open_count: u32,
}

impl Inode {
    /// An empty file.
    pub fn new() -> Inode {
        Inode {
            current: Content::default(),
            durable: Content::default(),
            unsynced: Vec::new(),
            in_flight: Vec::new(),
            sequence: 0,
            zero_page: Rc::new([0; PAGE_BYTES as usize]),
            open_count: 0,
        }
    }

    /// A file with this content, all of it durable.
    pub fn with(content: &Content) -> Inode {
        Inode { current: content.clone(), durable: content.clone(), ..Inode::new() }
    }

    /// What a running process sees.
    pub fn current(&self) -> &Content {
        &self.current
    }

    /// Notes a change that the kernel has been asked for. Gives its number.
    pub fn begin(&mut self, change: Change) -> u64 {
        self.sequence += 1;
        self.in_flight.push((self.sequence, change));
        self.sequence
    }

    /// The change is done: readers see it. If `durable`, it survives a power loss.
    pub fn finish(&mut self, id: u64, durable: bool) {
        let change = self.take(id);
        self.current.apply(&change, &self.zero_page);
        self.sequence += 1;
        let fate = if durable { Fate::Durable } else { Fate::Open };
        self.unsynced.push(Unsynced { sequence: self.sequence, change, fate });
        self.settle();
    }

    /// The change failed and has no effect.
    pub fn abandon(&mut self, id: u64) {
        let _ = self.take(id);
    }

    fn take(&mut self, id: u64) -> Change {
        let index = self.in_flight.iter().position(|(n, _)| *n == id).expect("each change ends once");
        self.in_flight.remove(index).1
    }

    /// The number of the last completed change, to hand to [`Inode::sync`] later.
    pub fn mark(&self) -> u64 {
        self.sequence
    }

    /// Makes the changes up to `mark` durable.
    pub fn sync(&mut self, mark: u64) {
        for change in self.unsynced.iter_mut().filter(|c| c.sequence <= mark && c.fate == Fate::Open) {
            change.fate = Fate::Durable;
        }
        self.settle();
    }

    /// The sync failed: some of the changes can never become durable, though readers still see them.
    pub fn fail_sync(&mut self, mark: u64, rng: &mut Rng) {
        for change in self.unsynced.iter_mut().filter(|c| c.sequence <= mark && c.fate == Fate::Open) {
            if rng.one_in(2) {
                change.fate = Fate::Lost;
            }
        }
    }

    /// The last change that was completed can never become durable, though readers still see it.
    pub fn lose_last(&mut self) {
        if let Some(last) = self.unsynced.last_mut().filter(|c| c.fate == Fate::Open) {
            last.fate = Fate::Lost;
        }
    }

    /// Moves the durable changes at the front into the durable content.
    fn settle(&mut self) {
        let open = self.unsynced.iter().position(|c| c.fate == Fate::Open).unwrap_or(self.unsynced.len());
        for change in self.unsynced.drain(..open) {
            if change.fate == Fate::Durable {
                self.durable.apply(&change.change, &self.zero_page);
            }
        }
    }

    /// The process died but the kernel lives: what it was asked for is done or not.
    pub fn kill(&mut self, rng: &mut Rng) {
        for (id, _) in self.in_flight.clone() {
            if rng.one_in(2) { self.finish(id, false) } else { self.abandon(id) }
        }
    }

    /// Power loss: each change that is not durable is kept, dropped or torn.
    pub fn crash(&mut self, rng: &mut Rng) {
        let in_flight = self.in_flight.drain(..).map(|(sequence, change)| Unsynced {
            sequence,
            change,
            fate: Fate::Open,
        });
        let changes: Vec<Unsynced> = self.unsynced.drain(..).chain(in_flight).collect();
        for Unsynced { change, fate, .. } in changes {
            match fate {
                Fate::Durable => self.durable.apply(&change, &self.zero_page),
                Fate::Lost => {}
                Fate::Open => match (rng.below(3), &change) {
                    (0, _) => {}
                    (1, Change::Write { offset, bytes }) => self.tear(*offset, bytes, rng),
                    _ => self.durable.apply(&change, &self.zero_page),
                },
            }
        }
        self.current = self.durable.clone();
        self.open_count = 0;
    }

    /// Writes some sectors only: a prefix, or any.
    fn tear(&mut self, offset: u64, bytes: &[u8], rng: &mut Rng) {
        let sectors = (bytes.len() as u64).div_ceil(SECTOR_BYTES);
        let prefix = rng.one_in(2).then(|| rng.below(sectors + 1));
        for (index, sector) in bytes.chunks(SECTOR_BYTES as usize).enumerate() {
            let index = index as u64;
            if prefix.map_or_else(|| rng.one_in(2), |kept| index < kept) {
                self.durable.write(offset + index * SECTOR_BYTES, sector, &self.zero_page);
            }
        }
    }

    /// Flips one bit, on disk and in memory.
    pub fn flip(&mut self, offset: u64, mask: u8) {
        self.current.flip(offset, mask);
        self.durable.flip(offset, mask);
    }
}
