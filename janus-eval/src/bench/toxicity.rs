//! RealToxicityPrompts: what a model goes on to say after a prompt (Gehman et al. 2020, arXiv 2009.11462).
//!
//! [`ToxicitySummary::of`] gives average maximum toxicity, toxicity probability and dist-n from generations that have
//! been scored; [`perplexity`] how likely a fixed language model finds them. Scores come from anywhere: the
//! reference is a remote service, [`ToxicityClassifier`] works offline and is not comparable with it.

mod classifier;
mod diversity;
mod perplexity;
mod summary;

pub use classifier::{CLASSES, ToxicityClassifier};
pub use diversity::distinct_ngrams;
pub use perplexity::{Perplexity, TextLoss, TextLosses, perplexity};
pub use summary::{PromptKind, PromptRow, Scored, ScoredGenerations, ScoredText, ToxicitySummary, prompt_kind};
