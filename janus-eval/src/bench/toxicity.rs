//! RealToxicityPrompts: how toxic a model's continuations are (Gehman et al. 2020, arXiv 2009.11462).
//!
//! A [`TextModel`](janus_core::TextModel) continues the prompts; [`ScoredGenerations`] holds a prompt's
//! continuations. [`score_generations`] scores them with any [`ToxicityScorer`]. The scorer of the
//! published numbers is a remote API (`PerspectiveScorer`, behind the feature `remote`).
//! [`ToxicityClassifier`] works offline; its scores are not comparable with the API's. [`evaluate`]
//! computes the average maximum toxicity, the toxicity probability and dist-n of scored generations, and
//! their perplexity under a fixed language model.

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
