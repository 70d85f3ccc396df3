//! `cargo xtask eval rubric`: means and pairs from rubric judgments.

use std::path::PathBuf;

use janus_eval::results::RubricResult;

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome};

/// Means, runs and pairwise counts from judgments against rubrics
///
/// Reads:   JUDGMENTS: rows of {idx, model, scores}, scores a list of one score (1 to 5, or null) for each
///          run; category is optional, other fields are ignored.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval rubric
///          --judgments ../shared/data/rubric_judgments/vicuna_eval.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judgments of one or more models
    #[arg(long, value_name = "JUDGMENTS")]
    judgments: PathBuf,
    /// Seed of the bootstrap over rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    outcome("eval rubric", &RubricResult::of_file(&args.judgments, args.seed).bad_input()?)
}
