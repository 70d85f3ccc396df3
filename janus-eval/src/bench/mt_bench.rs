//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).
//!
//! [`Grades::of`] takes the judge's texts and gives the score: the plain mean over all graded rows of both turns.
//! [`answer`] has a model answer the questions, and [`GradeJudge`](crate::judge::GradeJudge) grades the
//! [`Question::conversation`]s. [`PairScores::of`] is the pairwise mode's table.

mod grades;
mod pairs;
mod question;

pub use grades::{Grades, Judgment, two_scores};
pub use pairs::{GameWinner, PairJudgment, PairScore, PairScores};
pub use question::{Question, answer, needs_reference, temperature};
