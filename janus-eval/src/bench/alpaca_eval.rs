//! AlpacaEval 2.0: a judge with one token compares a model's answers with those of `gpt4_1106_preview`
//! (Dubois et al. 2024, arXiv 2404.04475).
//!
//! [`cases`] puts a model's outputs beside the baseline's, [`AlpacaEval`](crate::protocol::AlpacaEval) judges them, [`write()`] makes a judged
//! run the benchmark's file of annotations, and [`evaluate`] has the numbers of such a file: the plain win rate, and the one with
//! [`LengthControl`].
//!
//! A preference P lies between 1, the baseline wins, and 2, the model wins. The evaluation set and what the length control needs are in a
//! folder of `eval_set.jsonl.gz`, `instruction_difficulty.csv`, `gamed_baseline.csv` and `cv_folds_model_rows.json`.

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
