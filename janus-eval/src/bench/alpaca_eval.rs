//! AlpacaEval 2.0: a judge with one token compares a model's answers with those of `gpt4_1106_preview`
//! (Dubois et al. 2024, arXiv 2404.04475).
//!
//! [`cases`] puts a model's outputs beside the baseline's, and [`AlpacaEval`](crate::protocol::AlpacaEval) judges them. A judged case is a row of a
//! file of annotations, [`AlpacaAnnotation`], and [`AlpacaEvalScore`] has the numbers of such a file: the plain [`WinRate`], and the one with
//! [`LengthControl`]. Both can be had of rows in memory, which [`Preferences::new`] checks.
//!
//! A preference P lies between 1, the baseline wins, and 2, the model wins. [`AlpacaReference::load`] reads the evaluation
//! set and what the length control needs from a folder of `eval_set.jsonl.gz`, `instruction_difficulty.csv`,
//! `gamed_baseline.csv` and `cv_folds_model_rows.json`.

mod length_controlled;
mod output;
mod preference;
mod reference;
mod score;
mod win_rate;

pub(crate) use length_controlled::predict;
pub use length_controlled::{DifficultyOf, LengthControl, LengthControlled, Optimizer};
pub use output::cases;
pub(super) use output::{EvalInstruction, ModelOutput, tasks};
pub(crate) use preference::preference;
pub use preference::{AlpacaAnnotation, Preferences};
pub use reference::AlpacaReference;
#[cfg(test)]
pub(super) use reference::{GamedRow, Instruction};
pub use score::AlpacaEvalScore;
pub use win_rate::WinRate;
