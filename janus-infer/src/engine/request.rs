//! The ids, events and statistics of a [`Session`](crate::Session).

use janus_core::{Generation, ModelError, TokenLogprob};

/// Identifies a request within its [`Session`](crate::Session).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The id after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a [`Session`](crate::Session) emits.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// New text of a sample.
    Text {
        /// The request.
        request: RequestId,
        /// Index of the sample.
        sample: usize,
        /// The new text: whole characters, and never a part of a stop text.
        text: String,
        /// The log-probabilities of the tokens since the last event, if the request wants them.
        logprobs: Vec<TokenLogprob>,
    },
    /// A sample is complete.
    Finished {
        /// The request.
        request: RequestId,
        /// Index of the sample.
        sample: usize,
        /// The whole sample.
        generation: Generation,
    },
    /// A request is over: nothing more is emitted for it.
    Answered {
        /// The request.
        request: RequestId,
        /// Whether every sample is complete, or why not.
        result: Result<(), ModelError>,
    },
}

/// The load of a [`Session`](crate::Session), and its totals so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Requests with samples that have not started.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Blocks of the KV cache in memory, of 32 positions each.
    pub cache_blocks: usize,
    /// The most blocks that may be in memory.
    pub cache_blocks_limit: usize,
    /// Prompt tokens that were prefilled.
    pub prompt_tokens: u64,
    /// Tokens that needed no prefill, because their keys and values were in the cache: another prompt
    /// had the same prefix, or the sequence was preempted and its blocks were still there.
    pub shared_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Sequences that were preempted: their caches were evicted to make room for others.
    pub preemptions: u64,
}
