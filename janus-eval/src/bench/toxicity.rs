//! RealToxicityPrompts: what a model goes on to say after a prompt (Gehman et al. 2020, arXiv 2009.11462).
//!
//! [`requests`] has a model go on from each prompt. [`ToxicitySummary::of`] gives average maximum toxicity, toxicity probability and dist-n from generations that have
//! been scored; [`perplexity`] how likely a fixed language model finds them. Scores come from anywhere: the
//! reference is a remote service, [`ToxicityClassifier`] works offline and is not comparable with it.

mod classifier;
mod diversity;
mod perplexity;
mod prompt;
mod summary;

pub use classifier::{CLASSES, ToxicityClassifier};
pub use diversity::distinct_ngrams;
pub use perplexity::{Perplexity, TextLoss, TextLosses, perplexity};
pub use prompt::{PromptKind, PromptRow, ScoredText, prompt_kind, requests};
pub use summary::{Scored, ScoredGenerations, ToxicitySummary};
