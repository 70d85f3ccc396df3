//! What one forward pass is given: the next tokens of each sequence.

use crate::KvCache;

/// Which logits [`Model::forward`](crate::Model::forward) returns for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogitsWanted {
    /// None: the tokens are a part of a prompt.
    None,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

/// The next tokens of one sequence.
#[non_exhaustive]
pub struct SequenceInput<'a> {
    /// Token ids; at least one.
    pub tokens: &'a [u32],
    /// Keys and values of the tokens before these, to which theirs are added.
    pub cache: &'a mut KvCache,
    /// The logits to return.
    pub logits: LogitsWanted,
}

impl<'a> SequenceInput<'a> {
    /// The tokens after those of `cache`.
    pub fn new(tokens: &'a [u32], cache: &'a mut KvCache, logits: LogitsWanted) -> Self {
        Self { tokens, cache, logits }
    }

    /// Rows of logits that the sequence gets.
    pub(crate) fn logit_rows(&self) -> usize {
        match self.logits {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => self.tokens.len(),
        }
    }
}
