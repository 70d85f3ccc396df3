//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv
//! 2306.05685).
//!
//! [`cases`] joins a model's answers with the questions. [`MtBench`](crate::protocol::MtBench) grades
//! them: [`write()`] converts a judged run to the benchmark's file of judgments, and [`evaluate`]
//! computes the score from it, the mean over all graded rows of both turns.
//! [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench) compares the answers with another
//! model's: see [`write_pairs`] and [`evaluate_pairs`].

mod answer;
mod grades;
mod pairs;
mod question;
mod tasks;

pub(super) use answer::MtBenchAnswer;
pub(crate) use grades::{Grades, MtBenchJudgment};
pub use grades::{evaluate, write};
pub use pairs::{evaluate_pairs, write_pairs};
pub(crate) use question::MtBenchQuestion;
pub use question::cases;
pub(super) use tasks::tasks;
