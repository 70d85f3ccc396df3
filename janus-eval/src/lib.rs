//! Evaluates language models: judges, benchmarks, statistics, reports.
//!
//! | question | where to look |
//! |---|---|
//! | How does a model answer a benchmark or a file of prompts, once and for all? | [`answer`] |
//! | Which judge scores the answers, and what does it cost? | [`judge`] |
//! | What is the judge asked, and how are its verdicts read? | [`protocol`]: rubrics, pairs, MT-Bench, Arena-Hard, AlpacaEval, or your own |
//! | How are judged answers kept, read again and compared with other models'? | [`run`] |
//! | What does a published benchmark say of a model? | [`mod@bench`] |
//! | What is a model's mean score, and how often does it beat another model? | [`score`] |
//! | How sure is a number, and how far do raters agree? | [`stats`] |
//! | How does a page with tables, figures and claims come out of it? | [`report`] |
//! | What do people say instead of a judge? | [`annotate`] |
//! | Are the numbers those that were published, and how fast are they here? | [`verify`], [`throughput`] |
//!
//! The shortest way from answers to a page: [`protocol::rubric_cases`] joins a bench with a model's [`Response`]s, a [`judge::JudgeClient`] judges
//! them by [`protocol::Rubrics`], [`run::RubricRun`] keeps the verdicts in a folder, and [`run::compare`] makes the report. `examples/remote_judge.rs`
//! does this with a judge behind an API, `examples/own_judge.rs` scores by code of one's own, and `examples/own_benchmark.rs` is a benchmark from
//! its questions to its page.
//!
//! Nothing here knows tensors, nor, without the feature `remote`, HTTP. No function returns a NaN: what cannot be computed, such as the mean of no
//! rows, is an [`Error`].
//!
//! Two models' scores on the same rows, compared:
//!
//! ```
//! use janus_eval::score::{PairedOutcomes, ScoredRow};
//! use janus_eval::stats::{Bootstrap, Sample};
//!
//! let rows = |scores: [[u8; 4]; 3]| -> Vec<ScoredRow> {
//!     scores.iter().enumerate().map(|(i, s)| ScoredRow::new(i.to_string(), "koala", s.map(Some))).collect()
//! };
//! let janus = rows([[5, 5, 4, 4], [4, 4, 4, 4], [5, 3, 4, 5]]);
//! let base = rows([[3, 4, 4, 4], [4, 4, 4, 4], [5, 5, 5, 5]]);
//!
//! let outcomes = PairedOutcomes::of(&[&janus], &[&base])?;
//! assert_eq!((outcomes.tally.win, outcomes.tally.both_good, outcomes.tally.loss), (1, 1, 1));
//! let interval = Bootstrap::default().mean(&Sample::hits(outcomes.rows.iter().map(|row| row.outcome.is_tie_win()))?)?;
//! assert_eq!((interval.estimate, interval.n), (2.0 / 3.0, 3));
//! # Ok::<(), janus_eval::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

pub mod annotate;
pub mod answer;
pub mod bench;
mod error;
mod files;
mod join;
pub mod judge;
pub mod protocol;
pub mod report;
pub mod run;
pub mod score;
pub mod stats;
pub mod throughput;
pub mod verify;

pub use error::{Error, FileError, Result};
pub use join::{Missing, Response, record_id};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
