//! The block cache of one core: decoded blocks within a budget of bytes, replaced by S3-FIFO (Yang et al., "FIFO queues
//! are all you need for cache eviction", SOSP 2023).
//!
//! A new block waits in a small queue; only if it is asked for again before it leaves that queue, or soon after, does it
//! move to the main queue. So a scan of a large table passes through the small queue and leaves the rest alone.
//!
//! Invariants: each cached block stands in exactly one queue, once; the bytes counted are those of the blocks held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use super::SegmentId;
use super::block::Block;
use super::format::BlockId;

/// Uses of a block that are remembered, as in the paper.
const USES_MAX: u8 = 3;
/// The small queue may take one part in this many of the budget, as in the paper.
const SMALL_PART: usize = 10;

#[derive(Debug)]
struct Entry {
    block: Rc<Block>,
    uses: Cell<u8>,
    in_main: bool,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<BlockId, Entry>,
    small: VecDeque<BlockId>,
    main: VecDeque<BlockId>,
    /// Blocks that left the small queue unused, oldest first; and the same as a set.
    ghosts: VecDeque<BlockId>,
    ghost_set: HashSet<BlockId>,
    small_bytes: usize,
    main_bytes: usize,
    bytes_max: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct BlockCache {
    inner: RefCell<Inner>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

impl BlockCache {
    /// An empty cache that holds at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> BlockCache {
        BlockCache { inner: RefCell::new(Inner { bytes_max, ..Inner::default() }), ..BlockCache::default() }
    }

    /// Bytes of the blocks it holds.
    pub fn size_bytes(&self) -> usize {
        let inner = self.inner.borrow();
        inner.small_bytes + inner.main_bytes
    }

    /// Most bytes that it holds.
    pub(crate) fn bytes_max(&self) -> usize {
        self.inner.borrow().bytes_max
    }

    /// Changes the budget.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        let mut inner = self.inner.borrow_mut();
        inner.bytes_max = bytes_max;
        inner.evict();
    }

    /// Forgets the blocks of a segment that is gone.
    pub fn forget(&self, segment: SegmentId) {
        self.inner.borrow_mut().forget(segment);
    }

    /// Blocks that were found, and blocks that had to be read.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }

    /// A block, if it is here.
    pub(super) fn get(&self, id: BlockId) -> Option<Rc<Block>> {
        let inner = self.inner.borrow();
        let entry = inner.entries.get(&id)?;
        entry.uses.set((entry.uses.get() + 1).min(USES_MAX));
        self.hits.set(self.hits.get() + 1);
        Some(Rc::clone(&entry.block))
    }

    /// Whether a block is here.
    pub(super) fn contains(&self, id: BlockId) -> bool {
        self.inner.borrow().entries.contains_key(&id)
    }

    /// Adds a block that was read.
    pub(super) fn insert(&self, id: BlockId, block: Rc<Block>) {
        self.misses.set(self.misses.get() + 1);
        let mut inner = self.inner.borrow_mut();
        inner.insert(id, block);
        inner.evict();
    }
}

impl BlockCache {
    /// Adds a block that a scan has read: always if `keep`, else only if there is room, so that nothing goes for it.
    pub(super) fn insert_scanned(&self, id: BlockId, block: &Rc<Block>, keep: bool) {
        let fits = {
            let inner = self.inner.borrow();
            inner.small_bytes + inner.main_bytes + block.size_bytes() <= inner.bytes_max
        };
        if keep || fits {
            self.insert(id, Rc::clone(block));
        } else {
            self.misses.set(self.misses.get() + 1);
        }
    }
}

impl Inner {
    fn insert(&mut self, id: BlockId, block: Rc<Block>) {
        if self.entries.contains_key(&id) {
            // Two readers missed it at the same time.
            return;
        }
        let in_main = self.ghost_set.remove(&id);
        let (queue, bytes) = if in_main {
            (&mut self.main, &mut self.main_bytes)
        } else {
            (&mut self.small, &mut self.small_bytes)
        };
        queue.push_back(id);
        *bytes += block.size_bytes();
        self.entries.insert(id, Entry { block, uses: Cell::new(0), in_main });
    }

    fn evict(&mut self) {
        while self.small_bytes + self.main_bytes > self.bytes_max {
            if self.small_bytes > self.bytes_max / SMALL_PART || self.main.is_empty() {
                self.evict_small();
            } else {
                self.evict_main();
            }
        }
    }

    fn evict_small(&mut self) {
        let Some(id) = self.small.pop_front() else { return };
        let entry = self.entries.get_mut(&id).expect("queues hold cached blocks");
        let bytes = entry.block.size_bytes();
        self.small_bytes -= bytes;
        if entry.uses.replace(0) > 0 {
            entry.in_main = true;
            self.main.push_back(id);
            self.main_bytes += bytes;
        } else {
            self.entries.remove(&id);
            self.remember(id);
        }
    }

    fn evict_main(&mut self) {
        let Some(id) = self.main.pop_front() else { return };
        let entry = &self.entries[&id];
        if entry.uses.get() > 0 {
            entry.uses.set(entry.uses.get() - 1);
            self.main.push_back(id);
        } else {
            self.main_bytes -= entry.block.size_bytes();
            self.entries.remove(&id);
        }
    }

    /// Keeps as many names of blocks that left as there are blocks, but always some.
    fn remember(&mut self, id: BlockId) {
        const GHOSTS_MIN: usize = 64;
        if self.ghost_set.insert(id) {
            self.ghosts.push_back(id);
        }
        while self.ghosts.len() > self.entries.len().max(GHOSTS_MIN) {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_set.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, segment: SegmentId) {
        let keep = |id: &BlockId| id.segment != segment;
        self.small.retain(keep);
        self.main.retain(keep);
        self.ghosts.retain(keep);
        self.ghost_set.retain(keep);
        let (mut small_bytes, mut main_bytes) = (0, 0);
        self.entries.retain(|id, entry| {
            let gone = if entry.in_main { &mut main_bytes } else { &mut small_bytes };
            *gone += if keep(id) { 0 } else { entry.block.size_bytes() };
            keep(id)
        });
        self.small_bytes -= small_bytes;
        self.main_bytes -= main_bytes;
    }
}
