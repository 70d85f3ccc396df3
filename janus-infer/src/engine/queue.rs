//! The queue of prefills: prompts of new requests, and tokens of preempted sequences.

use std::collections::VecDeque;
use std::sync::Arc;

use super::request::RequestId;
use super::sequence::Sequence;
use crate::KvCache;
use crate::kv::BLOCK;

/// Tokens to prefill.
pub(super) struct Prefill {
    pub request: RequestId,
    pub tokens: Arc<[u32]>,
    /// `None` before the first chunk.
    pub cache: Option<KvCache>,
    pub then: Then,
}

/// What follows a prefill.
pub(super) enum Then {
    /// The samples from `next` on start, each from the prompt's logits.
    Sample { next: usize, logits: Option<Vec<f32>> },
    /// A preempted sequence resumes.
    Resume(Box<Sequence>),
}

impl Prefill {
    /// Tokens that are in the cache.
    pub fn done(&self) -> usize {
        self.cache.as_ref().map_or(0, KvCache::len)
    }

    /// Tokens that are still to prefill.
    pub fn left(&self) -> usize {
        self.tokens.len() - self.done()
    }

    /// Frees the cache; the prefill starts again later.
    pub fn evict(&mut self) {
        self.cache = None;
        if let Then::Sample { logits, .. } = &mut self.then {
            *logits = None;
        }
    }
}

/// Prompts and preempted sequences, in the order in which they are prefilled.
#[derive(Default)]
pub(super) struct Queue(pub VecDeque<Prefill>);

impl Queue {
    /// Requests with samples that have not started.
    pub fn waiting(&self) -> usize {
        self.0.iter().filter(|prefill| matches!(prefill.then, Then::Sample { .. })).count()
    }

    /// Evicts the last prefill that has a cache, if there is one.
    pub fn evict_last(&mut self) -> bool {
        let last = self.0.iter_mut().rfind(|prefill| prefill.cache.is_some());
        last.map(Prefill::evict).is_some()
    }

    /// Evicts the caches of all prefills but this one.
    pub fn evict_others(&mut self, index: usize) {
        self.0
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .for_each(|(_, prefill)| prefill.evict());
    }

    /// Whether a prefill further ahead is going to compute this one's next block: then this one waits,
    /// and shares the block.
    pub fn shares_next_block(&self, index: usize) -> bool {
        let tokens = &self.0[index].tokens;
        let shared =
            |other: &Prefill| other.tokens.iter().zip(tokens.iter()).take_while(|(a, b)| a == b).count();
        self.0.iter().take(index).any(|other| {
            let whole = shared(other).min(tokens.len() - 1) / BLOCK * BLOCK;
            whole > other.done()
        })
    }
}

/// The part of a prefill that runs in one step.
pub(super) struct Chunk {
    /// Index in the queue.
    pub index: usize,
    pub tokens: usize,
}
