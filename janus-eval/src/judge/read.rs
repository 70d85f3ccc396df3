//! Parses a judge's text, by the rules of each benchmark.

mod label;
mod likely;
mod score;

pub use label::{PairLabel, pair_label, rating};
pub(crate) use label::{arena_label, arena_labels, feedback};
pub(crate) use likely::{likely_tokens, preference};
pub use score::{Reading, ScoreReader};
#[cfg(test)]
pub(crate) use score::{published, strict};

/// Why no verdict can be parsed from a judge's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Neither a marker nor a word "score" or "result" with a number.
    #[error("the judge's text has no [RESULT] and no score in words")]
    NoMarker,
    /// The last marker has no number after it.
    #[error("no number follows the last [RESULT] or [SCORE]")]
    NoNumber,
    /// The digits are part of something longer, such as 4.5, 4-5, 4/10 or 4th.
    #[error("the score is not a whole number")]
    NotWhole,
    /// A whole number outside 1..=5.
    #[error("the score is outside 1..=5")]
    OutOfRange,
    /// [`ScoreReader::Published`] finds no score.
    #[error("the published rule finds no score")]
    NoPublishedScore,
    /// [`ScoreReader::Published`] finds a score outside 1..=5.
    #[error("the published rule reads {got}, which is outside 1..=5")]
    PublishedOutOfRange {
        /// The number.
        got: u64,
    },
    /// No rating of at most 10 in brackets.
    #[error("the text has no [[rating]] from 0 to 10")]
    NoRating,
    /// None of the three labels of a pair.
    #[error("the text has no [[A]], [[B]] or [[C]]")]
    NoPairLabel,
    /// None of Arena-Hard's labels.
    #[error("the text has no label")]
    NoLabel,
    /// Several labels, or an unknown one.
    #[error("expected one known label, got {}", found.join(", "))]
    Labels {
        /// The labels.
        found: Vec<String>,
    },
    /// An answer without the requested log-probabilities.
    #[error("the model returned no log-probabilities")]
    NoLogprobs,
    /// No label among the likeliest tokens.
    #[error("neither m nor M is among the likeliest tokens")]
    NoLikelyLabel,
    /// No generation at all.
    #[error("the answer is empty")]
    Empty,
    /// A reason given by a protocol outside this crate.
    #[error("{0}")]
    Other(String),
}
