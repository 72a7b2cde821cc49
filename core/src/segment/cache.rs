//! The block cache of one core: blocks as they stand in the file, within a budget of bytes, replaced by S3-FIFO (Yang et
//! al., "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! A new block waits in a small queue; only if it is asked for again before it leaves that queue, or soon after, does it
//! move to the main queue. So a scan of a large table passes through the small queue and leaves the rest alone; one of a
//! table that is larger than the cache adds nothing but what there is room for.
//!
//! A hit is a look in a small table of segments, which stays in the processor's cache, one in an array of places, of four
//! bytes for each block of the segment, and one at the place.
//!
//! Invariants: each cached block stands in exactly one queue, once; the bytes counted are those of the blocks held and of
//! the tables that lead to them.

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

/// Where the blocks of a segment are in `Inner::entries`.
#[derive(Debug, Default)]
struct Places {
    /// By the number of the block, `NOWHERE` if it is not cached; as long as the last block that was cached needs.
    places: Vec<u32>,
    /// How many are cached.
    cached: usize,
}

const NOWHERE: u32 = u32::MAX;
/// Bytes of a block beside its own: its entry, and its names in a queue and among the ghosts.
const ENTRY_BYTES: usize = size_of::<Option<Entry>>() + size_of::<u32>() + 5 * size_of::<Slot>();

#[derive(Debug, Default)]
struct Inner {
    /// Those with cached blocks.
    segments: HashMap<SegmentId, Places, IdHash>,
    places_bytes: usize,
    entries: Vec<Option<Entry>>,
    /// Places in `entries` that hold none.
    free: Vec<u32>,
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

    /// Bytes of the blocks it holds, and of the tables that lead to them.
    pub fn size_bytes(&self) -> usize {
        self.inner.borrow().size_bytes()
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
            inner.size_bytes() + block.size_bytes() <= inner.bytes_max
        };
        if keep || fits {
            self.insert(id, block.clone());
        } else {
            self.misses.set(self.misses.get() + 1);
        }
    }
}

impl Inner {
    fn size_bytes(&self) -> usize {
        let tables = self.places_bytes + self.entries.len() * ENTRY_BYTES;
        self.small_bytes + self.main_bytes + tables
    }

    #[inline]
    fn entry(&self, id: Slot) -> Option<&Entry> {
        let place = *self.segments.get(&id.segment)?.places.get(id.number as usize)?;
        self.entries.get(place as usize)?.as_ref()
    }

    fn entry_mut(&mut self, id: Slot) -> Option<&mut Entry> {
        let place = *self.segments.get(&id.segment)?.places.get(id.number as usize)?;
        self.entries.get_mut(place as usize)?.as_mut()
    }

    fn insert(&mut self, id: Slot, block: Block) {
        let of = self.segments.entry(id.segment).or_default();
        let (number, before) = (id.number as usize, of.places.capacity());
        if of.places.len() <= number {
            of.places.resize(number + 1, NOWHERE);
            self.places_bytes += (of.places.capacity() - before) * size_of::<u32>();
        }
        if of.places[number] != NOWHERE {
            // Two readers missed it at the same time.
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("below 2^32 blocks")
        });
        of.places[number] = place;
        of.cached += 1;
        let in_main = self.ghost_set.remove(&id);
        let (queue, bytes) = if in_main {
            (&mut self.main, &mut self.main_bytes)
        } else {
            (&mut self.small, &mut self.small_bytes)
        };
        queue.push_back(id);
        *bytes += block.size_bytes();
        self.entries[place as usize] = Some(Entry { block, uses: Cell::new(0), in_main });
        self.blocks += 1;
    }

    fn remove(&mut self, id: Slot) {
        let of = self.segments.get_mut(&id.segment).expect("queues hold cached blocks");
        let place = std::mem::replace(&mut of.places[id.number as usize], NOWHERE);
        of.cached -= 1;
        if of.cached == 0 {
            self.places_bytes -= of.places.capacity() * size_of::<u32>();
            self.segments.remove(&id.segment);
        }
        self.give_up(place);
    }

    /// A place is free.
    fn give_up(&mut self, place: u32) {
        self.entries[place as usize] = None;
        self.blocks -= 1;
        if self.blocks == 0 {
            (self.entries, self.free) = (Vec::new(), Vec::new());
        } else {
            self.free.push(place);
        }
    }

    fn evict(&mut self) {
        while self.blocks > 0 && self.size_bytes() > self.bytes_max {
            if self.small_bytes > self.bytes_max / SMALL_PART || self.main.is_empty() {
                self.evict_small();
            } else {
                self.evict_main();
            }
        }
    }

    fn evict_small(&mut self) {
        let Some(id) = self.small.pop_front() else { return };
        let entry = self.entry_mut(id).expect("queues hold cached blocks");
        let (bytes, used) = (entry.block.size_bytes(), entry.uses.replace(0) > 0);
        entry.in_main |= used;
        self.small_bytes -= bytes;
        if used {
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
        let Some(of) = self.segments.remove(&segment) else { return };
        self.small.retain(keep);
        self.main.retain(keep);
        self.places_bytes -= of.places.capacity() * size_of::<u32>();
        for place in of.places.into_iter().filter(|place| *place != NOWHERE) {
            let entry = self.entries[place as usize].as_ref().expect("places lead to blocks");
            let bytes = if entry.in_main { &mut self.main_bytes } else { &mut self.small_bytes };
            *bytes -= entry.block.size_bytes();
            self.give_up(place);
        }
    }
}
