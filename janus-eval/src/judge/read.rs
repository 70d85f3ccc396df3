//! What a judge writes, read as its benchmark reads it.

mod label;
mod likely;
mod score;

pub use label::{PairLabel, pair_label, rating};
pub(crate) use label::{arena_label, arena_labels, feedback};
pub(crate) use likely::{likely_tokens, preference};
pub use score::{Reading, ScoreReader};
#[cfg(test)]
pub(crate) use score::{published, strict};

/// Why an answer of a judge has no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Neither a marker nor a word "score" or "result" with a number.
    #[error("the judge's text has no [RESULT] and no score in words")]
    NoMarker,
    /// The last marker has no number after it.
    #[error("no number follows the last [RESULT] or [SCORE]")]
    NoNumber,
    /// The number goes on, as in 4.5, 4-5, 4/10 or 4th.
    #[error("the number is no whole score")]
    NotWhole,
    /// A whole number outside 1..=5.
    #[error("the score is outside 1..=5")]
    OutOfRange,
    /// No score by [`ScoreReader::Published`].
    #[error("the published rule finds no score")]
    NoPublishedScore,
    /// A score by [`ScoreReader::Published`] that is outside 1..=5.
    #[error("the published rule reads {got}, which is outside 1..=5")]
    PublishedOutOfRange {
        /// The number.
        got: u64,
    },
    /// No rating in brackets.
    #[error("the text has no [[rating]]")]
    NoRating,
    /// None of the three labels of a pair.
    #[error("the text has no [[A]], [[B]] or [[C]]")]
    NoPairLabel,
    /// None of Arena-Hard's labels.
    #[error("the text has no label")]
    NoLabel,
    /// Several labels, or one that does not exist.
    #[error("the text has no single known label, but {}", found.join(", "))]
    Labels {
        /// The labels.
        found: Vec<String>,
    },
    /// An answer without the log-probabilities that were asked for.
    #[error("the model gave no log-probabilities of likely tokens")]
    NoLogprobs,
    /// Likely tokens without a label among them.
    #[error("neither m nor M is among the likely tokens")]
    NoLikelyLabel,
    /// No generation at all.
    #[error("the answer is empty")]
    Empty,
    /// The reason of a protocol outside this crate, in its words.
    #[error("{0}")]
    Other(String),
}
