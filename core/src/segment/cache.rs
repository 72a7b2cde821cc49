//! The block cache of one core: blocks as they stand in the file, within a budget of bytes, replaced by S3-FIFO (Yang et
//! al., "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! A new block waits in a small queue; only if it is asked for again before it leaves that queue, or soon after, does it
//! move to the main queue. So a scan of a large table passes through the small queue and leaves the rest alone; one of a
//! table that is larger than the cache adds nothing but what there is room for.
//!
//! A hit is a look in a small table of segments, which stays in the processor's cache, and one in an array of blocks.
//!
//! Invariants: each cached block stands in exactly one queue, once; the bytes counted are those of the blocks held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::{HashMap, HashSet};

use super::SegmentId;
use super::block::Block;

/// Uses of a block that are remembered, as in the paper.
const USES_MAX: u8 = 3;
/// The small queue may take one part in this many of the budget, as in the paper.
const SMALL_PART: usize = 10;

/// One product: ids are given in order, not by anyone who could make them collide.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0.rotate_left(32) ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn finish(&self) -> u64 {
        // The table takes its index from the low bits, the product mixes upwards.
        self.0.rotate_left(26)
    }
}

type IdHash = BuildHasherDefault<IdHasher>;

/// The place of a block in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Slot {
    /// The segment.
    pub(super) segment: SegmentId,
    /// Unique in the segment; these numbers lie close together.
    pub(super) number: u32,
}

#[derive(Debug)]
struct Entry {
    block: Block,
    uses: Cell<u8>,
    in_main: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the number of the block; as long as the last block that was cached needs.
    segments: HashMap<SegmentId, Vec<Option<Entry>>, IdHash>,
    blocks: usize,
    small: VecDeque<Slot>,
    main: VecDeque<Slot>,
    /// Blocks that left the small queue unused, oldest first; and the same as a set.
    ghosts: VecDeque<Slot>,
    ghost_set: HashSet<Slot, IdHash>,
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
    pub(super) fn get(&self, id: Slot) -> Option<Block> {
        self.with(id, Block::clone)
    }

    /// Calls with a block, if it is here: no copy of it is made.
    #[inline]
    pub(super) fn with<T>(&self, id: Slot, then: impl FnOnce(&Block) -> T) -> Option<T> {
        let inner = self.inner.borrow();
        let entry = inner.entry(id)?;
        entry.uses.set((entry.uses.get() + 1).min(USES_MAX));
        self.hits.set(self.hits.get() + 1);
        Some(then(&entry.block))
    }

    /// Whether a block is here.
    pub(super) fn contains(&self, id: Slot) -> bool {
        self.inner.borrow().entry(id).is_some()
    }

    /// Adds a block that was read.
    pub(super) fn insert(&self, id: Slot, block: Block) {
        self.misses.set(self.misses.get() + 1);
        let mut inner = self.inner.borrow_mut();
        inner.insert(id, block);
        inner.evict();
    }
}

impl BlockCache {
    /// Adds a block that a scan has read: always if `keep`, else only if there is room, so that nothing goes for it.
    pub(super) fn insert_scanned(&self, id: Slot, block: &Block, keep: bool) {
        let fits = {
            let inner = self.inner.borrow();
            inner.small_bytes + inner.main_bytes + block.size_bytes() <= inner.bytes_max
        };
        if keep || fits {
            self.insert(id, block.clone());
        } else {
            self.misses.set(self.misses.get() + 1);
        }
    }
}

impl Inner {
    #[inline]
    fn entry(&self, id: Slot) -> Option<&Entry> {
        self.segments.get(&id.segment)?.get(id.number as usize)?.as_ref()
    }

    fn insert(&mut self, id: Slot, block: Block) {
        let slots = self.segments.entry(id.segment).or_default();
        let number = id.number as usize;
        if slots.len() <= number {
            slots.resize_with(number + 1, || None);
        }
        if slots[number].is_some() {
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
        slots[number] = Some(Entry { block, uses: Cell::new(0), in_main });
        self.blocks += 1;
    }

    fn remove(&mut self, id: Slot) {
        let slot = self.segments.get_mut(&id.segment).and_then(|slots| slots.get_mut(id.number as usize));
        self.blocks -= usize::from(slot.and_then(Option::take).is_some());
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
        let slots = self.segments.get_mut(&id.segment).expect("queues hold cached blocks");
        let entry = slots[id.number as usize].as_mut().expect("queues hold cached blocks");
        let bytes = entry.block.size_bytes();
        self.small_bytes -= bytes;
        if entry.uses.replace(0) > 0 {
            entry.in_main = true;
            self.main.push_back(id);
            self.main_bytes += bytes;
        } else {
            self.remove(id);
            self.remember(id);
        }
    }

    fn evict_main(&mut self) {
        let Some(id) = self.main.pop_front() else { return };
        let entry = self.entry(id).expect("queues hold cached blocks");
        if entry.uses.get() > 0 {
            entry.uses.set(entry.uses.get() - 1);
            self.main.push_back(id);
        } else {
            self.main_bytes -= entry.block.size_bytes();
            self.remove(id);
        }
    }

    /// Keeps as many names of blocks that left as there are blocks, but always some.
    fn remember(&mut self, id: Slot) {
        const GHOSTS_MIN: usize = 64;
        if self.ghost_set.insert(id) {
            self.ghosts.push_back(id);
        }
        while self.ghosts.len() > self.blocks.max(GHOSTS_MIN) {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_set.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, segment: SegmentId) {
        let keep = |id: &Slot| id.segment != segment;
        self.ghosts.retain(keep);
        self.ghost_set.retain(keep);
        let Some(slots) = self.segments.remove(&segment) else { return };
        self.small.retain(keep);
        self.main.retain(keep);
        for entry in slots.into_iter().flatten() {
            let bytes = if entry.in_main { &mut self.main_bytes } else { &mut self.small_bytes };
            *bytes -= entry.block.size_bytes();
            self.blocks -= 1;
        }
    }
}
