//! The benchmarks, one module each.
//!
//! | module | what it measures | its input |
//! |---|---|---|
//! | [`alpaca_eval`] | win rate against GPT-4 Turbo, plain and length-controlled | 805 annotations |
//! | [`arena_hard`] | win rate against GPT-4 on 500 hard questions | two judgments per question |
//! | [`mt_bench`] | grades of 80 conversations of two turns | two judgments per question |
//! | [`toxicity`] | toxicity, diversity and perplexity of continuations | generations with a score each |
//! | [`multifaceted`] | rubric scores of answers under many system messages | scores of each rubric and run |
//! | [`distinctness`] | how similar the answers to one instruction are | answers under several system messages |
//! | [`best_of_n`] | how much choosing among N candidates improves the score | candidates with a reward and scores each |
//! | [`ablations`] | differences between variants of a model | scores of each variant |
//! | [`collection`] | the size and diversity of a training set | its rows |
//! | [`mini`] | scores and the paper's claims on Multifaceted Mini | responses; scores, rewards and candidates of the models |
//! | [`bias`] | pronoun accuracy in gendered occupations | answers to Winogender-style rows |
//!
//! The first five define their requests to a model as [`Task`](crate::answer::Task)s, with the sampling
//! parameters of their protocols. [`crate::answer`] sends tasks to any
//! [`ChatModel`](janus_core::ChatModel), and each benchmark has its own format for the file of answers.
//! [`Benchmark`] names the five, and [`Questions`] holds the rows of one of them.
//!
//! `evaluate` of each module computes its metrics, as an [`Evaluation`]. Where a judge is needed,
//! `cases` prepares the judge's input, and `write` converts a judged run to the benchmark's own file
//! format, which `evaluate` reads.
//!
//! All metrics are computed from existing rows, so the judge, the model and the files may come from
//! anywhere. Rows are checked as they are read: a score that is not a number or outside its range is an
//! error that names row and field. Missing values are counted, never guessed.

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
