//! Scheduling: which prompts are prefilled in a step, and which caches are evicted to make room.

use super::Session;
use crate::KvCache;
use crate::engine::queue::{Chunk, Prefill, Then};
use crate::kv::BLOCK;

impl Session<'_> {
    /// Blocks that may still be allocated.
    pub(super) fn free_blocks(&self) -> usize {
        self.engine.block_limit().saturating_sub(self.engine.model().blocks().live())
    }

    /// Blocks that running sequences need for their next tokens.
    pub(super) fn needed_to_run(&self) -> usize {
        self.running.iter().filter(|sequence| sequence.needs_block()).count()
    }

    /// Drops unused prefixes until `needed` blocks are free. Returns whether they are.
    fn free(&mut self, needed: usize) -> bool {
        if self.free_blocks() < needed {
            let missing = needed - self.free_blocks();
            let idle = self.prefixes.idle_blocks();
            self.prefixes.shrink(idle.saturating_sub(missing));
        }
        self.free_blocks() >= needed
    }

    /// Evicts until the running sequences have room for their next tokens: first prefills, then the
    /// youngest sequences. A single sequence always has room, since `enqueue` refuses requests that are
    /// too large.
    pub(super) fn make_room_to_run(&mut self) {
        while !self.free(self.needed_to_run()) {
            if self.queue.evict_last() {
                continue;
            }
            if self.running.len() < 2 {
                return;
            }
            let Some(mut youngest) = self.running.pop() else { return };
            self.stats.preemptions += 1;
            let (request, tokens) = (youngest.request, youngest.evict());
            self.queue.0.push_front(Prefill {
                request,
                tokens,
                cache: None,
                then: Then::Resume(Box::new(youngest)),
            });
        }
    }

    /// Chooses this step's prefills, from the front of the queue, within the budgets of tokens,
    /// sequences and blocks.
    pub(super) fn plan(&mut self) -> Vec<Chunk> {
        let options = &self.engine.options;
        let mut budget = options.prefill_tokens.max(1);
        let mut room = options.max_sequences.max(1).saturating_sub(self.running.len());
        let mut reserved = self.needed_to_run();
        let mut chunks: Vec<Chunk> = Vec::new();
        for index in 0..self.queue.0.len() {
            if budget == 0 || room == 0 {
                break;
            }
            let prefill = &self.queue.0[index];
            let samples = match &prefill.then {
                Then::Sample { next, .. } => {
                    self.requests.get(&prefill.request).map_or(1, |request| request.sampling.n - next)
                }
                Then::Resume(_) => 1,
            };
            room = room.saturating_sub(samples);
            if prefill.left() == 0 {
                continue;
            }
            if prefill.cache.is_none() {
                if self.queue.shares_next_block(index) {
                    continue;
                }
                let prefill = &mut self.queue.0[index];
                // The last token is always run, since its logits are needed.
                let shared = self.prefixes.find(&prefill.tokens[..prefill.tokens.len() - 1]);
                self.stats.shared_tokens += (shared.len() * BLOCK) as u64;
                prefill.cache = Some(KvCache::from_blocks(self.engine.model().blocks(), shared));
            }
            let prefill = &self.queue.0[index];
            let tokens = prefill.left().min(budget);
            let (before, after) = (prefill.done().div_ceil(BLOCK), (prefill.done() + tokens).div_ceil(BLOCK));
            // One more, since a sample copies its prompt's last block.
            let needed = after - before + 1;
            if !self.free(reserved + needed) {
                if !(self.running.is_empty() && chunks.is_empty()) {
                    // Others make progress, so this one waits.
                    let prefill = &mut self.queue.0[index];
                    if prefill.done() == 0 {
                        prefill.cache = None;
                    }
                    break;
                }
                // Nothing else runs, so only other prefills occupy blocks.
                self.queue.evict_others(index);
                self.free(needed);
            }
            reserved += needed;
            budget -= tokens;
            chunks.push(Chunk { index, tokens });
        }
        chunks
    }
}
