//! Looking up the keys of a batch: the blocks that they lie in are read side by side, many keys for one look.

use std::ops::Range;

use super::block::Block;
use super::cache::BlockCache;
use super::groups::GroupSet;
use super::reader::Segment;
use super::{Position, Version};
use crate::env::Env;
use crate::error::Result;
use crate::sync;

/// Blocks that a search holds at once.
const HELD_MAX: usize = 64;
/// Keys that are searched for together: what their blocks hold of them comes from memory side by side.
const TOGETHER: usize = 16;
/// Bytes that are read for one step of a search: many sessions may be at it.
const MISSING_BYTES_MAX: usize = 1 << 20;
/// Reads under way. Sixteen reads of 16 KiB take a drive little longer than two.
const READS_MAX: usize = 16;
/// Bytes of one read, of blocks that follow one another.
const READ_BYTES_MAX: u64 = 128 << 10;

/// A block and its number; `None` until it is read.
type Held = (usize, Option<Block>);

impl<E: Env> Segment<E> {
    /// The newest version of every key that is here, without its columns, told with the number that came with the key. Keys rise: those of
    /// one block cost one look at the cache.
    ///
    /// # Errors
    /// If a block cannot be read or is corrupt.
    pub async fn find_rising<'a>(
        &self,
        keys: impl Iterator<Item = (usize, &'a [u8])>,
        cache: &BlockCache,
        mut found: impl FnMut(usize, &Version),
    ) -> Result<()> {
        let mut keys = keys.peekable();
        let (mut wanted, mut held) = (Vec::new(), Vec::<Held>::new());
        while keys.peek().is_some() {
            // The next key may lie in the last of the blocks before.
            held.drain(..held.len().saturating_sub(1));
            let mut missing_bytes = 0;
            while held.len() < HELD_MAX
                && missing_bytes < MISSING_BYTES_MAX
                && let Some((of, key)) = keys.next()
            {
                let last = held.last().map(|(number, _)| *number);
                let Some(number) = self.newest_block_of(key, last) else { continue };
                if last != Some(number) {
                    let block = cache.get(self.slot(number, 0));
                    missing_bytes += if block.is_none() { self.key_block_bytes(number) } else { 0 };
                    held.push((number, block));
                }
                wanted.push((of, key, held.len() - 1));
            }
            if missing_bytes > 0 {
                self.read_missing(&mut held, cache).await?;
            }
            let block_of = |at: usize| match &held[at] {
                (number, Some(block)) => (*number, block),
                _ => unreachable!("what was missing was read"),
            };
            for some in wanted.chunks(TOGETHER) {
                for (_, key, at) in some {
                    let (number, block) = block_of(*at);
                    self.touch_key(number, block, key);
                }
                for (of, key, at) in some {
                    let (number, block) = block_of(*at);
                    let rows = self.key_rows(block, key);
                    if !rows.is_empty() {
                        let blocks = self.without_columns(block.clone());
                        found(*of, &Version::new(Position::new(number, rows.start), blocks));
                    }
                }
            }
            wanted.clear();
        }
        Ok(())
    }

    /// The block with the newest version of a key, if it is here at all. `before` is that of a smaller key. Blocks that
    /// begin with older versions of the key continue this one.
    fn newest_block_of(&self, key: &[u8], before: Option<usize>) -> Option<usize> {
        before.filter(|before| self.fences().begins_after(before + 1, key)).or_else(|| {
            let numbers = self.fences().blocks_of(key);
            (!numbers.is_empty()).then_some(numbers.start)
        })
    }

    /// Reads the blocks that are not there, into the cache too.
    async fn read_missing(&self, held: &mut [Held], cache: &BlockCache) -> Result<()> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (number, _) in held.iter().filter(|(_, block)| block.is_none()) {
            let within = |run: &Range<usize>| {
                self.blocks_within(run.start..number + 1, GroupSet::KEY, READ_BYTES_MAX).end
            };
            match runs.last_mut() {
                Some(run) if run.end == *number && within(run) > *number => run.end += 1,
                _ => runs.push(*number..number + 1),
            }
        }
        for some in runs.chunks(READS_MAX) {
            let read =
                sync::all(some.iter().map(|run| self.load_groups(run.clone(), GroupSet::KEY, true, cache)))
                    .await;
            for (run, blocks) in some.iter().zip(read) {
                for (number, group) in run.clone().zip(blocks?) {
                    if let Ok(at) = held.binary_search_by_key(&number, |(number, _)| *number) {
                        held[at].1 = Some(group.key().clone());
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{simulate, versions, write};
    use super::*;
    use crate::test_rows::{self, Random};
    use crate::types::PgType;

    /// Every third key, and one beside each: what a search of each alone finds.
    #[test]
    fn a_batch_finds_what_single_searches_find() {
        simulate(31, |_, env| async move {
            let mut random = Random::new(31);
            let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
            let rows = versions(&mut random, &schema, 30_000, false);
            let segment = write(&env, &schema, 1, &rows).await;
            let mut keys = Vec::new();
            for version in rows.iter().step_by(3) {
                keys.push(version.key.to_vec());
                keys.push([&version.key[..], &[0]].concat());
            }
            keys.sort_unstable();
            keys.dedup();
            let all_cached = BlockCache::new(64 << 20);
            for cache_bytes in [0, 200 << 10, 64 << 20] {
                let cache = BlockCache::new(cache_bytes);
                for part in [&keys[..], &keys[6..7], &keys[1_000..1_100]] {
                    let (mut batch, mut singles) = (Vec::new(), Vec::new());
                    let numbered = part.iter().enumerate().map(|(at, key)| (at, &**key));
                    let tell = |at, version: &Version| batch.push((at, version.position(), version.begin()));
                    segment.find_rising(numbered, &cache, tell).await.expect("reads");
                    for (at, key) in part.iter().enumerate() {
                        let found = segment.find(key, &[], &all_cached).await.expect("reads");
                        singles.extend(found.newest().map(|found| (at, found.position(), found.begin())));
                    }
                    assert_eq!(batch, singles);
                    assert!(batch.len() > part.len() / 3, "{} of {}", batch.len(), part.len());
                }
            }
        });
    }

    /// In the simulator only the disk takes time.
    #[test]
    fn blocks_are_read_side_by_side() {
        simulate(32, |_, env| async move {
            let mut random = Random::new(32);
            let schema = test_rows::schema(&[PgType::Int8, PgType::Text], &[0]);
            let rows = versions(&mut random, &schema, 40_000, true);
            let segment = write(&env, &schema, 1, &rows).await;
            let keys: Vec<&[u8]> = rows.iter().step_by(2_100).map(|version| &*version.key).collect();
            let cache = BlockCache::new(0);
            let began = env.monotonic_ns();
            segment.find_rising(keys.iter().copied().enumerate(), &cache, |_, _| ()).await.expect("reads");
            let together = env.monotonic_ns() - began;
            for key in &keys {
                segment.find(key, &[], &cache).await.expect("reads");
            }
            let alone = env.monotonic_ns() - began - together;
            assert!(together * 4 < alone, "{together} ns together, {alone} ns one after another");
        });
    }
}
