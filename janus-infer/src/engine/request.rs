//! How a [`Session`](crate::Session) names its requests, and what it emits about them.

use janus_core::{Generation, ModelError, TokenLogprob};

/// Names a request of one [`Session`](crate::Session).
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
    /// A sample grew.
    Text {
        /// The request.
        request: RequestId,
        /// Index of the sample.
        sample: usize,
        /// The new text: whole characters, and never a part of a stop text.
        text: String,
        /// The log-probabilities of the tokens since the last event, if the request asks for them.
        logprobs: Vec<TokenLogprob>,
    },
    /// A sample is complete.
    Finished {
        /// The request.
        request: RequestId,
        /// Index of the sample.
        sample: usize,
        /// All of it.
        generation: Generation,
    },
    /// A request is over: nothing more is emitted for it.
    Answered {
        /// The request.
        request: RequestId,
        /// Every sample is complete, or why not.
        result: Result<(), ModelError>,
    },
}

/// What a [`Session`](crate::Session) is doing and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Requests with samples that have not started.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Blocks of 32 positions in memory.
    pub cache_blocks: usize,
    /// Blocks that may be in memory.
    pub cache_blocks_limit: usize,
    /// Prompt tokens that were prefilled.
    pub prompt_tokens: u64,
    /// Tokens whose keys and values were in the cache already, because another prompt has the same prefix or the sequence was preempted.
    pub shared_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Sequences that were preempted: their caches were evicted to make room for others.
    pub preemptions: u64,
}
