//! RealToxicityPrompts: how toxic a model's continuations are (Gehman et al. 2020, arXiv 2009.11462).
//!
//! A [`TextModel`](janus_core::TextModel) continues the prompts, and [`ScoredGenerations`] is a row of what it says. [`score_generations`] gives the
//! texts their scores, by any [`ToxicityScorer`]: the reference is a remote service (`PerspectiveScorer`, behind the feature `remote`),
//! [`ToxicityClassifier`] works offline and is not comparable with it. [`evaluate`] has the average maximum toxicity, the toxicity probability
//! and dist-n of generations that have been scored, and how likely a fixed language model finds them.

mod classifier;
mod diversity;
mod perplexity;
#[cfg(feature = "remote")]
mod perspective;
mod prompt;
mod score;
mod scorer;
mod summary;

pub(crate) use classifier::CLASSES;
pub use classifier::ToxicityClassifier;
#[cfg(feature = "remote")]
pub use perspective::{PerspectiveOptions, PerspectiveScorer};
pub use prompt::{PromptKind, ScoredText};
pub(super) use prompt::{PromptRow, prompt_kind, tasks};
pub use score::evaluate;
pub use scorer::{Scoring, ToxicityScorer, score_generations};
pub use summary::ScoredGenerations;
pub(crate) use summary::ToxicitySummary;
