//! The benchmarks, each a small module that says what it needs and what it gives.
//!
//! | module | what is measured | what it needs |
//! |---|---|---|
//! | [`alpaca_eval`] | win rate against GPT-4 Turbo, and the same with length controlled | 805 annotations |
//! | [`arena_hard`] | win rate against GPT-4 on 500 hard questions | two judgments a question |
//! | [`mt_bench`] | grades of 80 conversations of two turns | two judgments a question |
//! | [`toxicity`] | toxicity, diversity and perplexity of continuations | generations with a score each |
//! | [`multifaceted`] | rubric scores of answers under many system messages | scores of each rubric and run |
//! | [`distinctness`] | how much the answers to one instruction resemble each other | answers under several system messages |
//! | [`best_of_n`] | what choosing among N candidates gains | candidates with a reward and scores each |
//! | [`ablations`] | variants of a model side by side | scores of each variant |
//! | [`collection`] | what a training set holds | its rows |
//! | [`mini`] | scores and the paper's claims on Multifaceted Mini | responses; scores, rewards and candidates of the models |
//! | [`bias`] | pronoun accuracy in gendered occupations | answers to Winogender-style rows |
//!
//! The first five say what they ask a model as [`Task`](crate::answer::Task)s, with their own sampling parameters;
//! [`crate::answer`] has any [`ChatModel`](janus_core::ChatModel) answer them, and each has the row of its own answer files.
//! [`Benchmark`] names the five, and [`Questions`] holds the rows of one of them.
//!
//! `evaluate` of each module has its numbers, as an [`Evaluation`]. Where a judge is needed, `cases` makes what it judges, and `write` makes a
//! judged run the benchmark's own file, which `evaluate` reads.
//!
//! What they measure, all of them take from rows that are already there, so the judge, the model and the files may be anybody's. Rows are
//! checked where they come in: a score that is no number or outside its range is an error that names row and
//! field, and what is missing is counted and never guessed.

pub mod ablations;
pub mod alpaca_eval;
pub mod arena_hard;
pub mod best_of_n;
pub mod bias;
pub mod collection;
pub mod distinctness;
mod evaluation;
#[cfg(test)]
mod laws;
pub mod mini;
pub mod mt_bench;
pub mod multifaceted;
mod questions;
pub mod toxicity;

pub use evaluation::Evaluation;
pub(crate) use evaluation::Numbers;
pub use questions::{Benchmark, Questions};
