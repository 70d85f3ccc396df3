//! The prefix cache: blocks indexed by all tokens up to their end, so that a shared prefix of prompts is
//! prefilled once.

use std::collections::HashMap;

use super::block::Block;
use super::cache::KvCache;
use super::layout::BLOCK;

/// The id of the entry of the preceding block, 0 at the beginning of a prompt, and the block's tokens.
type Key = (u64, [u32; BLOCK]);

struct Entry {
    id: u64,
    /// Number of preceding blocks.
    depth: usize,
    block: Block,
    /// The clock when it was last used.
    used: u64,
}

/// Whole blocks of prompts. The keys and values of a token depend only on the tokens up to it, on the
/// CPU to the bit, so prompts with the same prefix can share them.
#[derive(Default)]
pub(crate) struct PrefixCache {
    entries: HashMap<Key, Entry>,
    next_id: u64,
    clock: u64,
}

/// The block of tokens from `start` on; `None` if there are fewer.
fn block_of(tokens: &[u32], start: usize) -> Option<[u32; BLOCK]> {
    tokens.get(start..)?.first_chunk().copied()
}

impl PrefixCache {
    /// The blocks of the longest cached prefix of `tokens`.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> Vec<Block> {
        self.clock += 1;
        let (mut blocks, mut parent) = (Vec::new(), 0);
        while let Some(next) = block_of(tokens, blocks.len() * BLOCK)
            && let Some(entry) = self.entries.get_mut(&(parent, next))
        {
            entry.used = self.clock;
            parent = entry.id;
            blocks.push(entry.block.clone());
        }
        blocks
    }

    /// Adds the full blocks of `cache`, which holds `tokens`.
    pub(crate) fn insert(&mut self, tokens: &[u32], cache: &KvCache) {
        self.clock += 1;
        let mut parent = 0;
        for (depth, block) in cache.blocks().iter().enumerate() {
            let Some(next) = block_of(tokens, depth * BLOCK) else { return };
            let entry = self.entries.entry((parent, next)).or_insert_with(|| {
                self.next_id += 1;
                Entry { id: self.next_id, depth, block: block.clone(), used: 0 }
            });
            entry.used = self.clock;
            parent = entry.id;
        }
    }

    /// Blocks that no sequence uses.
    fn idle(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.block.is_shared())
    }

    /// Frees blocks that no sequence uses until at most `keep` of them are left: the least recently used
    /// first, and of those used together the last in the prompt, since blocks after a freed one can no
    /// longer be found.
    pub(crate) fn shrink(&mut self, keep: usize) {
        let mut idle: Vec<_> =
            self.idle().map(|(key, entry)| (entry.used, std::cmp::Reverse(entry.depth), *key)).collect();
        if idle.len() <= keep {
            return;
        }
        let surplus = idle.len() - keep;
        idle.select_nth_unstable(surplus - 1);
        for (_, _, key) in &idle[..surplus] {
            self.entries.remove(key);
        }
    }

    /// Blocks that [`PrefixCache::shrink`] could free.
    pub(crate) fn idle_blocks(&self) -> usize {
        self.idle().count()
    }
}
