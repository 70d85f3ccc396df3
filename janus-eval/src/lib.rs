//! Evaluates language models: judges, benchmarks, statistics, reports.
//!
//! | question | where to look |
//! |---|---|
//! | How does a model answer a benchmark or a file of prompts, each prompt once? | [`answer`] |
//! | Which judge scores the answers, and what does it cost? | [`judge`] |
//! | What does the judge see, and how are its verdicts parsed? | [`protocol`]: rubrics, pairs, MT-Bench, Arena-Hard, AlpacaEval, or your own |
//! | How are verdicts stored, loaded and compared between models? | [`run`] |
//! | How does a model score on a published benchmark? | [`mod@bench`] |
//! | What is a model's mean score, and how often does it beat another model? | [`score`] |
//! | How uncertain is a number, and how far do raters agree? | [`stats`] |
//! | How are tables, figures and claims written as a page? | [`report`] |
//! | How do people judge the answers instead of a model? | [`annotate`] |
//! | Do the numbers match the published ones, and how long do they take to compute? | [`verify`], [`throughput`] |
//!
//! The shortest path from answers to a page: [`protocol::rubric_cases`] joins a bench with a model's
//! [`Response`]s, a [`judge::JudgeClient`] judges them by [`protocol::Rubrics`], [`run::RubricRun`]
//! writes the verdicts to a folder, and [`run::compare`] makes the report. `examples/remote_judge.rs`
//! does this with a judge behind an API, `examples/own_judge.rs` scores with your own code, and
//! `examples/own_benchmark.rs` is a complete benchmark, from its questions to its page.
//!
//! The crate does not depend on a tensor library, and on HTTP only with the feature `remote`. No
//! function returns NaN: what cannot be computed, such as the mean of an empty list, is an [`Error`].
//!
//! Compare two models' scores on the same rows:
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

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
