//! MT-Bench: 80 conversations of two turns, each turn graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).
//!
//! [`Grades::of`] takes the judge's texts and gives the score: the plain mean over all graded rows of both turns.
//! [`prompt_name`] and [`judge_messages`] make what the judge is asked, [`temperature`] is what the answers are
//! sampled at.

mod grades;
mod prompt;

pub use grades::{Grades, Judgment, two_scores};
pub use prompt::{Question, judge_messages, needs_reference, prompt_name, temperature};
