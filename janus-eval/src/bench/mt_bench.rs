//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).
//!
//! [`tasks`] is what a model is asked, [`Answer`] a row of its answers. [`MtBench`](crate::protocol::MtBench) grades the
//! [`Question::cases`], [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench) compares them. [`Grades::of`] takes the judge's texts and gives the score: the plain mean over all graded
//! rows of both turns. [`PairScores::of`] is the pairwise mode's table.

mod answer;
mod asked;
mod grades;
mod pairs;
mod question;

pub use answer::{Answer, Choice};
pub use asked::{tasks, temperature};
pub use grades::{Grades, Judgment, two_scores};
pub use pairs::{GameWinner, PairJudgment, PairScore, PairScores};
pub use question::{Question, cases, needs_reference};
