//! AlpacaEval 2.0: a judge that answers with a single token compares a model's answers with those of
//! `gpt4_1106_preview` (Dubois et al. 2024, arXiv 2404.04475).
//!
//! [`cases`] joins a model's outputs with the baseline's. [`AlpacaEval`](crate::protocol::AlpacaEval)
//! judges them. [`write()`] converts a judged run to the benchmark's file of annotations, and
//! [`evaluate`] computes the metrics of such a file: the plain win rate, and the length-controlled one
//! ([`LengthControl`]).
//!
//! A preference is between 1, the baseline wins, and 2, the model wins. The evaluation set and the data
//! for the length control are in a folder of `eval_set.jsonl.gz`, `instruction_difficulty.csv`,
//! `gamed_baseline.csv` and `cv_folds_model_rows.json`.

mod length_controlled;
mod output;
mod preference;
mod reference;
mod score;
mod win_rate;

pub use length_controlled::{DifficultyOf, LengthControl, Optimizer};
pub(crate) use length_controlled::{LengthControlled, predict};
pub use output::cases;
pub(super) use output::{EvalInstruction, ModelOutput, tasks};
pub use preference::write;
pub(crate) use preference::{AlpacaAnnotation, Preferences, preference};
pub(crate) use reference::AlpacaReference;
#[cfg(test)]
pub(super) use reference::{GamedRow, Instruction};
pub use score::evaluate;
pub(crate) use win_rate::WinRate;
