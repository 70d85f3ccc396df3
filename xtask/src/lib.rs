//! The runner: arguments, printing, and the script of `reproduce`. One file per command; what a library user could want is in the
//! other crates.
//!
//! * [`reproduce`], [`generate`], [`chat`], [`serve`], [`data`], [`eval`], [`judge`], [`report`], [`annotate`], [`fetch`], [`train`],
//!   [`mod@bench`], [`verify_goldens`]: the commands. Each has its `Args` and a `run` that gives an [`Outcome`](command::Outcome) or a
//!   [`CommandError`](command::CommandError).
//! * [`command`]: exit codes, the error line, `--json`.
//! * [`model`]: models by path or address. [`stage`]: stages of a run, shown and blamed. [`progress`]: rate and time left.
#![forbid(unsafe_code)]

pub mod annotate;
pub mod bench;
pub mod chat;
pub mod command;
pub mod data;
mod device;
pub mod eval;
pub mod fetch;
pub mod generate;
pub mod judge;
pub mod model;
pub mod progress;
pub mod report;
pub mod reproduce;
pub mod serve;
pub mod service;
pub mod stage;
pub mod train;
pub mod verify_goldens;
