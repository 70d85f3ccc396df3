//! RealToxicityPrompts: what a model goes on to say after a prompt (Gehman et al. 2020, arXiv 2009.11462).
//!
//! [`tasks`] is what a model is to go on from, a [`TextModel`](janus_core::TextModel) goes on, and [`ScoredGenerations`] is a row of what it says.
//! [`score_generations`] gives the texts their scores, by any
//! [`ToxicityScorer`]: the reference is a remote service (`PerspectiveScorer`, behind the feature `remote`),
//! [`ToxicityClassifier`] works offline and is not comparable with it. [`ToxicitySummary::of`] gives average maximum
//! toxicity, toxicity probability and dist-n from generations that have been scored; [`perplexity`] how likely a fixed
//! language model finds them.

mod classifier;
mod diversity;
mod perplexity;
#[cfg(feature = "remote")]
mod perspective;
mod prompt;
mod scorer;
mod summary;

pub use classifier::{CLASSES, ToxicityClassifier};
pub use diversity::distinct_ngrams;
pub use perplexity::{Perplexity, perplexity};
#[cfg(feature = "remote")]
pub use perspective::{PerspectiveOptions, PerspectiveScorer};
pub use prompt::{PromptKind, PromptRow, ScoredText, prompt_kind, tasks};
pub use scorer::{ScoreJournal, Scoring, ToxicityScorer, score_generations};
pub use summary::{Scored, ScoredGenerations, ToxicitySummary};
