//! AlpacaEval 2.0: a judge with one token compares a model's answers with those of `gpt4_1106_preview`
//! (Dubois et al. 2024, arXiv 2404.04475).
//!
//! [`tasks`] is what a model is asked, [`ModelOutput`] a row of its outputs. [`cases`] puts outputs beside the baseline's, and
//! [`AlpacaEval`](crate::protocol::AlpacaEval) judges them. Then:
//!
//! 1. [`is_swapped`] decides, by a coin that depends on the instruction only, which answer the judge is shown first.
//! 2. [`preference`] reads the judge's log-probabilities of its two labels.
//! 3. [`Preferences::new`] checks the annotations of a model and holds one preference for each instruction.
//! 4. [`WinRate::of`] gives the plain numbers, [`LengthControl`] the length-controlled ones.
//!
//! A preference P lies between 1, the baseline wins, and 2, the model wins. [`Reference::load`] reads the evaluation
//! set and what the length control needs from a folder of `eval_set.jsonl.gz`, `instruction_difficulty.csv`,
//! `gamed_baseline.csv` and `cv_folds_model_rows.json`.

mod length_controlled;
mod output;
mod preference;
mod reference;
mod win_rate;

pub use length_controlled::{
    Difficulty, LengthControl, LengthControlled, Optimizer, length_controlled_between, length_controlled_of_weights,
};
pub use output::{BaselineOutput, EvalInstruction, IndexedOutput, ModelOutput, cases, tasks};
pub use preference::{Annotation, CheckedAnnotation, Preferences, preference};
pub use reference::{GamedRow, Instruction, Reference};
pub use win_rate::WinRate;

pub use crate::protocol::is_swapped;
