//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).
//!
//! [`cases`] puts a model's answers beside the questions. [`MtBench`](crate::protocol::MtBench) grades them: [`write()`] makes a judged run the
//! benchmark's file of judgments, and [`evaluate`] has the score, the plain mean over all graded rows of both turns.
//! [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench) compares them with another model's: [`write_pairs`], [`evaluate_pairs`].

mod answer;
mod asked;
mod grades;
mod pairs;
mod question;

pub(super) use answer::MtBenchAnswer;
pub(super) use asked::tasks;
pub(crate) use grades::{Grades, MtBenchJudgment};
pub use grades::{evaluate, write};
pub use pairs::{evaluate_pairs, write_pairs};
pub(crate) use question::MtBenchQuestion;
pub use question::cases;
