//! The input of one forward pass: the next tokens of each sequence.

use crate::KvCache;

/// Which logits [`Model::forward`](crate::Model::forward) returns for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogitsWanted {
    /// No logits, for a chunk of a prompt that is not the last.
    None,
    /// The logits at the last token: `[1, vocab]`.
    Last,
    /// The logits at every token: `[tokens, vocab]`.
    All,
}

/// The next tokens of one sequence.
#[non_exhaustive]
pub struct SequenceInput<'a> {
    /// Token ids; at least one.
    pub tokens: &'a [u32],
    /// Keys and values of the preceding tokens; those of `tokens` are appended.
    pub cache: &'a mut KvCache,
    /// The logits to return.
    pub logits: LogitsWanted,
}

impl<'a> SequenceInput<'a> {
    /// `tokens` follow those that are in `cache`.
    pub fn new(tokens: &'a [u32], cache: &'a mut KvCache, logits: LogitsWanted) -> Self {
        Self { tokens, cache, logits }
    }

    /// Number of logit rows that this input produces.
    pub(crate) fn logit_rows(&self) -> usize {
        match self.logits {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => self.tokens.len(),
        }
    }
}
