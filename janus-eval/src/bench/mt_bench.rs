//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).
//!
//! [`cases`] puts a model's answers beside the questions. [`MtBench`](crate::protocol::MtBench) grades them,
//! [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench) compares them with another model's. A graded case is a row of a file of judgments,
//! [`MtBenchJudgment`], and [`Grades`] has the score: the plain mean over all graded rows of both turns. A compared case is a
//! [`MtBenchPairJudgment`], and [`PairScores`] is the table.

mod answer;
mod asked;
mod grades;
mod pairs;
mod question;

pub(super) use answer::MtBenchAnswer;
pub(super) use asked::tasks;
pub use grades::{Grades, MtBenchJudgment};
pub use pairs::{GameWinner, MtBenchPairJudgment, PairScore, PairScores};
pub(crate) use question::MtBenchQuestion;
pub use question::cases;
