//! Evaluates language models: judges, benchmarks, statistics, reports.
//!
//! From responses to a report:
//!
//! 1. [`score_responses`] joins responses with bench records by id and asks a [`janus_core::Judge`];
//!    what comes out is one [`ScoredRow`] for each record. [`VerifiableJudge`] is the judge whose
//!    truth can be computed; [`judge`] has those that are language models: a [`judge::JudgeClient`] asks by any
//!    [`protocol::Protocol`].
//! 2. [`pool`] adds up rubrics and runs within each row, [`summarise`] gives the means of a model,
//!    [`PairedOutcomes`] the four outcomes between two models and their tie+win.
//! 3. [`Bootstrap`] puts an [`Interval`] on each of them; rows of one instruction are kept together by
//!    [`Sample::clustered`].
//! 4. [`report::Report`] holds what is to be read, [`Claim`]s included, and prints itself as Markdown,
//!    JSON or one self-contained HTML page.
//! 5. [`run`] keeps a judged run in a folder and compares several in one report; [`annotate`] asks people.
//!
//! [`mod@bench`] has the published benchmarks, [`stats`] the statistics below them, and [`verify`] holds both against
//! published numbers.
//!
//! Nothing here knows tensors, nor, without the feature `remote`, HTTP. No function returns a NaN: what cannot be computed, such as the mean of no rows, is
//! an [`Error`].
//!
//! ```
//! use janus_eval::{Bootstrap, PairedOutcomes, Sample, ScoredRow, pool};
//!
//! let rows = |scores: [[u8; 4]; 3]| -> Vec<ScoredRow> {
//!     scores.iter().enumerate().map(|(i, s)| ScoredRow::new(i.to_string(), "koala", s.map(Some))).collect()
//! };
//! let janus = rows([[5, 5, 4, 4], [4, 4, 4, 4], [5, 3, 4, 5]]);
//! let base = rows([[3, 4, 4, 4], [4, 4, 4, 4], [5, 5, 5, 5]]);
//!
//! let outcomes = PairedOutcomes::of(&pool(&[&janus])?, &pool(&[&base])?)?;
//! assert_eq!((outcomes.tally.win, outcomes.tally.both_good, outcomes.tally.loss), (1, 1, 1));
//! let interval = Bootstrap::default().mean(&Sample::hits(outcomes.tie_win_hits())?)?;
//! assert_eq!((interval.estimate, interval.n), (2.0 / 3.0, 3));
//! # Ok::<(), janus_eval::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod annotate;
pub mod answer;
pub mod bench;
mod claim;
mod error;
mod files;
mod join;
pub mod judge;
mod outcome;
pub mod protocol;
pub mod report;
pub mod results;
pub mod run;
mod score;
pub mod stats;
mod verifiable;
pub mod verify;

pub use claim::Claim;
pub use error::{Error, FileError, Result};
pub use join::{Joined, Missing, Response, join, record_id};
pub use outcome::{Outcome, PairedOutcomes, PairedRow, Rates, Tally};
pub use score::{Failure, PooledRow, ScoreMean, ScoreSummary, Scored, ScoredRow, SourceScore, pool, score_responses, summarise};
pub use stats::{Bootstrap, Interval, Method, Sample, wilson};
pub use verifiable::VerifiableJudge;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
